"""Virtual rollouts: traffic with known truth, and what our peers' rules do with it.

Pure, and standard library only. Nothing here reads a clock or a real service; every draw comes from a seed.
"""
