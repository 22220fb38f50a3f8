"""Services with ready pods that nobody runs, counters that nobody sends, and a controller that may die among them."""

import base64
import itertools
import json
import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from bench.controller.candidate import NAMESPACE, NETWORKING, Phase, Plan
from bench.controller.metrics import Metrics
from bench.controller.ours import Ours
from bench.controller.watching import Watching, canary_weight
from rollout.core.documents import Document, annotations_of, version_of
from tests.real.mesh import wait
from tests.real.servers import ApiServer, encoded

PLAN = Plan(steps=(5, 25, 100), bake=2.0)
_numbers = itertools.count()


class Moody(Metrics):
    """Answers as it feels."""

    mood = ""

    def __init__(self) -> None:
        super().__init__()
        self.moments: Counter[str] = Counter()
        """How often it was asked for the counters of a moment, by its mood then."""
        self.longest = 0
        """Characters of the names of instances in the longest of these answers."""

    def answer(self, path: str, asked: dict[str, str]) -> tuple[Any, list[str]]:
        """See the base."""
        while self.mood == "hangs":
            time.sleep(0.05)
        time.sleep(1.5 if self.mood == "slow" else 0.0)
        data, bad = super().answer(path, asked)
        rows = data.get("result", [])
        if self.mood == "empty":
            rows.clear()
        if self.mood == "twice":
            rows += rows
        if self.mood == "long":
            rows += [_long(row) for row in rows if {"instance", "outcome"} <= row["metric"].keys()]
        if " @ " in asked.get("query", ""):
            self.moments[self.mood] += 1
            self.longest = max(self.longest, sum(len(row["metric"].get("instance", "")) for row in rows))
        for sample in (one for row in rows for one in row.get("values") or [row["value"]]):
            sample[1] = {"NaN": "NaN", "negative": f"-{sample[1]}", "future": str(1e12)}.get(self.mood, sample[1])
        return data, bad


def _long(row: dict[str, Any]) -> dict[str, Any]:
    """The same of one more instance, whose name is a megabyte; of a moment a part of one, for many may be asked for."""
    return row | {"metric": row["metric"] | {"instance": "x" * (1_000_000 if "values" in row else 400_000)}}


class Fleet(Ours):
    """The controller of one namespace, by an administrator's rights; what the API shows of its services is seen."""

    name = "admin"

    def __init__(self, server: ApiServer, plan: Plan = PLAN) -> None:
        self.prometheus = Moody()
        super().__init__(server, self.prometheus.url, plan)
        self.weights = Watching(server, f"{NETWORKING}/virtualservices", _weight, self._weighs)
        self.records = Watching(server, self.objects, _record)
        self._port = ""

    def _weighs(self, service: str, seen: tuple[int, int]) -> None:
        self.prometheus.traffic.weighs(service, seen[1])

    def launch(self, count: int) -> list[str]:
        """So many new services, whose v1 serves."""
        services = [f"app{next(_numbers)}" for _ in range(count)]
        self.create(services)
        return services

    def close(self) -> None:
        """End all that we began."""
        self.kill()
        self.prometheus.mood = ""
        for one in (self.weights, self.records):
            one.close()
        self.prometheus.close()

    # --- its process -------------------------------------------------------------------------------------------

    def command(self, kubeconfig: Path) -> tuple[list[str], dict[str, str]]:
        """See the base."""
        command, environment = super().command(kubeconfig)
        self._port = command[-1]
        return command, environment

    def asked(self, verb: str, plural: str) -> float:
        """How often its process has asked the API so."""
        name = f'rollout_api_requests_total{{kind="{plural}",verb="{verb}"}} '
        lines = httpx.get(f"http://127.0.0.1:{self._port}/metrics", timeout=5.0).text.splitlines()
        return next((float(line.removeprefix(name)) for line in lines if line.startswith(name)), 0.0)

    def dies(self, times: int, moments: random.Random, longest: float) -> None:
        """Run it so often, until it is killed at a moment of its life."""
        for _ in range(times):
            self.start()
            time.sleep(moments.uniform(0.3, longest))
            self.kill()

    def delete(self, service: str) -> None:
        """Its ServiceRollout."""
        self.client.call("DELETE", f"{self.objects}/{service}")

    # --- what the API shows ------------------------------------------------------------------------------------

    def weight(self, service: str) -> int:
        """What its canary gets, as last seen."""
        found = self.weights.now(service)
        return 0 if found is None else int(found[1])

    def path(self, service: str) -> list[int]:
        """The weights that its canary had, one after the other."""
        return [weight for weight, _ in itertools.groupby(weight for _, (_, weight) in self.weights.seen[service])]

    def stood(self, service: str, weight: int) -> float:
        """Seconds for which its canary had a weight, the first time."""
        path = [(at, weight) for at, (_, weight) in self.weights.seen[service]]
        place = next(i for i, (_, one) in enumerate(path) if one == weight)
        return next(at for at, one in path[place:] if one != weight) - path[place][0]

    def all_at(self, weight: int, services: list[str], within: float = 60.0) -> None:
        """Wait until each of them has it."""
        wait(lambda: all(self.weight(one) == weight for one in services), within)

    def ended(self, services: list[str], how: Phase, within: float) -> None:
        """Wait until all have ended so, with nothing of ours left on them."""

        def over() -> bool:
            return all((self.records.now(one) or (0, 0, None, True))[2:] == (how, False) for one in services)

        try:
            wait(over, within)
        except AssertionError:
            log = (self.server.folder / f"{self.name}.log").read_text()[-4000:]
            raise AssertionError(
                f"{[(one, self.records.now(one), self.path(one)) for one in services]}\n{log}"
            ) from None
        for one in services:
            vs = self.server.call("GET", f"{NETWORKING}/virtualservices/{one}")
            assert not annotations_of(vs), f"{one} keeps our claim"
            assert canary_weight(vs) == (100 if how is Phase.PROMOTED else 0)

    def lawful(self, service: str) -> None:
        """No weight rose that a record before it did not say (I2), and none at all once it had fallen (I4)."""
        self.never_up_again(service)
        for (_, before), (version, weight) in itertools.pairwise(value for _, value in self.weights.seen[service]):
            if weight > before:
                said = [one for _, one in self.records.seen[service] if one[0] < version]
                assert said, service
                assert said[-1][1] == weight, f"{service} went to {weight} when its record said {said[-1]}"

    def never_up_again(self, service: str) -> None:
        """Once its weight had fallen (I4)."""
        path = self.path(service)
        top = path.index(max(path))
        assert path == sorted(path[:top]) + sorted(path[top:], reverse=True), service


