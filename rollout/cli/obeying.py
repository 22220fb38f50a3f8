"""Have a ServiceRollout obeyed: follow what the controller does to its end, or, where none lives, drive from here."""

from contextlib import nullcontext, suppress

from rollout.adapters import clock
from rollout.cli.declaring import Leaderless, Order
from rollout.cli.driving import (
    FINISH_WITHIN,
    LEAVE_WITHIN,
    LONGEST_WAIT,
    PATIENCE,
    REST_WITHIN,
    UNPROVEN,
    UNREACHABLE,
    WAITING,
    Choose,
    Interrupted,
    Manners,
    Tell,
    as_asked,
    exit_code,
    interruptible,
    leave,
    other_names,
    patience,
    promote,
    say,
)
from rollout.core.attempt import Attempt
from rollout.core.errors import Conflict, InvalidInput, RolloutError, Unreachable
from rollout.core.lifecycle import Reason
from rollout.engine.lease import DURATION
from rollout.engine.survey import Request

Ended = tuple[Attempt | None, int]
"""How it ended, and the exit code."""


def demand(order: Order, local: bool) -> None:
    """Raise `InvalidInput` unless the object may be changed, and `Leaderless` unless one lives that obeys it.

    To drive it from here (`local`) none may live: one would drive it too, so that is `InvalidInput`.
    """
    order.check()
    with suppress(Leaderless) if local else nullcontext():
        leader = order.leader(clock.now())
        if local:
            raise InvalidInput(f"the controller {leader} lives, and drives {order.engine.service}; leave --local out")


def obey(order: Order, manners: Manners, tell: Tell, choose: Choose = as_asked) -> Ended:
    """Have the controller do it, and stay until it has ended.

    Whatever can be found out beforehand is found out before the object is written, and that a controller lives to obey
    it. To take back is to abort what it has begun, or else to have the object say what it said before.
    """
    asked = False
    with interruptible(order.engine):
        try:
            demand(order, local=False)
            running = order.engine.running()
            request = order.examined(clock.now())
            if running is not None and (kept := other_names(running, order.wish.names)):
                tell(running, kept)
            if running is None and not order.begun:
                choose(request)
            asked = True
            order.write()
            if running is not None and order.begun:
                with suppress(Conflict):  # who asks to go on means the pause that is there now, not those to come
                    order.engine.resume(clock.now())
            return _follow(order, manners, tell)
        except Interrupted as interrupted:
            if not asked:
                return None, interrupted.code
            if manners.holds(interrupted.code):
                return _left(order), interrupted.code
            return _back(order, Reason.INTERRUPTED, tell), interrupted.code


def by_hand(order: Order, request: Request, manners: Manners, tell: Tell, choose: Choose = as_asked) -> Ended:
    """Drive from here as without an object, whose status keeps the record. Raises what `demand` does."""
    demand(order, local=True)

    def begin(request: Request, now: float) -> None:
        order.write()  # first, or a controller that comes back would have it undone
        try:
            order.engine.begin(request, now)
        except BaseException:
            with suppress(RolloutError):
                order.withdraw()
            raise

    return promote(order.engine, request, manners, tell, choose, begin)


def _follow(order: Order, manners: Manners, tell: Tell) -> Ended:
    started, failing = clock.now(), dict[type, float]()  # since when, by what is wrong
    attempt: Attempt | None = None
    while True:
        now, error = clock.now(), None
        try:
            attempt = order.look(attempt, now)
            notice = f"the controller {order.leader(now)} " + ("drives" if attempt else "is to begin")
        except RolloutError as raised:
            if attempt is None and isinstance(raised, InvalidInput) and order.withdraw():
                raise
            error, notice = raised, f"holding: {raised}"
        tell(attempt, notice)
        if attempt and attempt.phase.ended and attempt.cleaned:
            return attempt, exit_code(attempt)
        if attempt and attempt.waits_for_person and not manners.wait:
            return attempt, WAITING
        if error or not (attempt or order.busy):
            since = failing.setdefault(type(error), now)
            if now > (patience(error, attempt, since) if error and attempt else since + PATIENCE):
                return _give_up(order, manners, error, attempt, tell)
        else:
            failing.clear()
        if manners.timeout and now - started > manners.timeout and not (attempt and attempt.phase.ended):
            if not manners.hold_on_timeout:
                attempt = _back(order, Reason.TIMED_OUT, tell, REST_WITHIN) or attempt
            return attempt, UNPROVEN
        clock.wait(LONGEST_WAIT)


def _give_up(order: Order, manners: Manners, error: RolloutError | None, attempt: Attempt | None, tell: Tell) -> Ended:
    """Nobody does it: what can be taken back is, unless we are told to hold; or we cannot see any more who does."""
    if attempt is None:
        with suppress(RolloutError):
            order.withdraw()
        raise error or Unreachable(
            f"within {PATIENCE:g} s the controller {order.leader(clock.now())} did not begin: does it look after this "
            "namespace, and objects with these labels? Its log says more"
            + ("; the object says again what it said before" if order.wrote else "")
        )
    if attempt.phase.ended:
        say(f"{attempt.service} has ended, but was not cleaned up: {error}")
        return attempt, exit_code(attempt)
    if isinstance(error, Leaderless) and manners.hold_on_interrupt is not True:
        attempt = _back(order, Reason.INTERRUPTED, tell, DURATION + LEAVE_WITHIN) or attempt
    say(f"giving up: {error}; what a controller has begun, one that lives goes on with")
    return attempt, UNREACHABLE


def _back(order: Order, reason: Reason, tell: Tell, within: float = FINISH_WITHIN) -> Attempt | None:
    """Nothing of it is to happen, or to stand."""
    try:
        if order.withdraw():
            if not order.wrote:
                say(f"what asks for {order.wish.version} is not from here: a controller may still begin it")
            return None
    except RolloutError as error:
        say(f"not withdrawn: {error}")
    return leave(order.engine, reason, tell, within)


def _left(order: Order) -> Attempt | None:
    """Leave it to the controller, and say what that means."""
    attempt, service = order.engine.states.record.attempt, order.engine.service
    if attempt is None or not attempt.phase.ended:
        say(f"the controller goes on: the same command follows it again, `rollout abort {service}` takes back")
    return attempt
