"""Knowledge of Istio's documents: find and edit routes and subsets, translate them for Envoy. Pure."""
