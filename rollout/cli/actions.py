"""`--output github`: annotations in the log of a job of GitHub Actions, its summary, and its outputs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollout.adapters import clock
from rollout.cli import report_markdown
from rollout.cli.console import Teller
from rollout.cli.reporting import reported
from rollout.core.attempt import Attempt
from rollout.core.errors import RolloutError
from rollout.core.lifecycle import Phase
from rollout.ports import Metrics


def command(level: str, title: str, text: str) -> str:
    """A workflow command that shows an annotation; `level` is notice, warning or error.

    >>> command("error", "a: b, c", "50 %" + chr(10) + "::x::")
    '::error title=a%3A b%2C c::50 %25%0A::x::'
    """
    return f"::{level} title={_data(title).replace(':', '%3A').replace(',', '%2C')}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def harmless(text: str) -> str:
    """Text in one line in which the runner sees no command, in neither of the two forms that it knows.

    It must not begin a line.

    >>> harmless("a" + chr(10) + "::error::b ##[error]c")
    'a ::error::b ## [error]c'
    """
    return " ".join(text.split()).replace("##[", "## [")


class Log(Teller):
    """Tells each change in a line as in a pipe, and what a person needs to see as an annotation, once."""

    def __init__(self) -> None:
        super().__init__(None, quiet=False)
        self._shown: set[str] = set()

    def annotate(self, level: str, title: str, text: str) -> None:
        """Show an annotation, unless it was shown."""
        said = command(level, title, text)
        if said not in self._shown:
            self._shown.add(said)
            print(said, flush=True)

    def _line(self, when: float, text: str) -> None:
        super()._line(when, harmless(text))

    def _tell(self, attempt: Attempt | None, notice: str) -> None:
        super()._tell(attempt, notice)
        if attempt is None:
            return
        if level := _level(attempt):
            self.annotate(level, titled(attempt), attempt.message)
        if notice.startswith("holding:"):
            self.annotate("warning", titled(attempt), notice)


def titled(a: Attempt) -> str:
    """What moves, and where it stands."""
    return f"{a.service} {a.stable} → {a.canary}: {a.phase}"


def _level(a: Attempt) -> str:
    """How much a person needs to see it; empty where nobody must."""
    if a.phase.ended:
        return "notice" if a.phase is Phase.PROMOTED else "error"
    stands = a.phase is Phase.ROLLING_BACK or a.waits_for_person or a.message.startswith("holding:")
    return "warning" if stands else ""


@contextmanager
def teller() -> Iterator[Log]:
    """A log in whose end an error is an annotation too."""
    log = Log()
    try:
        yield log
    except RolloutError as error:
        log.annotate("error", "rollout", str(error))
        raise


def close(log: Log, attempt: Attempt | None, code: int, metrics: Metrics | None) -> None:
    """Write the summary and the outputs. Whatever fails here is said, and changes nothing of how the rollout ended."""
    if attempt is None:
        return
    if not attempt.phase.ended:
        log.annotate("error", titled(attempt), f"left at {attempt.weight} % with exit code {code}: {attempt.message}")
    try:
        _append("GITHUB_OUTPUT", f"phase={attempt.phase}\nreason={attempt.reason or ''}\n")
        if os.environ.get("GITHUB_STEP_SUMMARY"):
            _append("GITHUB_STEP_SUMMARY", report_markdown.page(reported(attempt, metrics, clock.now())))
    except Exception as error:  # noqa: BLE001 - a rollout that ended well must not fail for its report
        log.annotate("warning", "rollout", f"the job's summary or outputs are not written: {error}")


def _append(variable: str, text: str) -> None:
    if path := os.environ.get(variable):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)
