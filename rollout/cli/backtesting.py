"""`rollout backtest`: past releases as today's strategy would have judged them, for people and for scripts."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from rollout.cli.console import at
from rollout.core.attempt import Verdict
from rollout.core.errors import InvalidInput
from rollout.core.quantities import many, share, spoken
from rollout.core.strategy import Kind
from rollout.engine.replaying import Ending, Plateau, Replay
from rollout.judge.judge import kind_of
from rollout.judge.looks import Arm
from rollout.judge.telling import luck


def moments(texts: Sequence[str], now: float) -> list[float]:
    """Times as people write them, in epoch seconds. Raises `InvalidInput` if one is none, or lies in the future.

    >>> moments(["1970-01-01T00:01:00Z", "1970-01-01 02:00:30+02:00"], 100.0)
    [60.0, 30.0]
    """
    return [_moment(text, now) for text in texts]


def _moment(text: str, now: float) -> float:
    try:
        # A day alone would be read as its midnight, which nobody means.
        found = datetime.fromisoformat(text.strip()).timestamp() if ":" in text else None
    except (ValueError, OverflowError, OSError):
        found = None
    if found is None:
        raise InvalidInput(
            f"--at {text!r} is no time; write it like 2026-11-24T14:05:00Z, or '2026-11-24 14:05' for local time"
        )
    if found >= now:
        raise InvalidInput(f"--at {text} lies in the future; name the time when the release began")
    return found


def document(replay: Replay, moment: float) -> dict[str, Any]:
    """A replay as people's scripts read it; times are epoch seconds, `after` and `ran` seconds."""
    return {
        "at": moment,
        "stable": replay.stable,
        "canary": replay.canary,
        "went_back": bool(replay.back),
        "ran": replay.ran,
        "ended": replay.ended,
        "ending": str(replay.ending),
        "failed": {"until": replay.failed[0], "after": replay.failed[1]},
        "plateaus": [_plateau(plateau) for plateau in replay.plateaus],
        "summary": summary(replay, moment),
    }


def _plateau(plateau: Plateau) -> dict[str, Any]:
    said = plateau.said
    return {
        "weight": float(plateau.weight),
        "share": round(plateau.share, 6),
        "since": plateau.since,
        "until": plateau.until,
        "verdict": str(said.verdict) if said else None,
        "check": said.check if said else None,
        "p_value": float(f"{said.luck:.6g}") if said else None,
        "text": said.text if said else None,
        "on_after": plateau.on_after,
        "back_after": plateau.back_after,
        "doubt_after": plateau.doubt_after,
        "stable": _counts(plateau.stable),
        "canary": _counts(plateau.canary),
    }


def _counts(arm: Arm) -> dict[str, int]:
    return {"requests": arm.requests, "failures": arm.failures, "rejections": arm.rejections}


def told(replay: Replay, moment: float) -> Iterator[str]:
    """A replay for a person, line by line; the last one sums it up."""
    r = replay
    yield f"{r.canary} beside {r.stable}, from {at(r.plateaus[0].since, date=True)}"
    for plateau in r.plateaus:
        lasted = spoken(plateau.until - plateau.since)
        failed = " and ".join(
            _failed(name, arm) for name, arm in ((r.canary, plateau.canary), (r.stable, plateau.stable))
        )
        got = f"{r.canary} got {share(plateau.share)} of the requests"
        yield f"  {plateau.weight} % from {at(plateau.since)} for {lasted}: {got}; {failed}"
        yield f"    {_verdict(plateau)}"
    if r.back:
        until, after = (many(n) for n in r.failed)
        yield f"  {until} of users' requests failed on {r.canary} until the judge would have acted, {after} after"
    yield summary(r, moment)


def _failed(version: str, arm: Arm) -> str:
    return f"{version} failed {share(arm.rate)} of {many(arm.requests)}" if arm.requests else f"{version} had none"


def _verdict(plateau: Plateau) -> str:
    said = plateau.said
    if said is None:
        return "the judge would have gone back before"
    if plateau.back_after is not None:
        acts = f"back after {spoken(plateau.back_after)}"
    elif plateau.doubt_after is not None:
        acts = f"back to compare anew after {spoken(plateau.doubt_after)}"
    elif plateau.on_after is not None:
        acts = f"on after {spoken(plateau.on_after)}"
    else:
        acts = "neither back nor on"
    return f"{acts}, {said.verdict}: {said.text}"


def summary(replay: Replay, moment: float) -> str:
    """A replay in one line."""
    would = _went_back(replay.back) if replay.back else _went_on(replay)
    requests = sum(replay.failed)
    failed = f"{many(requests)} request{'' if requests == 1 else 's'} failed"
    return f"{at(moment, date=True)} {replay.canary}: {would}; in fact it {_in_fact(replay)} and {failed}"


def _went_back(plateau: Plateau) -> str:
    assert plateau.said is not None
    assert plateau.back_after is not None
    what = _what(plateau.said.check)
    # Without anybody to compare with, the chance is one of crossing a bound, and the judge does not name it either.
    chance = "" if plateau.weight == 100 else f", {luck(plateau.said.luck)}"
    return f"would have gone back after {spoken(plateau.back_after)} at {plateau.weight} %: {what}{chance}"


def _what(check: str) -> str:
    kind, edge = kind_of(check)
    return f"answers slower than {edge:g} ms" if kind is Kind.LATENCY else str(kind)


def _went_on(replay: Replay) -> str:
    compared = [plateau for plateau in replay.plateaus if plateau.weight < 100]
    doubts = "".join(f"; {_doubt(plateau)}" for plateau in replay.plateaus if plateau.doubt_after is not None)
    if not compared:
        return f"would have had nobody to compare with, because {replay.canary} had everything at once{doubts}"
    steps = ", ".join(_step(plateau) for plateau in compared)
    return f"would have gone on {steps}{doubts}"


def _doubt(plateau: Plateau) -> str:
    assert plateau.said is not None
    assert plateau.doubt_after is not None
    after = f"after {spoken(plateau.doubt_after)} at {plateau.weight} %"
    return f"would have gone back to compare anew {after}: {_what(plateau.said.check)}"


def _step(plateau: Plateau) -> str:
    if plateau.on_after is None:
        return f"not from {plateau.weight} % within {spoken(plateau.until - plateau.since)}"
    unproven = "" if plateau.said and plateau.said.verdict is Verdict.ADVANCE else "unproven "
    return f"{unproven}from {plateau.weight} % after {spoken(plateau.on_after)}"


def _in_fact(replay: Replay) -> str:
    if replay.ending is Ending.EVERYTHING:
        took = replay.plateaus[-1].since - replay.plateaus[0].since
        return f"had everything {f'after {spoken(took)}' if took else 'at once'}"
    how = {Ending.NOTHING: "ran", Ending.TOO_LONG: "ran longer than", Ending.NOW: "has run"}[replay.ending]
    return f"{how} {spoken(replay.ran)}"
