"""The demo: a whole rollout on the playground, with what its users saw."""

import json
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from rollout.adapters import clock
from rollout.adapters.strategy_files import load
from rollout.cli import driving
from rollout.core.errors import InvalidInput, Unavailable
from rollout.core.lifecycle import Phase
from rollout.core.probe import Expected, Probe
from rollout.core.strategy import Bake, Fault, Mirror, Safe, Step, Strategy
from rollout.engine.survey import Request
from rollout.playground.stage import NAMESPACE, Playground
from rollout.wiring import engine, folder_world

BAD: dict[str, dict[str, Any]] = {
    "errors": {"share": 0.05},
    "rejections": {"share": 0.2, "status": 401},
    "slow": {"delay": 0.3},
    "crash": {"refuse": True},
    "mirror": {"share": 0.3},
    "fault-drill": {"patient": True},
}
"""The scenarios in which v2 does harm all the time, and which."""
ENDS = {"good": 0, **dict.fromkeys(BAD, 1), "no-traffic": 4, "outage": 0}
"""The scenarios, and how each should end, as an exit code."""
BROKEN: dict[str, tuple[str, ...]] = {**dict.fromkeys(BAD, ("v2",)), "outage": ("v1", "v2")}
"""Which versions do harm in a scenario; what others fail, or nobody, is the shifting's fault."""
MIRROR = Step(Decimal(0), Bake(600.0, 600.0), Mirror(Decimal(100), Safe.READS))
"""What the scenario `mirror` does before the preset's first weight: at half of all requests proof takes a while."""


def drill(entrance: int) -> Step:
    """What the scenario `fault-drill` does before it: ratings answers late, and v2 has no timeout towards it."""
    url, expected = f"http://127.0.0.1:{entrance}/", Expected(200, within=2.0)
    probe = Probe(url, headers={"host": "reviews"}, count=20, rps=10.0, expect=expected)
    return Step(Decimal(0), Bake(0.0, 600.0), Fault("ratings", probe, delay=7.0))


def strategy(speed: float, scenario: str, entrance: int = 0) -> Strategy:
    """The preset `canary`, faster; looks each second, because the playground counts each second."""
    made = load("canary")
    if scenario == "mirror":
        made = replace(made, steps=(MIRROR, *made.steps))
    if scenario == "fault-drill":
        made = replace(made, steps=(drill(entrance), *made.steps))
    made = replace(made.faster(speed), propagation=1.0)
    return replace(made, deadline=60 / speed * 10) if scenario == "no-traffic" else made


def check(scenarios: list[str]) -> None:
    """Raise `InvalidInput` for a scenario that does not exist."""
    for scenario in scenarios:
        if scenario not in ENDS:
            raise InvalidInput(f"there is no scenario {scenario!r}; there are {', '.join(ENDS)}")


def play(scenario: str, rps: int, speed: float, tell: driving.Tell, talk: Callable[[str], None]) -> dict[str, Any]:
    """Play one scenario; returns what the users saw, and how it ended."""
    with (
        tempfile.TemporaryDirectory(prefix="rollout-demo-") as folder,
        Playground(Path(folder), 0 if scenario == "no-traffic" else rps) as playground,
    ):
        _warm(playground, scenario)
        with _trouble(playground, scenario, speed):
            cluster, metrics = folder_world(playground.folder)
            driver = engine(cluster, metrics, "reviews", NAMESPACE)
            request = Request("reviews", NAMESPACE, "v2", strategy(speed, scenario, playground.entrance))
            started = clock.now()
            attempt, code = driving.promote(driver, request, driving.Manners(), tell)
            took = clock.now() - started
        clock.wait(1.2)
        weights = playground.events[-1][1]
        seen = _users(playground, scenario)
    late = seen.pop("late")
    if late > 0.02:
        talk(f"this machine sent {100 * (1 - late):.0f} % of the {rps} requests a second that were wanted")
    return {
        "scenario": scenario,
        "phase": attempt.phase if attempt else Phase.ROLLED_BACK,
        "from": "v1",
        "to": "v2",
        "weights": {"v1": weights.get("v1", 0), "v2": weights.get("v2", 0)},
        "duration_seconds": round(took, 1),
        **seen,
        "exit": code,
    }


def _warm(playground: Playground, scenario: str) -> None:
    """Wait until the users get answers, then forget what they saw before."""
    until = clock.now() + 20
    while scenario != "no-traffic":
        lines = _lines(playground.users_log)
        if lines and lines[-1]["answered"] and not lines[-1]["failed"]:
            break
        if clock.now() > until:
            raise Unavailable(f"the playground's users get no answers: {playground.trouble or lines[-1:]}")
        clock.wait(0.2)
    clock.wait(1.0)
    playground.users_log.write_text("")


@contextmanager
def _trouble(playground: Playground, scenario: str, speed: float) -> Iterator[None]:
    """What goes wrong in this scenario, and when."""
    playground.fail("v2", **BAD.get(scenario, {}))
    done = threading.Event()
    thread = threading.Thread(target=_outage, args=(playground, done, 60 / speed), daemon=True)
    if scenario == "outage":
        thread.start()
    yield
    done.set()


def _outage(playground: Playground, done: threading.Event, seconds: float) -> None:
    """Both versions fail half of their answers for a while, once the canary has users."""
    while not done.wait(0.1):
        if playground.events[-1][1].get("v2", 0) >= 25:
            break
    for share in (0.5, 0.0):
        for version in ("v1", "v2"):
            playground.fail(version, share)
        done.wait(seconds)


def _lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")] if log.exists() else []


def _users(playground: Playground, scenario: str) -> dict[str, Any]:
    lines = _lines(playground.users_log)
    failed = shifting = 0
    for kind, count in (item for line in lines for item in line["failed"].items()):
        failed += count
        if kind.split("|")[2] not in BROKEN.get(scenario, ()):
            shifting += count
    first = next((line["first_failed_at"] for line in lines if line["first_failed_at"]), 0.0)
    if scenario == "slow":  # nobody's request fails; each that v2 gets is answered badly
        first = next((t for t, w in playground.events if w.get("v2")), 0.0)
    back = next((t for t, w in playground.events if first and t > first and not w.get("v2")), 0.0)
    sent, wanted = sum(line["sent"] for line in lines), sum(line["wanted"] for line in lines)
    return {
        "requests": sent,
        "failed_requests": failed,
        "failed_by_shifting": shifting,
        "reaction_seconds": round(back - first, 2) if back else None,
        "late": 1 - sent / wanted if wanted else 0.0,
    }


def told(result: dict[str, Any]) -> str:
    """What the users saw, in words."""
    hurt, requests = result["failed_requests"], result["requests"]
    served = " and ".join(f"{version} {percent} %" for version, percent in result["weights"].items())
    ended = f"{result['scenario']}: {result['phase']} after {result['duration_seconds']:.0f} s; {served}"
    share = f"{hurt} failed ({100 * hurt / max(1, requests):.2g} %)"
    shifted = f"{result['failed_by_shifting']} of them because traffic was shifted"
    lines = [ended, f"users sent {requests} requests; {share}, {shifted}"]
    if result["reaction_seconds"] is not None:
        lines.append(f"from the first bad answer to no traffic on v2: {result['reaction_seconds']:.1f} s")
    return "\n".join(lines) + "\n"


def talk(text: str) -> None:
    """Say something beside the data."""
    print(text, file=sys.stderr, flush=True)
