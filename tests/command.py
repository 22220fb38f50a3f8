"""The command line as a shell sees it, in this process: to begin one more takes half a second."""

import sys
from collections.abc import Mapping
from unittest.mock import patch

from typer.testing import CliRunner

from rollout.cli.app import main


def ran(*arguments: str, environment: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """The exit code of `rollout` with these arguments, and what it says on stdout and stderr; stdin is empty."""
    code: object = 0
    with (
        CliRunner().isolation(env=environment) as (out, err, _),
        patch.object(sys, "argv", ["rollout", *arguments]),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        sys.stdout.flush()
        sys.stderr.flush()
        assert isinstance(code, int)
        return code, out.getvalue().decode(), err.getvalue().decode()
