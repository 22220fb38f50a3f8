"""What the controller costs and how soon it acts, beside Flagger and Argo Rollouts on the same API server."""
