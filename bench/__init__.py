"""Measurements behind the claims in the documentation."""
