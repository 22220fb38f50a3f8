"""Drive an attempt from a terminal or a pipeline: tick, tell, wait; and leave safely when told to."""

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

from rollout.adapters import clock
from rollout.core.attempt import Attempt
from rollout.core.errors import Conflict, RolloutError, Unavailable
from rollout.core.lifecycle import Phase, Reason
from rollout.engine.engine import Engine, same_target
from rollout.engine.survey import Request

LONGEST_WAIT = 1.0
LEAVE_WITHIN, FINISH_WITHIN, REST_WITHIN = 20.0, 5.0, 900.0
"""Seconds to take back when told to leave, to write that down, and, where nobody hurries us, to give a shrunken stable
all of the rest."""
PATIENCE = 60.0
TELL_WITHIN = 5.0
"""Seconds to go on telling people what they should know before we leave."""

PROMOTED, ROLLED_BACK, BAD_INPUT, UNREACHABLE, UNPROVEN, WAITING, BUG = 0, 1, 2, 3, 4, 5, 70


class Interrupted(BaseException):
    """A signal asked us to leave; nothing on the way may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


@dataclass(frozen=True)
class Manners:
    """How to leave: `timeout` seconds (0: none), and whether to hold instead of taking back.

    `hold_on_interrupt` None: hold on Ctrl-C where a person sits (`at_terminal`), else take back.
    """

    timeout: float = 0.0
    hold_on_timeout: bool = False
    hold_on_interrupt: bool | None = None
    at_terminal: bool = False
    wait: bool = True

    def holds(self, code: int) -> bool:
        """Whether to leave traffic where it is after this signal (as an exit code)."""
        if self.hold_on_interrupt is None:
            return self.at_terminal and code == 128 + signal.SIGINT
        return self.hold_on_interrupt


Tell = Callable[[Attempt | None, str], None]
Choose = Callable[[Request], Request]
"""What a request becomes once it was examined: its strategy may be chosen by what was found, and a person asked."""


def exit_code(attempt: Attempt) -> int:
    """What the process's exit code says of an attempt."""
    if attempt.phase is Phase.PROMOTED:
        return PROMOTED
    if attempt.reason in (Reason.UNPROVEN, Reason.UNANSWERED, Reason.OVERDUE, Reason.TIMED_OUT):
        return UNPROVEN
    return ROLLED_BACK


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible(engine: Engine) -> Iterator[None]:
    """Turn the first signal into `Interrupted`; later ones do not disturb the leaving, at whose end the next may drive.

    Whoever leaves does so within.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        del frame
        _deaf()
        raise Interrupted(number)

    before = {one: handler for one in SIGNALS if (handler := signal.getsignal(one)) != signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, leave)
        yield
    finally:
        _deaf()
        with suppress(RolloutError):
            engine.let_go(clock.now())
        for number, handler in before.items():
            signal.signal(number, handler)


def _deaf() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def as_asked(request: Request) -> Request:
    """The request as it is."""
    return request


def promote(
    engine: Engine,
    request: Request,
    manners: Manners,
    tell: Tell,
    choose: Choose = as_asked,
    begin: Callable[[Request, float], object] | None = None,
) -> tuple[Attempt | None, int]:
    """Start, join or go on with a promotion and stay until it ends; returns it with the exit code.

    Whatever can be found out beforehand is found out before the first write, the lease among them. `choose` is asked
    only where nothing is in flight: what is goes on as it was recorded. `begin` is how, if not by the engine alone.
    """
    begun = False
    with interruptible(engine):
        try:
            running = engine.running()
            if running is None:
                engine.examine(request, clock.now())
                request = choose(request)
            left = _board(engine, request, running, manners, tell)
            if left is not None:
                return left
            begun = True  # from here on there may be something to take back
            (begin or engine.begin)(request, clock.now())
            return _stay(engine, manners, tell)
        except Interrupted as interrupted:
            if not begun:
                return None, interrupted.code
            if manners.holds(interrupted.code):
                return _hold(engine), interrupted.code
            return leave(engine, Reason.INTERRUPTED, tell), interrupted.code


def finish(engine: Engine, tell: Tell, within: float) -> Attempt | None:
    """Go on ticking until what is taken back has ended, or only a person can help, for at most `within` seconds."""
    until, leaving, failing = clock.now() + within, 0.0, dict[type, float]()
    attempt: Attempt | None = None
    while clock.now() < until:
        try:
            tick = engine.tick(clock.now())
            attempt = tick.attempt
            tell(attempt, "")
            if attempt is None or (attempt.phase.ended and attempt.cleaned) or attempt.stuck:
                leaving = leaving or clock.now()
                if _told(engine, attempt, leaving):
                    return attempt
            failing.clear()
            clock.wait(min(tick.after, 0.2))
        except Exception as error:  # noqa: BLE001 - as in `_stay`
            tell(attempt, _said(error))
            since = failing.setdefault(type(error), clock.now())
            if not isinstance(error, (Unavailable, Conflict)) and clock.now() > since + PATIENCE:
                break
            clock.wait(0.5)
    return attempt


def _board(
    engine: Engine, request: Request, running: Attempt | None, manners: Manners, tell: Tell
) -> tuple[Attempt | None, int] | None:
    """Take the lease, or follow whoever has it; returns how it ended if we need not, or may not, drive any more."""
    started = clock.now()
    if running is not None:
        same_target(running, request)
        if running.strategy.name != request.strategy.name:
            tell(running, f"it goes on with strategy {running.strategy.name}, with which it began")
        if kept := other_names(running, request.names):
            tell(running, kept)
        with suppress(Conflict):  # who asks to go on means the pause that is there now, not those to come
            engine.resume(started)
    followed = running
    while not engine.acquire(clock.now()):
        rest = engine.lease.wait(clock.now())
        who = engine.lease.other or "another process"
        tell(followed, f"{who} drives {engine.service}; taking over in {rest:.0f} s unless it is alive")
        clock.wait(1.0)
        running = engine.running()
        if running:
            same_target(running, request)
        followed = running or followed
        if followed and not running:
            break
        if followed and followed.waits_for_person and not manners.wait:
            return followed, WAITING
        if manners.timeout and clock.now() - started > manners.timeout:
            return followed, UNPROVEN
    if followed and engine.running() is None:  # it ended under another's hands: to begin again was not asked for
        ended = engine.states.record.attempt or followed
        return ended, exit_code(ended)
    return None


def other_names(running: Attempt, names: Sequence[str]) -> str:
    """What is said to who names other routes than what is in flight moves; empty where he names none, or the same."""
    if not names or {*names} == {*running.names}:
        return ""
    return f"it goes on with the routes that were named when it began: {', '.join(running.names) or 'none'}"


def _stay(engine: Engine, manners: Manners, tell: Tell) -> tuple[Attempt, int]:
    started, failing, leaving = clock.now(), dict[type, float](), 0.0  # since when it fails, by how
    attempt = engine.states.record.attempt
    assert attempt is not None
    while True:
        after = 1.0
        try:
            tick = engine.tick(clock.now())
            attempt, after = tick.attempt or attempt, tick.after
            failing.clear()
            tell(attempt, tick.waiting_for and f"{tick.waiting_for} drives")
        except Exception as error:  # noqa: BLE001 - whatever it is, users must not be left unattended for it
            tell(attempt, f"holding: {_said(error)}")
            if clock.now() > patience(error, attempt, failing.setdefault(type(error), clock.now())):
                return _give_up(engine, manners, error, attempt, tell)
        waits = attempt.waits_for_person and not manners.wait
        done = waits or (attempt.phase.ended and attempt.cleaned)
        leaving = (leaving or clock.now()) if done else 0.0
        if done:
            if _told(engine, attempt, leaving):
                return attempt, WAITING if waits else exit_code(attempt)
        elif attempt.phase.ended:
            pass  # what is ours is still to be removed
        elif manners.timeout and clock.now() - started > manners.timeout:
            if not manners.hold_on_timeout:
                attempt = leave(engine, Reason.TIMED_OUT, tell, REST_WITHIN) or attempt
            return attempt, UNPROVEN
        clock.wait(min(after, LONGEST_WAIT))


def _told(engine: Engine, attempt: Attempt | None, leaving: float) -> bool:
    """Whether people were told all, or we do not wait for it any longer, having meant to leave since `leaving`."""
    if attempt is None or not attempt.notices:
        return True
    if clock.now() < leaving + TELL_WITHIN:
        return False
    with suppress(RolloutError):
        engine.leave(clock.now())
    return True


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, RolloutError) else f"a bug of ours: {type(error).__name__}: {error}"


def _give_up(engine: Engine, manners: Manners, error: Exception, attempt: Attempt, tell: Tell) -> tuple[Attempt, int]:
    """It does not work any more: nobody will judge, so take back what can be taken back, unless told to hold."""
    if attempt.phase.ended:
        say(f"{attempt.service} has ended, but our claim on its routes could not be removed: {_said(error)}")
        return attempt, exit_code(attempt)
    if manners.hold_on_interrupt is not True:
        attempt = leave(engine, Reason.INTERRUPTED, tell) or attempt
    say(f"giving up: {_said(error)}; nobody drives {engine.service} now")
    return attempt, UNREACHABLE if isinstance(error, RolloutError) else BUG


def patience(error: Exception, attempt: Attempt, failing: float) -> float:
    """Until when to go on in spite of an error that began at `failing`: what is away may come back before the
    deadline; a no may pass too (an API server that starts, a token that is renewed), but not for long.
    """
    if isinstance(error, (Unavailable, Conflict)):
        return max(attempt.deadline, failing) + PATIENCE
    return failing + PATIENCE


def take_back(engine: Engine, reason: Reason, text: str, tell: Tell) -> Attempt | None:
    """Take back, again and again until an answer comes, for at most LEAVE_WITHIN seconds."""
    until = clock.now() + LEAVE_WITHIN
    while True:
        try:
            return engine.take_back(reason, text, clock.now())
        except (Unavailable, Conflict) as error:
            if clock.now() > until:
                raise
            tell(None, f"not yet taken back: {error}")
            clock.wait(0.2)


def _hold(engine: Engine) -> Attempt | None:
    """Leave the weight where it is, and say what that means."""
    attempt = engine.states.record.attempt
    if attempt and not attempt.phase.ended:
        beside = "".join(f", {act}" for act in attempt.overlays)
        say(
            f"{attempt.canary} keeps its {attempt.weight} %{beside}, and nobody judges it now: the same "
            f"command goes on, `rollout abort {attempt.service}` takes back"
        )
    return attempt


def leave(engine: Engine, reason: Reason, tell: Tell, within: float = FINISH_WITHIN) -> Attempt | None:
    """The take-back first, then words. Where it fails nothing more is driven: a tick could go forward."""
    try:
        take_back(engine, reason, "asked to leave", tell)
    except RolloutError as error:
        say(f"could not take back: {error}; run `rollout abort {engine.service}`")
        return None
    attempt = finish(engine, tell, within)
    if attempt and not attempt.phase.ended:
        back = attempt.phase is Phase.ROLLING_BACK  # else it is in the routes, and who drives has not written it down
        stands = f"{attempt.weight} % are still with {attempt.canary}" if back else "taken back, but not yet cleaned up"
        say(f"{stands}; `rollout abort {engine.service}` goes on")
    return attempt


def say(text: str) -> None:
    """Tell people, though nobody read it."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)
