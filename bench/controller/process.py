"""What a process has used, by /proc."""

import os
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """Seconds of CPU since the process began, and MiB that it holds now and has held at most."""

    cpu: float
    rss: float
    peak: float


def usage(pid: int) -> Usage:
    """Of a process that runs."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    user, system = int(stat[11]), int(stat[12])
    return Usage((user + system) / _TICK, _mib(status["VmRSS"]), _mib(status["VmHWM"]))


def _mib(text: str) -> float:
    return int(text.split(maxsplit=1)[0]) / 1024
