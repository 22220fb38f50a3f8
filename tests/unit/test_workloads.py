"""Numbers of Deployments and autoscalers: put with what they were, and given back or left, case by case."""

from typing import Any

import pytest

from rollout.core.documents import AUTOSCALER, DEPLOYMENT, Document, Kind
from rollout.mesh.workloads import (
    NUMBERS,
    Workload,
    annotation,
    behind,
    giving_patch,
    holding,
    in_words,
    number,
    putting_patch,
    waking,
)

KEY = annotation("reviews", "shop")


def made(
    kind: Kind, value: int | None, note: str = "", most: int = 4, name: str = "reviews-v2", **spec: Any
) -> Document:
    metadata: Document = {"name": name, "namespace": "shop"} | ({"annotations": {KEY: note}} if note else {})
    if kind is AUTOSCALER:
        spec |= {"maxReplicas": most, "scaleTargetRef": {"kind": "Deployment", "name": name}}
    numbers = {} if value is None else {NUMBERS[kind.name]: value}
    return {"kind": kind.name, "metadata": metadata, "spec": {**numbers, **spec}}


def note(was: int, put: int, attempt: str = "a") -> str:
    return f'{{"attempt":"{attempt}","was":{was},"put":{put}}}'


@pytest.mark.parametrize(
    ("value", "before", "wanted", "after"),
    [
        (1, "", 3, (3, note(1, 3))),
        (None, "", 3, (3, note(1, 3))),
        (3, "", 3, None),
        (5, "", 3, None),
        (2, note(1, 2), 3, (3, note(1, 3))),  # the next step: what was is what was at first
        (1, note(0, 2), 3, None),  # somebody set 1 since: theirs
        (2, note(1, 2, "old"), 3, (3, note(1, 3))),  # what an older attempt left behind is taken over
        (1, note(0, 2, "old"), 3, (3, note(1, 3))),
        (1, "{", 3, (3, note(1, 3))),
    ],
)
def test_a_number_is_put_with_what_it_was(
    value: int | None, before: str, wanted: int, after: tuple[int, str] | None
) -> None:
    for kind in (DEPLOYMENT, AUTOSCALER):
        patch = putting_patch(made(kind, value, before), KEY, "a", wanted)
        if after is None:
            assert patch == {}
        else:
            spec = {NUMBERS[kind.name]: after[0]}
            assert patch == {"metadata": {"annotations": {KEY: after[1]}}, "spec": spec}


@pytest.mark.parametrize(
    ("value", "before", "back", "autoscaled", "after"),
    [
        (3, "", True, False, None),
        (3, note(1, 3), True, False, 1),
        (3, note(1, 3), False, False, "kept"),
        (2, note(1, 3), True, False, "kept"),  # somebody set 2 since
        (2, note(0, 3), True, True, 0),  # its autoscaler made 2 of the 3 with which we woke it
        (0, note(0, 3), True, True, "kept"),
        (2, note(1, 3), True, True, "kept"),  # one that was awake has a number of its autoscaler's
        (2, note(0, 3), False, True, "kept"),
        (3, "{", True, False, "kept"),
    ],
)
def test_a_number_is_given_back_or_left(
    value: int, before: str, back: bool, autoscaled: bool, after: int | str | None
) -> None:
    patch = giving_patch(made(DEPLOYMENT, value, before), KEY, back, autoscaled)
    assert patch.get("spec") == (None if after in (None, "kept") else {"replicas": after})
    assert (patch == {}) == (after is None)
    if patch:
        assert patch["metadata"] == {"annotations": {KEY: None}}


@pytest.mark.parametrize(
    ("replicas", "scaler", "words", "trouble"),
    [
        (1, None, ["replicas of Deployment shop/reviews-v2 goes from 1 to 4"], ""),
        (4, None, [], ""),
        (1, (1, 6), ["minReplicas of HorizontalPodAutoscaler shop/reviews-v2 goes from 1 to 4"], ""),
        (
            0, (1, 6),
            ["minReplicas of HorizontalPodAutoscaler shop/reviews-v2 goes from 1 to 4",
             "replicas of Deployment shop/reviews-v2 goes from 0 to 4"], "",
        ),
        (0, (4, 6), ["replicas of Deployment shop/reviews-v2 goes from 0 to 4"], ""),
        (
            3, (1, 3), ["minReplicas of HorizontalPodAutoscaler shop/reviews-v2 goes from 1 to 3"],
            "HorizontalPodAutoscaler shop/reviews-v2 allows at most 3 replicas",
        ),
    ],
)  # fmt: skip
def test_what_is_written_so_that_four_come(
    replicas: int, scaler: tuple[int, int] | None, words: list[str], trouble: str
) -> None:
    hpa = made(AUTOSCALER, scaler[0], most=scaler[1]) if scaler else None
    writes, told = waking(Workload(made(DEPLOYMENT, replicas), hpa), KEY, "a", 4)
    assert ([in_words(*write) for write in writes], told) == (words, trouble)


def test_what_somebody_set_since_is_said() -> None:
    deployment = made(DEPLOYMENT, 1, note(0, 2))
    writes, told = waking(Workload(deployment), KEY, "a", 4)
    assert (writes, told) == ([], "somebody set replicas of Deployment shop/reviews-v2 to 1 since, and it is left so")


@pytest.mark.parametrize(("scaler", "held"), [(None, []), ((1, 6), [4]), ((1, 3), [3]), ((5, 6), [])])
def test_an_autoscaler_is_held_and_a_deployment_needs_no_hold(scaler: tuple[int, int] | None, held: list[int]) -> None:
    hpa = made(AUTOSCALER, scaler[0], most=scaler[1]) if scaler else None
    writes = holding(Workload(made(DEPLOYMENT, 4), hpa), KEY, "a", 4)
    assert [patch["spec"]["minReplicas"] for _, patch in writes] == held


def test_a_workload_is_known_by_the_labels_of_its_pods() -> None:
    def deployment(name: str, **labels: str) -> Document:
        return made(DEPLOYMENT, 1, name=name, template={"metadata": {"labels": labels}})

    ours, other = deployment("ours", app="reviews", version="v2", more="yes"), deployment("b", app="b", version="v2")
    scalers = [made(AUTOSCALER, 1, name="ours"), made(AUTOSCALER, 1, name="b")]
    stateful = made(AUTOSCALER, 1, name="ours")
    stateful["spec"]["scaleTargetRef"]["kind"] = "StatefulSet"
    wanted = {"app": "reviews", "version": "v2"}
    assert behind([ours, other, made(DEPLOYMENT, 1)], scalers, wanted) == [Workload(ours, scalers[0])]
    assert behind([ours, other], [stateful], wanted) == [Workload(ours)]
    assert number(scalers[0]) == 1
