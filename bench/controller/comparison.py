"""Measure every case, and write the table where the README has a place for it: `python -m bench.controller.comparison`.

Each case runs by itself, and is recorded as soon as it is known; those that are recorded already are left out, so that
what was interrupted goes on (`--again`: measure them anew). It takes hours; run nothing beside it.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any

from bench.controller.table import README, RESULTS, put, recorded, table

EVERY, PEERS, OURS = ("flagger", "argo", "ours"), ("flagger", "argo"), ("ours",)
RAISED, EACH_SECOND, AS_PEERS = ("--raised",), ("--interval", "1"), ("--interval", "10")
CASES: list[tuple[tuple[str, ...], str, int, tuple[str, ...]]] = [
    (EVERY, "idle", 200, ()),
    (EVERY, "rollout", 10, ()),
    (("argo",), "rollout", 10, EACH_SECOND),
    (OURS, "rollout", 10, AS_PEERS),
    (OURS, "rollout", 200, ()),
    (OURS, "rollout", 200, AS_PEERS),
    (PEERS, "rollout", 200, RAISED),
    (EVERY, "bake", 200, ()),
    (EVERY, "reaction", 24, ()),
    (("argo",), "reaction", 24, EACH_SECOND),
    (EVERY, "reaction-loaded", 200, ()),
    (EVERY, "kill", 10, ()),
    (EVERY, "kill", 10, ("--bake", "60")),
    (EVERY, "outage", 10, ()),
    (EVERY, "drift", 10, ()),
    (EVERY, "memory", 10, ()),
    (EVERY, "memory", 200, ()),
    (OURS, "memory", 1000, ()),
    (OURS, "start", 10000, ()),
]
"""Who is measured in which scenario, over how many services, and what is otherwise than by default."""


def main() -> None:
    """Measure what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--again", action="store_true", help="measure also what is recorded")
    parser.add_argument("--only", default="", help="scenarios, like rollout,idle")
    parser.add_argument("--controllers", default=",".join(EVERY))
    asked = parser.parse_args()
    for controllers, scenario, services, more in CASES:
        for controller in controllers:
            wanted = controller in asked.controllers.split(",") and scenario in (asked.only or scenario).split(",")
            if wanted and (asked.again or (controller, scenario, services, more) not in map(_case, recorded())):
                _measured(controller, scenario, services, more)
                README.write_text(put(README.read_text(), table(recorded())))
    print(table(recorded()))


def _case(line: dict[str, Any]) -> tuple[str, str, int, tuple[str, ...]]:
    return line["controller"], line["scenario"], line["services"], tuple(line["more"])


def _measured(controller: str, scenario: str, services: int, more: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "bench.controller", controller, scenario, "--services", str(services), *more]
    print(*command[3:], flush=True)
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        print(f"failed with {done.returncode}; it is left out", file=sys.stderr)
        return
    line = json.loads(done.stdout.splitlines()[-1])
    line |= {"more": list(more), "day": time.strftime("%F"), "cores": os.cpu_count(), "load": os.getloadavg()[2]}
    case = _case(line)
    kept = [one for one in recorded() if _case(one) != case]
    RESULTS.write_text("".join(f"{json.dumps(one)}\n" for one in [*kept, line]))


if __name__ == "__main__":
    main()
