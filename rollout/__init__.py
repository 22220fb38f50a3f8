"""Progressive delivery for Istio: one engine, reached from a terminal, a pipeline or a playground."""

__version__ = "0.1.0"
