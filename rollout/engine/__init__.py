"""Observe, decide, record, act, verify: one tick is one call, with time as an argument."""
