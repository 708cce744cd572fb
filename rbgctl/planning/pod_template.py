"""From a role's own pod template to the one its instances are made from (03 §14).

Steps in order: typed rendering, discovery mount, common environment, that of leaders and workers, labels. What the
steps add is in rendered form itself. What is not listed for a role changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rbgctl.api import names
from rbgctl.machinery.gvk import RawObject
from rbgctl.planning.env_injection import EnvVar, common_env, merge_env
from rbgctl.planning.typed_encoding import rendered_pod_template


@dataclass(frozen=True, slots=True)
class TemplateContext:
    """Whose pods they are.

    stateful: instances have ordinals. labels: put over the template's own. env: variables of this component's
    containers besides the common ones.
    """

    group: str
    role: str
    stateful: bool
    labels: Mapping[str, str]
    env: Sequence[EnvVar] = ()


def instance_pod_template(template: RawObject, context: TemplateContext) -> RawObject:
    """The finished template of one component, as it stands in a RoleInstanceSet (RBG-141). `template` is not changed.

    Raises TypedEncodingError (a ValueError naming the path) for a value of the wrong type.
    """
    made = rendered_pod_template(template, f"role {context.role}: template")
    spec = made["spec"]
    if context.stateful:
        mount_discovery_config(spec, context.group)
    common = common_env(context.group, context.role, stateful=context.stateful)
    for container in spec.get("containers") or ():
        variables = merge_env(container.get("env") or (), common)
        container["env"] = merge_env(variables, context.env) if context.env else variables
    meta = made["metadata"]
    meta["labels"] = {**(meta.get("labels") or {}), **context.labels}
    return made


def mount_discovery_config(spec: dict[str, Any], group: str) -> None:
    """Mount the group's discovery ConfigMap into every regular container (RBG-75).

    A volume of that name, and a mount of that name at that path, are left as they are.
    """
    volumes = spec.get("volumes") or []
    if not any(v.get("name") == names.CONFIG_VOLUME for v in volumes):
        source = {"name": names.config_map_name(group), "items": [_item()]}
        spec["volumes"] = [*volumes, {"name": names.CONFIG_VOLUME, "configMap": source}]
    for container in spec.get("containers") or ():
        mounts = container.get("volumeMounts") or []
        wanted = (names.CONFIG_VOLUME, names.CONFIG_MOUNT_PATH)
        if not any((m.get("name"), m.get("mountPath")) == wanted for m in mounts):
            mount = {"name": names.CONFIG_VOLUME, "mountPath": names.CONFIG_MOUNT_PATH, "readOnly": True}
            container["volumeMounts"] = [*mounts, mount]


def _item() -> dict[str, str]:
    return {"key": names.CONFIG_MAP_KEY, "path": names.CONFIG_MAP_KEY}
