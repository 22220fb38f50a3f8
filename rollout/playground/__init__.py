"""The embedded default: a real Envoy, real HTTP services and users on this machine, no cluster."""
