"""`rollout` and `python -m rollout`."""

from rollout.cli.app import main

if __name__ == "__main__":
    main()
