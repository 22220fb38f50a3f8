"""The strategy's queries and webhooks: asked as often as a look is due, with their answers kept in between."""

from rollout.core.attempt import Attempt
from rollout.core.errors import InvalidInput, Unreachable
from rollout.core.lifecycle import Phase
from rollout.core.query import Effect, Hook, Measured, Query, heard, measured, unanswered, unheard
from rollout.engine.asking import Asker, question
from rollout.ports import Metrics

ASKED_IN = (Phase.SHIFTING, Phase.WAITING, Phase.PAUSED, Phase.CONFIRMING)
SILENT = 30.0
"""Seconds without an answer after which a webhook counts as one that cannot be asked."""


def examined(metrics: Metrics, attempt: Attempt, now: float) -> tuple[Measured, ...]:
    """What each query answers before anything has started; a webhook is not asked before there is anything to ask.

    Raises `InvalidInput` with the query's name where that can mean nothing, and `Unavailable`.
    """
    return tuple(_examined(metrics, one, attempt, now) for one in attempt.strategy.queries if isinstance(one, Query))


def _examined(metrics: Metrics, query: Query, attempt: Attempt, now: float) -> Measured:
    try:
        return _ask(metrics, query, attempt, now)
    except InvalidInput as error:
        raise InvalidInput(f"the check `query` {query.name!r}: {error}") from error


def _ask(metrics: Metrics, query: Query, attempt: Attempt, now: float) -> Measured:
    stable, canary = attempt.counted
    promql = query.filled(canary=canary, stable=stable, service=attempt.service, namespace=attempt.namespace)
    return measured(query, metrics.values(promql, *query.window(now)), now)


class Queries:
    """Answers of one attempt. What is kept here saves questions, and remembers a breach until it was acted upon."""

    def __init__(self, metrics: Metrics, asker: Asker) -> None:
        self._metrics, self._asker = metrics, asker
        self._of: tuple[str, bool] = ("", False)
        self._answers: dict[str, Measured] = {}
        self._begun: dict[str, tuple[float, dict[str, str]]] = {}
        """Questions to webhooks that wait for their answers, and since when."""
        self._times: dict[str, int] = {}
        """How often each webhook was asked."""

    def measured(self, attempt: Attempt, now: float, interval: float) -> tuple[tuple[Measured, ...], str]:
        """What each answered last, and why the store is silent, if it is; counters are read each `interval`.

        One that breached and takes the traffic back is not asked again: a breach seen is never forgotten. Nobody waits
        for a webhook.
        """
        if attempt.phase not in ASKED_IN:
            return attempt.measured, ""
        of = attempt.id, attempt.exposed
        if of != self._of:  # what it said while the canary had nothing says nothing of the canary
            self._of, self._answers, self._begun = of, {}, {}
        silence, every = "", max(attempt.strategy.look, interval)
        for one in attempt.strategy.queries:
            known = self._answers.get(one.name)
            if known and (known.effect is Effect.ROLLBACK or 0 <= now - known.at < every):
                continue
            if isinstance(one, Hook):
                self._answers[one.name] = self._heard(one, attempt, now) or known or unheard(one)
            elif not silence:  # else it would wait for the store in vain, and the engine with it
                try:
                    self._answers[one.name] = self._asked(one, attempt, now)
                except Unreachable as error:
                    silence = str(error)
        known_now = (self._answers.get(one.name) for one in attempt.strategy.queries)
        return tuple(one for one in known_now if one), silence

    def _asked(self, query: Query, attempt: Attempt, now: float) -> Measured:
        try:
            return _ask(self._metrics, query, attempt, now)
        except InvalidInput as error:
            return unanswered(query, error, now)

    def _heard(self, hook: Hook, attempt: Attempt, now: float) -> Measured | None:
        """The answer of a webhook to a question that it is asked now, or was; None while there is none."""
        times = self._times.get(hook.name, 0)
        began, asked = self._begun.setdefault(hook.name, (now, question(attempt, times) | {"check": hook.name}))
        said = self._asker.answer(hook.url, asked)
        if said is None and now - began < SILENT:
            return None
        del self._begun[hook.name]
        self._times[hook.name] = times + 1
        if said is None or isinstance(said, str):
            return unanswered(hook, said or "it does not answer", began)
        return heard(hook, said.yes, said.why, said.value, began)
