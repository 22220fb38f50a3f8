"""The door in the cluster: one engine for each ServiceRollout that is under way, led by one process."""
