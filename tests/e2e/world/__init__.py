"""What runs in the cluster beside the chart: an image of its own, and the documents that use it."""
