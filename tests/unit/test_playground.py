"""What the playground makes of the counters that its Envoy exposes."""

import pytest

from rollout.playground.proxy import counted

SERVICE = "reviews.shop.svc.cluster.local"
OF = f'destination_service="{SERVICE}"'
LABELS = f'reporter="source",source_workload="gateway",{OF}'


def exposed(code: str, flags: str = "-", version: str = "v1") -> str:
    labels = f'{LABELS},destination_version="{version}",response_code="{code}",response_flags="{flags}"'
    name = "envoy_istio_request_duration_milliseconds"
    lines = ["# TYPE envoy_istio_requests_total counter", f"envoy_istio_requests_total{{{labels}}} 8"]
    lines += [f"# TYPE {name} histogram"]
    lines += [f'{name}_bucket{{{labels},le="{le}"}} {n}' for le, n in (("0.5", 3), ("2500", 7), ("+Inf", 8))]
    lines += [f"{name}_sum{{{labels}}} 99", f"{name}_count{{{labels}}} 8", ""]
    return "\n".join(lines)


def outcomes(text: str) -> dict[str, float]:
    rows = counted(text)
    assert {row[:3] for row in rows} <= {("source", "gateway", SERVICE)}
    return {row[4]: row[5] for row in rows}


@pytest.mark.parametrize(("code", "flags"), [("200", "-"), ("304", "-")])
def test_answers_are_timed(code: str, flags: str) -> None:
    assert outcomes(exposed(code, flags)) == {"all": 8, "<=0.5": 3, "<=2500": 7, "<=inf": 8}


@pytest.mark.parametrize(
    ("code", "flags", "kind"),
    [
        ("404", "-", "rejected"),
        ("429", "RL", "rejected"),
        ("500", "-", "failed"),
        ("0", "UC", "failed"),
        ("404", "NR", "failed"),
        ("200", "UPE,UT", "failed"),
    ],
)
def test_a_request_is_failed_or_rejected_and_then_not_timed(code: str, flags: str, kind: str) -> None:
    assert outcomes(exposed(code, flags)) == {"all": 8, kind: 8}


def test_other_ends_are_requests_only() -> None:
    assert outcomes(exposed("101")) == {"all": 8}
    assert outcomes(exposed("200", version="-")) == {"all": 8}
    assert outcomes(exposed("404", "FI")) == {}


def test_a_pods_own_proxy_counts_as_that_pod() -> None:
    inbound = exposed("503", "UF").replace(LABELS, f'reporter="destination",destination_workload="reviews-v1",{OF}')
    who = ("destination", "reviews-v1", SERVICE, "v1")
    assert counted(inbound + exposed("200")) == sorted(
        [
            (*who, "all", 8),
            (*who, "failed", 8),
            *(("source", "gateway", SERVICE, "v1", name, n) for name, n in outcomes(exposed("200")).items()),
        ]
    )
