"""What one pass over a group looks at. Reads only; no decisions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rbgctl.api import annotations, conditions, labels, names
from rbgctl.api.kinds import ROLE_BASED_GROUP, ROLE_INSTANCE_SET
from rbgctl.api.model import DecodeError
from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup, RoleSpec
from rbgctl.api.v1alpha2.workload_type import ROLE_INSTANCE_SET as RUN_BY_ROLE_INSTANCE_SET
from rbgctl.api.v1alpha2.workload_type import workload_type
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.planning.discovery_config import DiscoveredRole
from rbgctl.planning.revisions import CONTROLLER_REVISION
from rbgctl.runtime.cache import Decoded
from rbgctl.runtime.controller import Context
from rbgctl.runtime.errors import NotFound
from rbgctl.runtime.store import Entry, Header

SERVICE = GVK("", "v1", "Service")
CONFIG_MAP = GVK("", "v1", "ConfigMap")


BY_GROUP = "group/name"

WORKLOAD_KINDS: Mapping[str, GVK] = {RUN_BY_ROLE_INSTANCE_SET: ROLE_INSTANCE_SET}
"""Kinds that run roles, by workload type (RBG-8)."""


def by_group(header: Header) -> Iterable[str]:
    """Index function: `<namespace>/<name of the group>`, from the label."""
    name = header.label(labels.GROUP_NAME)
    return (f"{header.namespace}/{name}",) if name else ()


def ready_message(status: Mapping[str, Any]) -> str:
    """The message of a group's Ready condition, empty when there is none."""
    found = [c for c in status.get("conditions") or () if c["type"] == conditions.GROUP_READY]
    return str(found[0].get("message") or "") if found else ""


@dataclass(frozen=True, slots=True)
class AppliedConfig:
    """The discovery ConfigMap that this process applied last.

    owner: uid of the group; roles: what it says; resource_version: the one it got.
    """

    owner: str
    roles: tuple[DiscoveredRole, ...]
    resource_version: str


@dataclass(frozen=True, slots=True)
class Observed:
    """A snapshot of everything about one group.

    workloads: by workload type, then by name; services: by name. Only those with the group's label.
    config_map_version: resourceVersion of the ConfigMap with the group's name, empty when there is none;
    config_map_owned: this group controls it. strangers: names of this group's workloads that workloads without its
    label have. applied_config: what we applied last, None after a restart.
    legacy_config_map: one of the roles has a ConfigMap of its own, as old releases made them (only looked for while
    the discovery mode is undecided). malformed: why the spec cannot be read; `group` then has an empty one.
    """

    raw: RawObject
    group: RoleBasedGroup
    revisions: tuple[RawObject, ...]
    workloads: Mapping[str, Mapping[str, RawObject]]
    services: Mapping[str, RawObject]
    config_map_version: str
    config_map_owned: bool
    applied_config: AppliedConfig | None
    strangers: frozenset[str] = frozenset()
    legacy_config_map: bool = False
    malformed: str = ""

    @property
    def told(self) -> str:
        """What the Ready condition says so far."""
        return ready_message(self.raw.get("status") or {})

    def workload(self, role: RoleSpec) -> RawObject | None:
        """The live workload that runs the role, None when there is none or its kind is not one of ours."""
        kind = workload_type(role.annotations).text
        return self.workloads.get(kind, {}).get(names.workload_name(self.group.metadata.name, role.name))


@dataclass(frozen=True, slots=True)
class Readable:
    """A group as read, and as decoded as far as it can be; see `Observed.malformed`."""

    raw: RawObject
    group: RoleBasedGroup
    malformed: str = ""

    @classmethod
    def of(cls, raw: RawObject) -> "Readable":
        """Raises DecodeError when even the metadata or the status is not of the right shape."""
        try:
            return cls(raw, RoleBasedGroup.decode(raw))
        except DecodeError as error:
            without_spec = RoleBasedGroup.decode({k: v for k, v in raw.items() if k != "spec"})
            return cls(raw, without_spec, "; ".join(error.problems))


@dataclass(slots=True)
class Memory:
    """What outlives a pass: groups decoded once per version, and the discovery ConfigMap last applied for each."""

    groups: Decoded[Readable] = field(default_factory=lambda: Decoded(Readable.of))
    applied: dict[NN, AppliedConfig] = field(default_factory=dict)
    limit: int = 10_000

    def remember(self, key: NN, applied: AppliedConfig) -> None:
        """At most `limit` are kept; one that is forgotten is applied once more (RBG-46)."""
        if key not in self.applied and len(self.applied) >= self.limit:
            del self.applied[next(iter(self.applied))]
        self.applied[key] = applied

    def forget(self, key: NN) -> None:
        """The group is gone, or another process works on it."""
        self.applied.pop(key, None)
        self.groups.forget(key)


async def observe(ctx: Context, memory: Memory) -> Observed | None:
    """None when the group is gone or going: garbage collection does the rest (RBG-26 a and b)."""
    entry = ctx.cache.entry(ROLE_BASED_GROUP, ctx.key)
    if entry is None or entry.header.deletion:
        memory.forget(ctx.key)
        return None
    read = memory.groups.get(entry)

    def found(gvk: GVK) -> list[RawObject]:
        return [e.decode() for e in ctx.cache.entries(gvk, index=(BY_GROUP, str(ctx.key)))]

    config_map = ctx.cache.entry(CONFIG_MAP, NN(ctx.key.namespace, names.config_map_name(ctx.key.name)))
    return Observed(
        raw=read.raw,
        group=read.group,
        malformed=read.malformed,
        revisions=tuple(found(CONTROLLER_REVISION)),
        workloads={kind: {w["metadata"]["name"]: w for w in found(gvk)} for kind, gvk in WORKLOAD_KINDS.items()},
        services={s["metadata"]["name"]: s for s in found(SERVICE)},
        config_map_version=config_map.header.rv if config_map is not None else "",
        config_map_owned=config_map is not None and _controller_uid(config_map) == entry.header.uid,
        applied_config=memory.applied.get(ctx.key),
        strangers=frozenset(_strangers(ctx, read.group)),
        legacy_config_map=await _legacy_config_map(ctx, read.group),
    )


def _strangers(ctx: Context, group: RoleBasedGroup) -> Iterable[str]:
    for role in group.roles:
        kind = WORKLOAD_KINDS.get(workload_type(role.annotations).text)
        name = names.workload_name(group.metadata.name, role.name)
        entry = ctx.cache.entry(kind, NN(ctx.key.namespace, name)) if kind is not None else None
        if entry is not None and entry.header.label(labels.GROUP_NAME) != group.metadata.name:
            yield name


def _controller_uid(entry: Entry) -> str:
    controller = entry.header.controller
    return controller.uid if controller is not None else ""


async def _legacy_config_map(ctx: Context, group: RoleBasedGroup) -> bool:
    """Live, and only for a group that looks new and has no valid mode (RBG-44)."""
    mode = group.metadata.annotation(annotations.DISCOVERY_CONFIG_MODE)
    if mode in {annotations.DISCOVERY_LEGACY, annotations.DISCOVERY_REFINE} or group.status.observed_generation:
        return False
    for role in group.roles:
        name = names.workload_name(group.metadata.name, role.name)
        if ctx.cache.entry(CONFIG_MAP, NN(ctx.key.namespace, name)) is None:
            continue
        try:
            await ctx.live.get(CONFIG_MAP, NN(ctx.key.namespace, name))
        except NotFound:
            continue
        return True
    return False
