"""The world behind the ports: the Kubernetes API, Prometheus, a folder of documents, files, the clock.

Each third-party library has one importing module here. Nothing in this package decides anything.
"""
