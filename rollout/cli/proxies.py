"""Which weights do clients' proxies really have? A sample is asked, and held against the VirtualServices."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from rollout.cli.console import at
from rollout.core.documents import POD, VIRTUAL_SERVICE, Document, going, labels_of, name_of, namespace_of, ref
from rollout.core.errors import Forbidden, InvalidInput, Unreachable
from rollout.core.quantities import moment
from rollout.engine.lookup import everywhere, routing_to
from rollout.engine.survey import known_service, no_route
from rollout.mesh.delegates import delegating, is_delegate
from rollout.mesh.hosts import fqdn
from rollout.mesh.proxies import Held, Split, held, source_of, wanted
from rollout.ports import Cluster, Proxies

OBEY, OTHERS, UNREACHED = 0, 1, 3
"""Exit codes: all have the weights, one has others, or not all could be asked."""
HASH = "pod-template-hash"


@dataclass(frozen=True)
class Row:
    """What one proxy has for the service under one name; without `has`, why nothing can be said of it."""

    pod: str
    has: Held | None
    should: tuple[Split, ...] = ()
    trouble: str = ""

    @property
    def obeys(self) -> bool:
        """Whether it is what the VirtualServices say."""
        return self.has is not None and self.has.splits == self.should


@dataclass(frozen=True)
class Sample:
    """The proxies that were asked, of how many there are."""

    asked: int
    there: int
    rows: list[Row] = field(default_factory=list)

    @property
    def exit(self) -> int:
        """The exit code."""
        if any(row.has and not row.obeys for row in self.rows):
            return OTHERS
        return UNREACHED if any(row.trouble for row in self.rows) else OBEY


def sampled(
    cluster: Cluster, proxies: Proxies, service: str, namespace: str, clients: Sequence[str], most: int
) -> Sample:
    """Ask at most so many proxies in the clients' namespaces (none: those of the service and its VirtualServices).

    Raises `InvalidInput` where there is no proxy that knows the service, and `Forbidden`.
    """
    known_service(cluster, service, namespace)
    host = fqdn(service, namespace)
    every, whole = everywhere(cluster, VIRTUAL_SERVICE, namespace)
    found = routing_to(every, host)
    if not found:
        raise InvalidInput(no_route(service, namespace))
    roots = [root for vs in found for root, _ in delegating(vs, every)]
    if lone := next((vs for vs in found if is_delegate(vs) and not delegating(vs, every) and not whole), None):
        raise Forbidden(
            f"who delegates to {ref(VIRTUAL_SERVICE, lone)} is not seen, so nobody can say what proxies should have; "
            "grant list virtualservices in the whole cluster"
        )
    spaces = list(dict.fromkeys(clients or [namespace, *map(namespace_of, (*found, *roots))]))
    pods = [pod for space in spaces for pod in cluster.list(POD, space) if _answers(pod)]
    chosen = spread(pods)[:most]
    sample = Sample(len(chosen), len(pods))
    for pod in chosen:
        sample.rows.extend(_rows(proxies, pod, host, every))
    if not sample.rows:
        where = f"the namespace{'s' * (len(spaces) > 1)} {', '.join(spaces)}"
        which = (
            f"none of {len(chosen)} proxies that were asked in {where} knows" if pods else f"no proxy in {where} for"
        )
        raise InvalidInput(
            f"{which} {host}; name the namespaces of its clients: rollout proxy {service} --clients NAME"
        )
    return sample


def _answers(pod: Document) -> bool:
    running = (pod.get("status") or {}).get("phase", "Running") == "Running"
    return running and not going(pod) and source_of(pod) is not None


def spread(pods: Sequence[Document]) -> list[Document]:
    """The pods in the order in which they are asked: one of each workload, then another of each. No chance is in it."""
    seen: Counter[tuple[str, str]] = Counter()
    ranked = []
    for pod in sorted(pods, key=lambda pod: (namespace_of(pod), name_of(pod))):
        owners = pod["metadata"].get("ownerReferences") or [{"name": name_of(pod)}]
        workload = namespace_of(pod), str(owners[0]["name"]).removesuffix(f"-{labels_of(pod).get(HASH)}")
        ranked.append((seen[workload], pod))
        seen[workload] += 1
    return [pod for _, pod in sorted(ranked, key=lambda one: one[0])]


def _rows(proxies: Proxies, pod: Document, host: str, every: Sequence[Document]) -> Iterator[Row]:
    title, source = f"{namespace_of(pod)}/{name_of(pod)}", source_of(pod)
    assert source is not None
    try:
        tables = held(proxies.routes(pod), host)
    except Forbidden:
        raise
    except Unreachable as error:
        yield Row(title, None, trouble=str(error))
        return
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        yield Row(title, None, trouble=f"its config dump cannot be read ({type(error).__name__})")
        return
    for one in tables:
        yield Row(title, one, wanted(one.name, host, every, source))


def document(sample: Sample) -> dict[str, Any]:
    """The sample as data; parts are percent."""
    return {"asked": sample.asked, "there": sample.there, "proxies": [*map(_row, sample.rows)], "exit": sample.exit}


def _row(row: Row) -> dict[str, Any]:
    if row.has is None:
        return {"pod": row.pod, "trouble": row.trouble}
    return {
        "pod": row.pod, "host": row.has.name, "obeys": row.obeys, "has": [*map(_split, row.has.splits)],
        "should": [*map(_split, row.should)], "version": row.has.version, "since": row.has.since,
    }  # fmt: skip


def _split(split: Split) -> dict[str, Any]:
    shares, copies = ({to: round(float(100 * p), 4) for to, p in s.items()} for s in (split.shares, split.copies))
    return {"route": split.name, "shares": shares, "copies": copies}


def shown(sample: Sample) -> None:
    """The sample as a table, as wide as it needs to be in a pipe, and what follows from it."""
    table = Table(box=None, pad_edge=False)
    for title in ("POD", "HOST", "HAS", "OBEYS", "SINCE", "VERSION"):
        table.add_column(title)
    for row in sample.rows:
        if row.has is None:
            table.add_row(row.pod, "", row.trouble, "?", "", "")
            continue
        says = "yes" if row.obeys else f"no: {_words(row.should)}"
        since = at(moment(row.has.since), date=True) if row.has.since else ""
        table.add_row(
            row.pod, row.has.name, _words(row.should if row.obeys else row.has.splits), says, since, row.has.version
        )
    Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 1000).print(table)
    print(*told(sample), sep="\n")


def _words(splits: Sequence[Split]) -> str:
    return "; ".join(f"{one.name}: {one}" if one.name and len(splits) > 1 else str(one) for one in splits) or "nothing"


def told(sample: Sample) -> Iterator[str]:
    """What the sample comes to."""
    others = len({row.pod for row in sample.rows if row.has and not row.obeys})
    mute = len({row.pod for row in sample.rows if row.trouble})
    yield f"asked {sample.asked} of {sample.there} proxies, of each workload one before a second"
    if others:
        yield (
            f"{others} of them {'has' if others == 1 else 'have'} not what the VirtualServices say: a new weight takes "
            "seconds to arrive; where it stays so, istiod is down, or out of their reach"
        )
    if mute:
        yield f"{mute} did not answer"
