"""The chart in a real cluster, whichever it is: real pods behind a real Envoy, and a Prometheus that scrapes it."""
