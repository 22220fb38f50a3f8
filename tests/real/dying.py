"""A rollout process that kills itself when its N-th write has landed: `python -m tests.real.dying N VERB …`."""

import os
import signal
import sys
from typing import Any

from rollout.adapters import kubernetes
from rollout.cli.app import main


def mortal(limit: int) -> type[kubernetes.KubernetesCluster]:
    """The real adapter, and a real kill -9 between the landing of a write and whatever comes next."""

    class Mortal(kubernetes.KubernetesCluster):
        writes = 0

        def _send(self, method: str, path: str, *rest: Any) -> Any:
            result = super()._send(method, path, *rest)
            if method != "GET" and not path.endswith("selfsubjectaccessreviews"):
                self.writes += 1
                if self.writes == limit:
                    os.kill(os.getpid(), signal.SIGKILL)
            return result

    return Mortal


if __name__ == "__main__":
    kubernetes.KubernetesCluster = mortal(int(sys.argv.pop(1)))  # type: ignore[misc]
    main()
