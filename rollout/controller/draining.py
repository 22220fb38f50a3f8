"""Before a controller is removed: nothing begins any more, what is in flight goes back, and what is left is told."""

import logging
import threading
from contextlib import suppress

from rollout.adapters import clock
from rollout.controller.controller import Controller
from rollout.core.documents import SERVICE_ROLLOUT, Document, ref
from rollout.core.errors import NotFound, Unreachable
from rollout.engine.status import marked
from rollout.ports import Cluster

log = logging.getLogger("rollout")

LOOK_EVERY = 0.5
"""Seconds between two looks at what is left; they cost no request."""
AGAIN = (
    "Their traffic stands where it is. Make the stable version ready, or see what else is said of each, and "
    "uninstall again; until then a controller goes on taking back. `rollout abort SERVICE -n NAMESPACE` does so "
    "without one. Without hooks (`helm uninstall --no-hooks`) they are left as they are"
)


def drain(controller: Controller, cluster: Cluster, seconds: float, over: threading.Event) -> list[str]:
    """Take the lead, and back whatever is in flight; returns what is left after so many seconds, or when it is `over`.

    Where nothing is left nobody else may lead for some time yet, in which the other replicas are to go.
    """
    with suppress(Unreachable):  # whoever does not answer may yet
        try:
            _left(controller, cluster)
        except NotFound:
            log.info("this cluster does not know ServiceRollouts: nothing is in flight")
            return []
    end = clock.now() + seconds
    controller.start()
    left = _waited(controller, cluster, end, over)
    controller.stop(keep=not left)
    return left


def _waited(controller: Controller, cluster: Cluster, end: float, over: threading.Event) -> list[str]:
    told: list[str] = []
    left = ["nobody was asked yet"]
    while clock.now() < end and left:
        try:
            left = _seen(controller, cluster)
        except Unreachable as error:
            left = [str(error)]
        if left != told:
            told = left
            log.info("draining: %s", "; ".join(left) or "nothing is in flight any more")
        if left and over.wait(LOOK_EVERY):
            break
    return left


def _seen(controller: Controller, cluster: Cluster) -> list[str]:
    """What is to be waited for; the last word is the API's."""
    if unlisted := controller.unlisted:
        health = controller.reflectors.health()
        told = (health[scope].trouble for scope in unlisted if scope in health and health[scope].trouble)
        return [f"not all is known yet: {next(told, 'no answer')}"]
    if found := _left(controller, controller.view):
        return found
    leads = controller.leader.sure(clock.now())
    return _left(controller, cluster) if leads else ["whoever led may not have seen yet that we do"]


def _left(controller: Controller, cluster: Cluster) -> list[str]:
    """Which objects are in flight, and how each of them stands."""
    settings = controller.settings
    every = [one for space in settings.spaces for one in cluster.list(SERVICE_ROLLOUT, space, settings.labels)]
    return [standing(one) for one in every if marked(one)]


def standing(document: Document) -> str:
    """An object and how it stands, for a person.

    >>> status = {"phase": "RollingBack", "canary": "v2", "weight": 5.0, "message": "waits"}
    >>> standing({"metadata": {"name": "reviews", "namespace": "shop"}, "status": status})
    'ServiceRollout shop/reviews: RollingBack, 5 % to v2: waits'
    """
    status = document.get("status") or {}
    where = f"{status.get('weight', 0):g} % to {status.get('canary', 'the new version')}"
    return f"{ref(SERVICE_ROLLOUT, document)}: {status.get('phase', 'unknown')}, {where}: {status.get('message', '')}"
