"""What was asked of the API server, by its audit log."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

POLICY = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]}
LEASES = "leases"


@dataclass(frozen=True)
class Asked:
    """The requests of one user: by verb and resource, and how many were refused, by status.

    `leases` are those for the lead, which are told apart because they do not grow with the services.
    """

    requests: dict[str, int]
    refused: dict[str, int]
    leases: int

    @property
    def total(self) -> int:
        """All but those for the lead."""
        return sum(self.requests.values())

    @property
    def reads(self) -> int:
        """Of them those that change nothing; a watch that is opened is one."""
        return sum(n for kind, n in self.requests.items() if kind.split()[0] in ("get", "list", "watch"))


class Audit:
    """The log of a server that was started with `options`."""

    def __init__(self, folder: Path) -> None:
        self._log, policy = folder / "audit.log", folder / "audit.json"
        policy.write_text(json.dumps(POLICY))
        self.options = (f"--audit-policy-file={policy}", f"--audit-log-path={self._log}", "--audit-log-maxsize=10000")

    def mark(self) -> int:
        """Where the log ends now."""
        return self._log.stat().st_size if self._log.exists() else 0

    def asked(self, user: str, since: int) -> Asked:
        """What a user asked since a mark. A request counts when it was answered, a watch when it began."""
        with self._log.open("rb") as log:
            log.seek(since)
            return counted(log.read().decode().splitlines(), user)


def counted(lines: list[str], user: str) -> Asked:
    """The requests of a user among the lines of a log; one that is not whole yet is left out."""
    requests: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    leases = 0
    for line in lines:
        if not line.endswith("}"):
            continue
        entry = json.loads(line)
        stage = "ResponseStarted" if entry["verb"] == "watch" else "ResponseComplete"
        if entry["user"]["username"] != user or entry["stage"] != stage:
            continue
        ref = entry.get("objectRef") or {}
        resource = "/".join(filter(None, (ref.get("resource") or entry["requestURI"], ref.get("subresource"))))
        if resource == LEASES:
            leases += 1
            continue
        requests[f"{entry['verb']} {resource}"] += 1
        code = int((entry.get("responseStatus") or {}).get("code", 0))
        if code >= 400:
            refused[str(code)] += 1
    return Asked(dict(requests.most_common()), dict(refused), leases)
