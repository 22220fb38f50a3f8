"""Run many worlds: `python -m tests.simulation --from 0 --seeds 2000`."""

import argparse
import collections
import math
import sys

from tests.simulation.cached import CachedReplica
from tests.simulation.invariants import Violation
from tests.simulation.replicas import Replica, storm
from tests.simulation.worlds import play


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--preset", default="", help="its steps instead of the world's own")
    parser.add_argument("--failing", type=float, help="the share that the canary fails, instead of the world's own")
    parser.add_argument("--staffed", action="store_true", help="the canary is scaled as it goes")
    parser.add_argument("--named", action="store_true", help="the route for everybody has a match, and is named")
    parser.add_argument("--beside", action="store_true", help="routes with a match beside it are named")
    parser.add_argument("--controller", action="store_true", help="two replicas of the controller drive")
    parser.add_argument("--cached", action="store_true", help="they do, and read what watches keep")
    parser.add_argument("--retires", action="store_true", help="and retire what was replaced")
    parser.add_argument("--drained-at", type=float, default=math.inf, help="seconds until one more begins to drain")
    options = parser.parse_args()
    ends: collections.Counter[str] = collections.Counter()
    violations = 0
    for seed in range(options.first, options.first + options.seeds):
        try:
            if options.controller or options.cached:
                kind = CachedReplica if options.cached else Replica
                outcome = storm(seed, kind, options.staffed, options.drained_at, options.retires)
            else:
                outcome = play(seed, options.preset, options.failing, options.staffed, options.named, options.beside)
        except Violation as violation:
            violations += 1
            print(violation, file=sys.stderr)
            continue
        ends[f"{'bad ' if outcome.bad else 'good'} {outcome.phase} {outcome.reason}"] += 1
        if options.seeds == 1:
            print(outcome)
    for end, count in sorted(ends.items()):
        print(f"{count:6} {end}")
    print(f"{violations} violation(s) in {options.seeds} worlds")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
