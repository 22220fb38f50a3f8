"""Subsets of DestinationRules: which one clients see, and how one of ours is added or removed. Pure."""

import itertools
from collections.abc import Sequence

from rollout.core.documents import (
    DESTINATION_RULE,
    MANAGED_BY,
    Document,
    annotations_of,
    carries,
    copied,
    name_of,
    namespace_of,
    ref,
)
from rollout.core.errors import InvalidInput
from rollout.mesh.hosts import covers, exported, resolved

ADDED = "rollout.dev/added-subsets"
LABEL = "version"


def subsets_of(rule: Document) -> list[Document]:
    """The rule's subsets."""
    return list((rule.get("spec") or {}).get("subsets") or [])


def host_of(rule: Document) -> str:
    """The rule's host, fully qualified."""
    return resolved(str((rule.get("spec") or {}).get("host", "")), namespace_of(rule))


def seen_from(rules: Sequence[Document], host: str, client: str, service: str, root: str) -> list[Document]:
    """The rules for `host` that clients in a namespace obey: theirs, else the service's, else the root's.

    The first level that has a match wins whole; inside it an exact host wins over the longest wildcard (Istio's
    destination_rule.go). Rules with a workloadSelector hold for some clients only and are left out.
    """
    for namespace in dict.fromkeys((client, service, root)):
        level = [
            rule
            for rule in rules
            if namespace_of(rule) == namespace
            and covers(host_of(rule), host)
            and exported(namespace, (rule.get("spec") or {}).get("exportTo"), client)
            and not (rule.get("spec") or {}).get("workloadSelector")
        ]
        if level:
            best = max(level, key=lambda rule: (host_of(rule) == host, len(host_of(rule))))
            return [rule for rule in level if host_of(rule) == host_of(best)]
    return []


def find(rules: Sequence[Document], subset: str) -> Document | None:
    """The subset of this name; the first definition counts."""
    return next((s for rule in rules for s in subsets_of(rule) if s.get("name") == subset), None)


def labels_for(rules: Sequence[Document], subset: str) -> dict[str, str]:
    """The pods' labels that a subset selects by; of one that is still to be added, its version label."""
    found = find(rules, subset)
    return dict(found.get("labels") or {}) if found else {LABEL: subset}


def added(rule: Document) -> list[str]:
    """The subsets of this rule that we added."""
    return [name for name in annotations_of(rule).get(ADDED, "").split(",") if name]


def adding_patch(rule: Document, names: Sequence[str], like: str) -> Document:
    """The merge patch that adds subsets by the pods' version label, and marks them ours.

    A new subset has the traffic policy of the subset `like`, where there is one: both are to be reached in one way.
    """
    policy = {k: copied(v) for k, v in (find([rule], like) or {}).items() if k == "trafficPolicy"}
    extra = [{"name": name, "labels": {LABEL: name}, **policy} for name in names]
    return {
        "metadata": {"annotations": {ADDED: ",".join(dict.fromkeys([*added(rule), *names]))}},
        "spec": {"subsets": [*subsets_of(rule), *extra]},
    }


def removing_patch(rule: Document, names: Sequence[str]) -> Document:
    """The merge patch that removes subsets of ours; those that users wrote stay."""
    mine = [name for name in names if name in added(rule)]
    left = [name for name in added(rule) if name not in mine]
    return {
        "metadata": {"annotations": {ADDED: ",".join(left) or None}},
        "spec": {"subsets": [s for s in subsets_of(rule) if s.get("name") not in mine]},
    }


def new_rule(
    service: str, namespace: str, names: Sequence[str], hidden: Sequence[Document], rules: Sequence[Document]
) -> Document:
    """A DestinationRule of ours for a service that has none; `rules` are all of the namespace, whose names are taken.

    Raises `InvalidInput` if it would hide rules (a wildcard's, the root namespace's) that clients obey today.
    """
    if hidden:
        raise InvalidInput(
            f"a DestinationRule for {service} would hide {ref(DESTINATION_RULE, hidden[0])} and its policies; "
            f"write one yourself that repeats them, with the subsets {', '.join(names)}"
        )
    taken = {name_of(rule) for rule in rules if namespace_of(rule) == namespace}
    names_in_turn = itertools.chain([service], (f"{service}-subsets-{i}" for i in itertools.count(1)))
    free = next(name for name in names_in_turn if name not in taken)
    return {
        "apiVersion": DESTINATION_RULE.api_version(),
        "kind": DESTINATION_RULE.name,
        "metadata": {
            "name": free,
            "namespace": namespace,
            "labels": dict(MANAGED_BY),
            "annotations": {ADDED: ",".join(names)},
        },
        "spec": {"host": service, "subsets": [{"name": n, "labels": {LABEL: n}} for n in names]},
    }


def is_ours(rule: Document) -> bool:
    """Whether we made the whole rule."""
    return carries(rule, MANAGED_BY) and {str(s.get("name")) for s in subsets_of(rule)} <= set(added(rule))


def owner(rules: Sequence[Document], host: str, namespace: str) -> Document | None:
    """The rule that a subset of `host` is added to: the first for exactly this host in the service's namespace."""
    exact = [rule for rule in rules if namespace_of(rule) == namespace and host_of(rule) == host]
    return min(exact, key=name_of, default=None)
