"""Which changes of an attempt a person is told, and the message that says it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from rollout.core.attempt import Attempt, Event, Notice
from rollout.core.lifecycle import Phase
from rollout.core.quantities import spoken
from rollout.core.strategy import Gate

HELD_AFTER = 300.0
"""Seconds for which a rollout stands still for one reason before a person is told."""
MOST = 20
"""Notices that wait to be told at most; beyond that the oldest goes."""


def noticed(before: Attempt | None, after: Attempt, now: float) -> Attempt:
    """The attempt `after` a change (None before: it begins), with a notice of what a person is to be told of it.

    To be recorded together with the change, so that neither is there without the other.
    """
    if not after.strategy.notify:
        return after
    for event in _events(before, after, now):
        number = after.noticed + 1
        notice = Notice(
            f"{after.id}/{number}", event, now, after.id, after.stable, after.canary, after.strategy.name, after.phase,
            after.weight, after.reason, _why(after, event), after.started, _calls(after, event),
        )  # fmt: skip
        held = _stands_since(after) if event is Event.HELD else after.held
        after = replace(after, notices=(*after.notices, notice)[-MOST:], noticed=number, held=held)
    return after


def _events(before: Attempt | None, after: Attempt, now: float) -> Iterator[Event]:
    if before is None:
        yield Event.STARTED
        return
    if after.phase is not before.phase and after.phase in ENTERED:
        yield ENTERED[after.phase]
    if after.phase is Phase.WAITING and _asks(after) and (before.phase, before.step) != (after.phase, after.step):
        yield Event.WAITING
    if after.stuck and not before.stuck:
        yield Event.STUCK
    since = _stands_since(after)
    if since and since != after.held and now - since >= HELD_AFTER:
        yield Event.HELD


ENTERED = {
    Phase.PAUSED: Event.PAUSED,
    Phase.PROMOTED: Event.PROMOTED,
    Phase.ROLLED_BACK: Event.ROLLED_BACK,
}


def _asks(a: Attempt) -> bool:
    """Whether it waits for somebody's word, not for the clock."""
    return isinstance(a.wait, Gate) or a.waits_for_person


def _stands_since(a: Attempt) -> float:
    """Since when it says that it is held, or goes back and has not got there; 0 where it does neither."""
    if a.phase.ended or a.stuck or not (a.message.startswith("holding:") or a.phase is Phase.ROLLING_BACK):
        return 0.0
    return next((entry.at for entry in reversed(a.journal) if entry.text == a.message), 0.0)


def _calls(a: Attempt, event: Event) -> bool:
    """Whether somebody may have to act; a webhook answers at its gate by itself."""
    return event is Event.HELD or a.waits_for_person


def _why(a: Attempt, event: Event) -> str:
    """What is said beside the event."""
    if event is Event.ROLLED_BACK:
        return a.message.removeprefix("rolled back: ").removeprefix(f"{a.reason}: ")
    return a.message


def message(notice: Notice, service: str, namespace: str) -> dict[str, Any]:
    """A notice as the JSON document that is posted; docs/messages.md describes it.

    >>> from decimal import Decimal
    >>> it = Notice("a/2", Event.PAUSED, 60, "a", "v1", "v2", "s", Phase.PAUSED, Decimal(5), None, "<b>", 0, True)
    >>> message(it, "reviews", "shop")["text"]
    'reviews in shop: v1 → v2 at 5 % is paused: &lt;b&gt;'
    """
    return {
        "text": _escaped(_sentence(notice, service, namespace)),
        "mrkdwn": False,
        "id": notice.id,
        "event": notice.event.value,
        "at": notice.at,
        "needs_person": notice.calling,
        "service": service,
        "namespace": namespace,
        "stable": notice.stable,
        "canary": notice.canary,
        "strategy": notice.strategy,
        "attempt": notice.attempt,
        "phase": notice.phase.value,
        "weight": str(notice.weight),
        "reason": notice.reason.value if notice.reason else None,
        "message": notice.why,
    }


def _sentence(n: Notice, service: str, namespace: str) -> str:
    what, took = f"{service} in {namespace}: {n.stable} → {n.canary}", spoken(round(n.at - n.started))
    if n.event is Event.STARTED:
        return f"{what} has begun with strategy {n.strategy}"
    if n.event is Event.PROMOTED:
        return f"{what} is promoted after {took}"
    if n.event is Event.ROLLED_BACK:
        return f"{what} was taken back after {took} ({n.reason}): {n.why}"
    return f"{what} at {n.weight} % {VERBS[n.event]}: {n.why}"


VERBS = {
    Event.WAITING: "waits for an answer",
    Event.PAUSED: "is paused",
    Event.HELD: f"stands still for {spoken(HELD_AFTER)}",
    Event.STUCK: "cannot go back by itself, a person must act",
}


def _escaped(text: str) -> str:
    """Text in which Slack sees neither a link nor a mention, whoever wrote it."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
