"""A real API server with etcd, Istio's CRDs and ours, and a real Prometheus, on loopback."""

import base64
import http.client
import json
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from rollout.adapters.crd import definition
from rollout.playground.stage import free_ports
from rollout.ports import Metrics, Target
from tests.real import parts

ADMIN = "admin-token"


def encoded(text: str) -> str:
    """As etcd's JSON has keys and values."""
    return base64.b64encode(text.encode()).decode()


def groups_of(user: str) -> list[str]:
    """The groups in which an API server has whoever shows a token of this user, or of this service account."""
    everybody = "system:authenticated"
    if not user.startswith("system:serviceaccount:"):
        return [everybody]
    return ["system:serviceaccounts", f"system:serviceaccounts:{user.split(':')[2]}", everybody]


class ApiServer:
    """etcd and kube-apiserver with RBAC; tokens of users are fixed at the start, and so are its further options."""

    def __init__(
        self, folder: Path, people: Sequence[str] = ("reader", "pipeline", "person"), options: Sequence[str] = ()
    ) -> None:
        self.folder, self._options = folder, options
        self._etcd_port, self._peer_port, self.port = free_ports(3)
        (folder / "sa.key").write_bytes(signing_key())
        users = [(ADMIN, "admin", "system:masters"), *((f"{n}-token", n, "people") for n in people)]
        (folder / "tokens.csv").write_text("".join(f'{t},{n},{n},"{g}"\n' for t, n, g in users))
        self._etcd = self._run(
            parts.etcd(), "--data-dir", str(folder / "etcd"), "--unsafe-no-fsync", "--log-level", "error",
            "--listen-client-urls", self._etcd_url, "--advertise-client-urls", self._etcd_url,
            "--listen-peer-urls", f"http://127.0.0.1:{self._peer_port}",
        )  # fmt: skip
        self.start()
        self._crds()

    @property
    def _etcd_url(self) -> str:
        return f"http://127.0.0.1:{self._etcd_port}"

    def start(self) -> None:
        key = str(self.folder / "sa.key")
        self._api = self._run(
            parts.kube_apiserver(), f"--etcd-servers={self._etcd_url}", "--bind-address=127.0.0.1",
            f"--secure-port={self.port}", f"--cert-dir={self.folder / 'certs'}",
            "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}", "--authorization-mode=RBAC",
            f"--token-auth-file={self.folder / 'tokens.csv'}", "--service-cluster-ip-range=10.0.0.0/16",
            "--disable-admission-plugins=ServiceAccount", *self._options,
        )  # fmt: skip
        until = time.monotonic() + 90
        while True:
            try:
                self.call("GET", "/readyz", raw=True)
                return
            except (urllib.error.URLError, ConnectionError, ssl.SSLError):
                if time.monotonic() > until or self._api.poll() is not None:
                    raise
                time.sleep(0.2)

    @property
    def pid(self) -> int:
        """Of kube-apiserver."""
        return self._api.pid

    def stop(self) -> None:
        """Gone at once: a polite one would wait for those who watch."""
        self._api.kill()
        self._api.wait(30)

    def compact(self) -> None:
        """Let etcd forget all that was before now, some writes after the last that anybody watches."""
        store, nobody = self.store(), encoded("nobody")
        for _ in range(9):
            store("put", {"key": nobody, "value": nobody})
        now = store("range", {"key": nobody})["header"]["revision"]
        store("compaction", {"revision": now, "physical": True})

    def store(self) -> Callable[[str, Any], Any]:
        """Asks etcd itself, by a connection that stays open; keys and values are `encoded`. For one thread."""
        connection = http.client.HTTPConnection("127.0.0.1", self._etcd_port, timeout=10)

        def ask(what: str, body: Any) -> Any:
            connection.request("POST", f"/v3/kv/{what}", json.dumps(body))
            return json.load(connection.getresponse())

        return ask

    def down(self) -> None:
        self.stop()
        self._etcd.kill()
        self._etcd.wait(30)

    def call(
        self, method: str, path: str, body: Any = None, raw: bool = False, accept: str = "*/*", kind: str = ""
    ) -> Any:
        """Talk to the server as its administrator, past the code under test."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}{path}", data, method=method)
        request.add_header("Authorization", f"Bearer {ADMIN}")
        request.add_header("Accept", accept)
        usual = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request.add_header("Content-Type", kind or usual)
        with urllib.request.urlopen(request, timeout=10, context=_blind()) as answer:
            text = answer.read()
        return text if raw else json.loads(text)

    def stream(self, path: str) -> Iterator[bytes]:
        """The lines of a watch, for as long as the server lives."""
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}{path}")
        request.add_header("Authorization", f"Bearer {ADMIN}")
        with urllib.request.urlopen(request, context=_blind()) as answer:
            yield from answer

    def grant(self, user: str, rules: list[Any]) -> None:
        """Give a user these rights, and no others."""
        group = "rbac.authorization.k8s.io"
        self.call("POST", f"/apis/{group}/v1/clusterroles", {"metadata": {"name": user}, "rules": rules})
        binding = {
            "metadata": {"name": user},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": user},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        }
        self.call("POST", f"/apis/{group}/v1/clusterrolebindings", binding)

    def token(self, account: str, namespace: str) -> str:
        """A token of a service account, as its pods get one."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        return str(self.call("POST", path, {"spec": {}})["status"]["token"])

    def kubeconfig(self, user: str = "admin", namespace: str = "bookinfo", token: str = "") -> Path:
        """A kubeconfig file for a user, or whoever has the token."""
        authority = str(self.folder / "certs" / "apiserver.crt")
        cluster = {"server": f"https://127.0.0.1:{self.port}", "certificate-authority": authority}
        context = {"cluster": "real", "user": user, "namespace": namespace}
        document = {
            "apiVersion": "v1", "kind": "Config", "current-context": "real",
            "clusters": [{"name": "real", "cluster": cluster}],
            "contexts": [{"name": "real", "context": context}],
            "users": [{"name": user, "user": {"token": token or f"{user}-token"}}],
        }  # fmt: skip
        path = self.folder / f"{user}.kubeconfig"
        new = path.with_suffix(f".{threading.get_ident()}")
        new.write_text(yaml.safe_dump(document))
        return new.replace(path)  # at once: a process that was given it before may be reading it

    def _crds(self) -> None:
        wanted = [*(d for d in yaml.safe_load_all(parts.istio_crds()) if d), definition()]
        for crd in wanted:
            self.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
        for path in ("networking.istio.io/v1/virtualservices", "networking.istio.io/v1/destinationrules"):
            self._until_served(path)
        self._until_served("rollout.dev/v1alpha1/servicerollouts")

    def _until_served(self, path: str) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                self.call("GET", f"/apis/{path}")
                return
            except urllib.error.HTTPError:
                time.sleep(0.3)
        raise TimeoutError(f"{path} is not served")

    def _run(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{Path(command[0]).name}.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)


