"""What a rollout means: weights, strategies, phases, and the decision. Pure: no I/O, no clock, no threads.

Everything here is a frozen value or a function of values, so that a plan, a simulation and a test all run the
very code that moves traffic. Knowledge of Istio's documents does not belong here; see `rollout.mesh`.
"""
