"""Whether the canary is worse than stable: pure statistics on increments of counters, standard library only.

Nothing here knows Istio, Prometheus, or time beyond the timestamps that looks carry.
"""
