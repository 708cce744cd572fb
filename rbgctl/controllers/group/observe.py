"""What one pass over a group looks at. Reads only; no decisions."""

from collections.abc import Mapping
from dataclasses import dataclass

from rbgctl.api import annotations, labels, names
from rbgctl.api.kinds import ROLE_BASED_GROUP, ROLE_INSTANCE_SET
from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.machinery.selectors import LabelSelector
from rbgctl.runtime.controller import Context
from rbgctl.runtime.errors import NotFound
from rbgctl.runtime.store import Entry

SERVICE = GVK("", "v1", "Service")
CONFIG_MAP = GVK("", "v1", "ConfigMap")
CONTROLLER_REVISION = GVK("apps", "v1", "ControllerRevision")


@dataclass(frozen=True, slots=True)
class AppliedConfig:
    """The discovery ConfigMap that this process applied last: its body, and the resourceVersion it got."""

    body: RawObject
    resource_version: str


@dataclass(frozen=True, slots=True)
class Observed:
    """A snapshot of everything about one group.

    workloads, services: by name; only those with the group's label. config_map_version: resourceVersion of the
    ConfigMap with the group's name, empty when there is none; config_map_owned: this group controls it.
    applied_config: what we applied last, None after a restart. legacy_config_map: one of the roles has a ConfigMap of
    its own, as old releases made them (only looked for while the discovery mode is undecided).
    """

    raw: RawObject
    group: RoleBasedGroup
    revisions: tuple[RawObject, ...]
    workloads: Mapping[str, RawObject]
    services: Mapping[str, RawObject]
    config_map_version: str
    config_map_owned: bool
    applied_config: AppliedConfig | None
    legacy_config_map: bool = False


async def observe(ctx: Context, applied: AppliedConfig | None) -> Observed | None:
    """None when the group is gone or going: garbage collection does the rest (RBG-26 a and b)."""
    entry = ctx.cache.entry(ROLE_BASED_GROUP, ctx.key)
    if entry is None or entry.header.deletion:
        return None
    raw = entry.decode()
    group = RoleBasedGroup.decode(raw)
    mine = LabelSelector.labels({labels.GROUP_NAME: ctx.key.name})
    namespace = ctx.key.namespace

    def found(gvk: GVK) -> list[RawObject]:
        return [e.decode() for e in ctx.cache.entries(gvk, namespace=namespace, labels=mine)]

    config_map = ctx.cache.entry(CONFIG_MAP, NN(namespace, names.config_map_name(ctx.key.name)))
    return Observed(
        raw=raw,
        group=group,
        revisions=tuple(found(CONTROLLER_REVISION)),
        workloads={w["metadata"]["name"]: w for w in found(ROLE_INSTANCE_SET)},
        services={s["metadata"]["name"]: s for s in found(SERVICE)},
        config_map_version=config_map.header.rv if config_map is not None else "",
        config_map_owned=config_map is not None and _controller_uid(config_map) == entry.header.uid,
        applied_config=applied,
        legacy_config_map=await _legacy_config_map(ctx, group),
    )


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