class Prometheus:
    """A real Prometheus that scrapes each `interval` seconds."""

    def __init__(
        self, folder: Path, targets: list[str], path: str = "/metrics", relabel: Any = None, interval: float = 1.0
    ) -> None:
        (folder / "prometheus.yml").write_text(scraping(targets, path, relabel, interval))
        self._folder, self._port = folder, free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        with (self._folder / "prometheus.log").open("ab") as log:
            self._process = subprocess.Popen(
                [parts.prometheus(), f"--config.file={self._folder / 'prometheus.yml'}",
                 f"--storage.tsdb.path={self._folder / 'data'}", f"--web.listen-address=127.0.0.1:{self._port}"],
                stdout=log, stderr=log,
            )  # fmt: skip
        until = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/-/ready", timeout=2).close()
                return
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)


def scraping(targets: list[str], path: str, relabel: Any, interval: float) -> str:
    """The configuration of a Prometheus."""
    job = {
        "job_name": "envoy", "metrics_path": path, "static_configs": [{"targets": targets}],
        "metric_relabel_configs": relabel or [],
    }  # fmt: skip
    return yaml.safe_dump({"global": {"scrape_interval": f"{interval:g}s"}, "scrape_configs": [job]})


def scraped(metrics: Metrics, target: Target) -> None:
    """Wait for the first scrapes: a Prometheus that starts takes some seconds to find its targets."""
    until = time.monotonic() + 30
    while metrics.horizon(target) is None:
        assert time.monotonic() < until
        time.sleep(0.3)
    time.sleep(4)


def signing_key() -> bytes:
    """A fresh private key for the server's tokens, as PEM."""
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def _blind() -> ssl.SSLContext:
    """The test server signs its own certificate, on loopback."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