class Noise:
    """Writes of somebody else's to the VirtualService of a service: PACE a second.

    They go to etcd, guarded as the API server guards its own: that alone would need the whole machine for so many.
    """

    PACE = 500.0

    def __init__(self, server: ApiServer, service: str) -> None:
        self._store, self._over = server.store(), threading.Event()
        self._key = encoded(f"/registry/networking.istio.io/virtualservices/{NAMESPACE}/{service}")
        self._writes = 0

    def __enter__(self) -> "Noise":
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30)
        self.rate = self._writes / (time.monotonic() - self._began)

    def _write(self) -> None:
        (found,) = self._store("range", {"key": self._key})["kvs"]
        while not self._over.is_set():
            time.sleep(max(0.0, self._began + self._writes / self.PACE - time.monotonic()))
            done = self._store("txn", self._change(found))
            if done.get("succeeded"):
                self._writes += 1
                found["mod_revision"] = done["header"]["revision"]
            else:
                (found,) = done["responses"][0]["response_range"]["kvs"]

    def _change(self, found: dict[str, str]) -> Document:
        """One more write, or else what stands there now."""
        document = json.loads(base64.b64decode(found["value"]))
        document["metadata"].setdefault("labels", {})["noise"] = str(self._writes)
        unchanged = {"key": self._key, "target": "MOD", "result": "EQUAL", "mod_revision": found["mod_revision"]}
        put = {"key": self._key, "value": encoded(json.dumps(document))}
        return {
            "compare": [unchanged],
            "success": [{"request_put": put}],
            "failure": [{"request_range": {"key": self._key}}],
        }


def _weight(document: Document) -> tuple[int, int]:
    return int(version_of(document)), canary_weight(document)


def _record(document: Document) -> tuple[int, float, Phase, bool]:
    """The version, the weight by the record, how it stands, and whether our finalizer stands on it."""
    status, metadata = document.get("status") or {}, document["metadata"]
    phases = {"Idle": Phase.IDLE, "Promoted": Phase.PROMOTED, "RolledBack": Phase.BACK}
    phase = phases.get(str(status.get("phase")), Phase.MOVING)
    return int(version_of(document)), float(status.get("weight", 0)), phase, bool(metadata.get("finalizers"))
