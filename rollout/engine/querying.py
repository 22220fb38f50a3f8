"""The strategy's queries: asked as often as a look is due, with their answers kept in between."""

from rollout.core.attempt import Attempt
from rollout.core.errors import InvalidInput, Unreachable
from rollout.core.lifecycle import Phase
from rollout.core.query import Effect, Measured, Query, measured, unanswered
from rollout.ports import Metrics

ASKED_IN = (Phase.SHIFTING, Phase.WAITING, Phase.PAUSED, Phase.CONFIRMING)


class Queries:
    """Answers of one attempt. What is kept here saves questions, and remembers a breach until it was acted upon."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._of: tuple[str, bool] = ("", False)
        self._answers: dict[str, Measured] = {}

    def examine(self, attempt: Attempt, now: float) -> tuple[Measured, ...]:
        """What each query answers before anything has started.

        Raises `InvalidInput` with the query's name where that can mean nothing, and `Unavailable`.
        """
        return tuple(self._examined(query, attempt, now) for query in attempt.strategy.queries)

    def measured(self, attempt: Attempt, now: float, interval: float) -> tuple[tuple[Measured, ...], str]:
        """What each query answered last, and why the store is silent, if it is; counters are read each `interval`.

        One that breached and takes the traffic back is not asked again: a breach seen is never forgotten.
        """
        if attempt.phase not in ASKED_IN:
            return attempt.measured, ""
        of = attempt.id, attempt.exposed
        if of != self._of:  # what it said while the canary had nothing says nothing of the canary
            self._of, self._answers = of, {}
        silence, every = "", max(attempt.strategy.look, interval)
        for query in attempt.strategy.queries:
            known = self._answers.get(query.name)
            if known and (known.effect is Effect.ROLLBACK or 0 <= now - known.at < every):
                continue
            try:
                self._answers[query.name] = self._asked(query, attempt, now)
            except Unreachable as error:
                silence = str(error)
                break  # the others would wait for it in vain, and the engine with them
        return tuple(self._answers.values()), silence

    def _examined(self, query: Query, attempt: Attempt, now: float) -> Measured:
        try:
            return self._ask(query, attempt, now)
        except InvalidInput as error:
            raise InvalidInput(f"the check `query` {query.name!r}: {error}") from error

    def _asked(self, query: Query, attempt: Attempt, now: float) -> Measured:
        try:
            return self._ask(query, attempt, now)
        except InvalidInput as error:
            return unanswered(query, error, now)

    def _ask(self, query: Query, attempt: Attempt, now: float) -> Measured:
        stable, canary = attempt.counted
        promql = query.filled(canary=canary, stable=stable, service=attempt.service, namespace=attempt.namespace)
        return measured(query, self._metrics.values(promql, *query.window(now)), now)
