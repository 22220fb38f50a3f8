"""`rollout watch`: what the judge says of somebody else's rollout, for people and for scripts."""

import json
from collections.abc import Callable
from typing import Any

from rollout.adapters import clock
from rollout.cli import backtesting
from rollout.cli.console import at
from rollout.core.attempt import Verdict
from rollout.core.errors import Unavailable
from rollout.core.quantities import many, spoken
from rollout.engine.replaying import Replay
from rollout.engine.watching import Sight, Watch

EVERY = 1.0
"""Seconds between two looks at the weights."""
INTERRUPTED = 130


def stay(watch: Watch, lasting: float, tell: Callable[[Sight], None]) -> int:
    """Tell each look that changed something, until it ends or `lasting` seconds are over; returns the exit code.

    Raises what the first look raises; later, a cluster that does not answer is waited for.
    """
    began, told = clock.now(), None
    try:
        while watch.ending is None and clock.now() - began < lasting:
            try:
                sight = watch.look(clock.now())
            except Unavailable as error:
                if told is None:
                    raise
                sight = Sight(clock.now(), notice=str(error))
            if _shown(sight) != told:
                told = _shown(sight)
                tell(sight)
            if watch.ending is None:
                clock.wait(EVERY)
    except KeyboardInterrupt:
        return INTERRUPTED
    replay = watch.replay(clock.now())
    return 1 if replay and replay.back else 0


def _shown(sight: Sight) -> tuple[object, ...]:
    """What of a sight is news when it changes: of evidence, a tenth of what it takes."""
    said = sight.said
    seen = sight.weight, sight.editor, sight.judged, sight.notice
    return (*seen, said.verdict, said.check, int(10 * said.to_go_on), int(10 * said.to_go_back)) if said else seen


def line(sight: Sight) -> str:
    """A sight for a person."""
    if sight.weight is None:
        return f"{at(sight.at)}  {sight.notice}"
    who = f" by {sight.editor}" if sight.editor else ""
    told = f"{at(sight.at)}  {sight.canary} at {sight.weight} %{who}"
    if said := sight.said:
        of = f" (of {sight.judged} %)" if sight.judged != sight.weight else ""
        told += f"  {said.verdict}{of}: {said.text}"
        if said.verdict is Verdict.ROLLBACK:
            told += "; we would take it back" if sight.weight else ""
        elif said.looked_at:
            told += f"; evidence to go on {100 * said.to_go_on:.0f} %, to go back {100 * said.to_go_back:.0f} %"
    return f"{told}  ({sight.notice})" if sight.notice else told


def document(sight: Sight) -> dict[str, Any]:
    """A sight as people's scripts read it."""
    said = sight.said
    return {
        "at": sight.at,
        "stable": sight.stable or None,
        "canary": sight.canary or None,
        "weight": None if sight.weight is None else float(sight.weight),
        "editor": sight.editor or None,
        "judged_weight": None if sight.judged is None else float(sight.judged),
        "verdict": str(said.verdict) if said else None,
        "check": said.check if said else None,
        "p_value": float(f"{said.luck:.6g}") if said else None,
        "to_go_on": round(said.to_go_on, 4) if said else None,
        "to_go_back": round(said.to_go_back, 4) if said else None,
        "text": said.text if said else None,
        "notice": sight.notice or None,
    }


def closing(replay: Replay | None) -> str:
    """What happened, and what we would have done, for a person."""
    if replay is None:
        return "nothing was shifted"
    told = backtesting.summary(replay, replay.plateaus[0].since)
    if replay.back is None:
        return told
    assert replay.back.back_after is not None
    ago = replay.ended - replay.back.since - replay.back.back_after
    until, after = replay.failed
    return (
        f"we would have taken {replay.canary} back {spoken(ago)} ago, after {many(until)} failed requests; "
        f"{many(after)} failed since\n{told}"
    )


def last(replay: Replay | None) -> dict[str, Any]:
    """The summary for scripts: as `rollout backtest` has it."""
    return backtesting.document(replay, replay.plateaus[0].since) if replay else {"summary": closing(None)}


def told_as(output: str) -> Callable[[Sight], None]:
    """How a sight is said: a line for a person, or one JSON object."""

    def tell(sight: Sight) -> None:
        print(json.dumps(document(sight)) if output == "json" else line(sight), flush=True)

    return tell
