"""What the playground shows: the group's roles and pods, from the informer cache, redrawn when something changes."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rbgctl.api import labels
from rbgctl.api.kinds import ROLE_BASED_GROUP
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.cache import Cache
from rbgctl.runtime.store import Entry, Tombstone

POD = GVK("", "v1", "Pod")


@dataclass(frozen=True, slots=True)
class RoleLine:
    """One role: wanted, ready and updated replicas, and what it waits for."""

    name: str
    replicas: int
    ready: int
    updated: int
    dependencies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PodLine:
    """One pod: name, role, phase, readiness, node and restarts."""

    name: str
    role: str
    phase: str
    ready: bool
    node: str
    restarts: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything on the screen."""

    group: str
    ready: bool
    message: str
    roles: tuple[RoleLine, ...]
    pods: tuple[PodLine, ...]


def snapshot(group: RawObject, pods: Sequence[RawObject]) -> Snapshot:
    """What to show of a group and its pods. Pure."""
    status = group.get("status") or {}
    by_role = {s["name"]: s for s in status.get("roleStatuses") or ()}
    ready: RawObject = next((c for c in status.get("conditions") or () if c["type"] == "Ready"), {})
    current = status.get("observedGeneration") == group["metadata"]["generation"]
    return Snapshot(
        group=group["metadata"]["name"],
        ready=ready.get("status") == "True" and current,
        message=ready.get("message") or "",
        roles=tuple(
            RoleLine(
                name=role["name"],
                replicas=role.get("replicas", 1),
                ready=by_role.get(role["name"], {}).get("readyReplicas", 0),
                updated=by_role.get(role["name"], {}).get("updatedReplicas", 0),
                dependencies=tuple(role.get("dependencies") or ()),
            )
            for role in group["spec"]["roles"]
        ),
        pods=tuple(sorted((_pod_line(p) for p in pods), key=lambda p: (p.role, p.name))),
    )


def _pod_line(pod: RawObject) -> PodLine:
    meta, status = pod["metadata"], pod.get("status") or {}
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
    containers = status.get("containerStatuses") or ()
    waiting = next((c["state"]["waiting"]["reason"] for c in containers if "waiting" in c.get("state", {})), "")
    phase = "Terminating" if meta.get("deletionTimestamp") else waiting or status.get("phase", "Pending")
    return PodLine(
        name=meta["name"],
        role=(meta.get("labels") or {}).get(labels.ROLE_NAME, ""),
        phase=phase,
        ready=conditions.get("Ready") == "True",
        node=pod["spec"].get("nodeName", ""),
        restarts=sum(c.get("restartCount", 0) for c in containers),
    )


def render(shown: Snapshot | None) -> RenderableType:
    """The snapshot as tables."""
    if shown is None:
        return Text("waiting for the group …", style="dim")
    roles = Table(title=f"RoleBasedGroup {shown.group}", title_justify="left", box=None, pad_edge=False)
    for column in ("ROLE", "READY", "UPDATED", "WAITS FOR"):
        roles.add_column(column)
    for role in shown.roles:
        done = role.ready == role.replicas
        style = "green" if done else "yellow"
        roles.add_row(
            role.name,
            Text(f"{role.ready}/{role.replicas}", style=style),
            str(role.updated),
            ", ".join(role.dependencies) or "-",
        )
    pods = Table(box=None, pad_edge=False)
    for column in ("POD", "STATUS", "READY", "NODE", "RESTARTS"):
        pods.add_column(column)
    for pod in shown.pods:
        style = "green" if pod.ready else "yellow"
        pods.add_row(
            pod.name, pod.phase, Text("yes" if pod.ready else "no", style=style), pod.node or "-", str(pod.restarts)
        )
    state = Text("Ready", style="bold green") if shown.ready else Text(shown.message or "starting", style="yellow")
    return Group(roles, Text(), pods, Text(), state)


def changes(before: Snapshot | None, after: Snapshot) -> list[str]:
    """What happened in between, a line each, for output that is not a terminal."""
    lines = []
    old_roles = {r.name: r for r in before.roles} if before else {}
    old_pods = {p.name: p for p in before.pods} if before else {}
    for role in after.roles:
        known = old_roles.get(role.name)
        if known is None or (known.ready, known.replicas) != (role.ready, role.replicas):
            lines.append(f"role {role.name}: {role.ready}/{role.replicas} ready")
    for pod in after.pods:
        if old_pods.get(pod.name) != pod:
            lines.append(f"pod {pod.name}: {pod.phase}{', ready' if pod.ready else ''}")
    lines += [f"pod {name}: gone" for name in old_pods.keys() - {p.name for p in after.pods}]
    if after.ready and not (before and before.ready):
        lines.append(f"group {after.group}: Ready")
    return lines


class LiveView:
    """Follows one group. `run()` redraws until cancelled; `ready` is set when the group is Ready first."""

    def __init__(self, cache: Cache, namespace: str, name: str, console: Console) -> None:
        self._cache = cache
        self._key = NN(namespace, name)
        self._console = console
        self._changed = asyncio.Event()
        self.ready = asyncio.Event()
        for gvk in (ROLE_BASED_GROUP, POD):
            cache.declare(gvk).add_handler(self)

    def on_add(self, entry: Entry, *, initial: bool) -> None:
        self._changed.set()

    def on_update(self, old: Entry, new: Entry) -> None:
        self._changed.set()

    def on_delete(self, last: Entry | Tombstone) -> None:
        self._changed.set()

    def look(self) -> Snapshot | None:
        """The current state; None while the group does not exist."""
        group = self._cache.entry(ROLE_BASED_GROUP, self._key)
        if group is None:
            return None
        mine = [
            e.decode()
            for e in self._cache.entries(POD, namespace=self._key.namespace)
            if e.header.label(labels.GROUP_NAME) == self._key.name
        ]
        return snapshot(group.decode(), mine)

    async def run(self) -> None:
        shown: Snapshot | None = None
        live = Live(render(None), console=self._console, auto_refresh=False) if self._console.is_terminal else None
        if live is not None:
            live.start()
        try:
            while True:
                self._changed.clear()
                latest = self.look()
                if live is not None:
                    live.update(render(latest), refresh=True)
                elif latest is not None:
                    for line in changes(shown, latest):
                        self._console.print(line, highlight=False)
                shown = latest
                if latest is not None and latest.ready and not self.ready.is_set():
                    self.ready.set()
                    return
                await self._changed.wait()
        finally:
            if live is not None:
                live.stop()
