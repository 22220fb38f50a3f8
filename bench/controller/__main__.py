"""Measure one controller in one scenario: `python -m bench.controller ours rollout --services 10`.

Prints its numbers as one line of JSON; such lines, given to `python -m bench.controller.table`, become the comparison.
"""

import argparse
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from bench.controller.argo import Argo
from bench.controller.candidate import Candidate
from bench.controller.flagger import Flagger
from bench.controller.ours import Ours
from bench.controller.scenarios import SCENARIOS
from bench.controller.stage import Stage

CANDIDATES: dict[str, type[Candidate]] = {"ours": Ours, "flagger": Flagger, "argo": Argo}


def main() -> None:
    """Read the arguments, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("controller", choices=CANDIDATES)
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--services", type=int, default=10)
    parser.add_argument("--bake", type=float, help="seconds that a weight stands")
    parser.add_argument("--interval", type=float, help="seconds between two looks, and two scrapes")
    parser.add_argument("--raised", action="store_true", help="raise the client limits of a peer")
    parser.add_argument("--keep", type=Path, help="a folder for the logs")
    asked = parser.parse_args()
    measure, plan = SCENARIOS[asked.scenario]
    candidate = CANDIDATES[asked.controller]
    plan = replace(plan, bake=asked.bake or plan.bake, interval=asked.interval or candidate.interval)
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    stage = Stage(folder, candidate, plan, asked.services, asked.raised)
    try:
        stage.settle()
        numbers = measure(stage)
    finally:
        stage.close()
        if asked.keep:
            asked.keep.mkdir(parents=True, exist_ok=True)
            for log in folder.glob("*.log"):
                shutil.copy(log, asked.keep)
        shutil.rmtree(folder, ignore_errors=True)
    head = {
        "controller": asked.controller, "scenario": asked.scenario, "services": asked.services, "bake": plan.bake,
        "interval": plan.interval, "raised": asked.raised,
    }  # fmt: skip
    print(json.dumps(head | numbers))


if __name__ == "__main__":
    main()
