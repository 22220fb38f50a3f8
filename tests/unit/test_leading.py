"""Who leads where somebody takes the lead in order to drain: never two who are sure of it, and afterwards nobody."""

from rollout.controller.leading import DRAINED, Leader
from rollout.engine.lease import DURATION, RENEW_EVERY
from tests.fakes.memory import MemoryCluster


def leader(cluster: MemoryCluster, name: str, drains: bool = False) -> Leader:
    return Leader(cluster, "rollout-system", name, drains=drains)


def test_whoever_had_the_lead_is_not_sure_of_it_when_the_next_is() -> None:
    cluster = MemoryCluster()
    old, new = leader(cluster, "old"), leader(cluster, "new", drains=True)
    assert old.renew(100.0)
    assert new.renew(100.0), "it is written down at once"
    for tenths in range(1000, 1200):  # the old one cannot reach the API, and so does not see it
        now = tenths / 10
        assert new.renew(now)
        assert not (old.sure(now) and new.sure(now))
    assert new.sure(100.0 + DURATION)
    assert not old.renew(120.0)
    assert (old.other, new.fence) == ("new", 2)


def test_where_nobody_leads_it_need_not_wait() -> None:
    cluster = MemoryCluster()
    old, new = leader(cluster, "old"), leader(cluster, "new", drains=True)
    assert old.renew(100.0)
    old.release(101.0)
    assert new.renew(101.0)
    assert new.sure(101.0)


def test_it_leaves_the_lead_to_nobody_for_a_while_or_to_whoever_comes() -> None:
    cluster = MemoryCluster()
    new, others = leader(cluster, "new", drains=True), [leader(cluster, name) for name in ("a", "b")]
    assert new.renew(100.0)
    assert not others[0].renew(101.0)
    assert not others[0].renew(101.0 + DRAINED - RENEW_EVERY)
    assert others[0].renew(101.0 + DRAINED)
    assert new.renew(170.0)
    new.release(171.0)
    assert others[1].renew(171.0)
