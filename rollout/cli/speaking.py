"""A person's word to a rollout in flight: pause, go on, yes or no. Who drives reads it in the record."""

import getpass
import os
from collections.abc import Callable

from rollout.adapters import clock
from rollout.core.attempt import Attempt, Word
from rollout.core.errors import Conflict, InvalidInput
from rollout.core.lifecycle import Phase
from rollout.engine.engine import Engine

TRIES = 10
PERSONS = ("GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILD_USER_ID")
"""Where pipelines say who started them."""


def person() -> str:
    """Who is asking, as far as the machine knows."""
    named = next((name for variable in PERSONS if (name := os.environ.get(variable))), "")
    try:
        return named or getpass.getuser()
    except (OSError, KeyError):  # a container without an entry for its user
        return "somebody"


def pause(engine: Engine, who: str, why: str) -> Attempt:
    """Let it stand still. Raises `InvalidInput` where nothing is in flight."""
    return _said(lambda: engine.pause(clock.now(), who or person(), why))


def answer(engine: Engine, yes: bool, who: str, why: str) -> Attempt:
    """Answer its gate. Raises `InvalidInput` where it waits at none."""
    return _said(lambda: engine.answer(Word(yes, who or person(), why), clock.now()))


def resume(engine: Engine) -> Attempt:
    """Let it go on from a pause. Raises `InvalidInput` where it does not stand at one."""

    def asked() -> Attempt:
        engine.resume(clock.now())
        attempt = engine.states.record.attempt
        if attempt is None or not attempt.resume:
            raise InvalidInput(_not_paused(engine, attempt))
        return attempt

    return _said(asked)


def _not_paused(engine: Engine, attempt: Attempt | None) -> str:
    if attempt is None or attempt.phase.ended:
        return f"no rollout of {engine.service} is in flight in namespace {engine.namespace}"
    hint = f"; `rollout approve {engine.service}` answers it" if attempt.phase is Phase.WAITING else ""
    return f"{engine.service} is not paused: it is {attempt.phase} ({attempt.message}){hint}"


def _said(say: Callable[[], Attempt]) -> Attempt:
    """Say it again where who drives wrote at the same moment."""
    for _ in range(TRIES - 1):
        try:
            return say()
        except Conflict:
            clock.wait(0.1)
    return say()


def heard(engine: Engine, attempt: Attempt) -> str:
    """What follows, for a person."""
    since = engine.lease.unattended(clock.now())
    command = f"rollout promote {engine.service} --to {attempt.canary}"
    command += " --local" if engine.states.declared is not None else ""
    nobody = "" if since is None else f"; nobody drives it now: `{command}`"
    return f"{engine.service}: {attempt.message}{nobody}"
