"""The judge's data contract: what becomes evidence and what does not."""

from rollout.judge.looks import ALL, FAILED, Arm, Series, Snapshot, difference, pairwise_looks


def counters(instance: str, **values: float) -> dict[Series, float]:
    return {Series(instance, *key.split("_")): value for key, value in values.items()}


def test_increments_are_per_version() -> None:
    before = Snapshot(0, counters("a", v1_all=10, v1_failed=1))
    after = Snapshot(5, counters("a", v1_all=30, v1_failed=2, v2_all=5, v2_failed=5))
    look = difference(before, after, "v1", "v2")
    assert (look.stable, look.canary) == (Arm(20, 1), Arm(5, 5))


def test_a_restarted_instance_is_skipped_whole() -> None:
    before = Snapshot(0, counters("a", v1_all=10, v2_all=9))
    after = Snapshot(5, counters("a", v1_all=30, v2_all=1))
    look = difference(before, after, "v1", "v2")
    assert look.skipped == ("a",)
    assert look.canary == Arm()


def test_a_new_instance_skips_its_first_sample() -> None:
    look = difference(Snapshot(0), Snapshot(5, counters("b", v1_all=1000)), "v1", "v2")
    assert look.skipped == ("b",)


def test_where_each_pod_counts_its_own_version_stable_is_compared_all_the_same() -> None:
    before = Snapshot(0, counters("old", v1_all=10) | counters("new", v2_all=1))
    after = Snapshot(5, counters("old", v1_all=105) | counters("new", v2_all=6))
    (look,) = pairwise_looks([before, after], "v1", "v2", apart=True)
    assert (look.stable, look.canary) == (Arm(95), Arm(5))


def test_requests_without_a_host_are_unattributed() -> None:
    before = Snapshot(0, {Series("a", "v1", ALL): 1.0})
    after = Snapshot(5, {Series("a", "v1", ALL): 1.0, Series("a", "", ALL): 7.0, Series("a", "", FAILED): 7.0})
    assert difference(before, after, "v1", "v2").unattributed == Arm(7, 7)


def test_not_a_number_is_no_evidence() -> None:
    before = Snapshot(0, counters("a", v1_all=10))
    after = Snapshot(5, counters("a", v1_all=float("nan")))
    assert difference(before, after, "v1", "v2").increments == ()
