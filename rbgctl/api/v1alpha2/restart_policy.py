"""What happens to an instance when one of its pods restarts: stored shapes and how they resolve (§11 of the API).

Two sibling fields say it, on leader-worker and custom-component patterns and on RoleInstances:
`restartPolicy`, a string, deprecated; and `restartPolicyConfig`, with back-off delays. Two pre-releases
stored the object under the name of the string, so the decoder takes either shape there (RP-3).
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from rbgctl.api.identity import RESTART_BASE_DELAY_SECONDS, RESTART_MAX_DELAY_SECONDS
from rbgctl.api.model import Int32, Model, Rule, Schema

NONE: Final = "None"
RECREATE_INSTANCE: Final = "RecreateRoleInstanceOnPodRestart"
RETIRED_RECREATE_GROUP: Final = "RecreateRBGOnPodRestart"
"""A value of old releases, read as RECREATE_INSTANCE. OLD-11"""
VALUES: Final = (NONE, RECREATE_INSTANCE)


class RestartPolicyConfig(Model):
    """Restart policy with the delays between successive recreations of one instance."""

    # Rules are judged after defaulting, so both fields are always there. Asking with has() first is too expensive for
    # every role of a list without a limit, by the reckoning of Kubernetes 1.28: it refuses the whole CRD.
    crd_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.maxDelaySeconds >= self.baseDelaySeconds",
            "maxDelaySeconds must be greater than or equal to baseDelaySeconds",
        ),
    )

    base_delay_seconds: Annotated[Int32 | None, Schema(default=RESTART_BASE_DELAY_SECONDS, minimum=0)] = None
    """Seconds before the first recreation; doubled with each further one. (GRP-51)"""
    max_delay_seconds: Annotated[Int32 | None, Schema(default=RESTART_MAX_DELAY_SECONDS, minimum=0)] = None
    """Upper bound of the delay in seconds. 0 in both fields turns the back-off off. (GRP-52)"""
    type: Annotated[str | None, Schema(enum=VALUES)] = None
    """None leaves the other pods alone, RecreateRoleInstanceOnPodRestart replaces the whole instance. (GRP-50)"""


StoredRestartPolicy = Annotated[RestartPolicyConfig | str | None, Schema(type="string", enum=VALUES)]
"""The deprecated field: a string, or the object that two pre-releases stored there."""


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """A policy after resolution. Delays in seconds; `retired` when a retired value was stored (OLD-11)."""

    type: str
    base_delay_seconds: int = RESTART_BASE_DELAY_SECONDS
    max_delay_seconds: int = RESTART_MAX_DELAY_SECONDS
    retired: bool = False

    @property
    def recreates(self) -> bool:
        return self.type == RECREATE_INSTANCE

    def config(self) -> RestartPolicyConfig:
        """The triple as the group controller writes it on a RoleInstanceSet. RP-9"""
        return RestartPolicyConfig(
            type=self.type,
            base_delay_seconds=self.base_delay_seconds,
            max_delay_seconds=self.max_delay_seconds,
        )


def stored_config(
    config: RestartPolicyConfig | None, stored: RestartPolicyConfig | str | None
) -> RestartPolicyConfig | None:
    """`restartPolicyConfig`, or the object found under `restartPolicy` when that is absent. RP-3"""
    if config is None and isinstance(stored, RestartPolicyConfig):
        return stored
    return config


def resolve(
    config: RestartPolicyConfig | None, stored: RestartPolicyConfig | str | None, default: str
) -> RestartPolicy:
    """The policy in force: type of the config, else the deprecated string, else `default`.

    Delays always come from the config. RP-4, RP-8, OLD-11
    """
    config = stored_config(config, stored)
    legacy = stored if isinstance(stored, str) else ""
    policy = (config.type if config else None) or legacy or default
    retired = policy == RETIRED_RECREATE_GROUP
    base = config.base_delay_seconds if config else None
    limit = config.max_delay_seconds if config else None
    return RestartPolicy(
        type=RECREATE_INSTANCE if retired else policy,
        base_delay_seconds=RESTART_BASE_DELAY_SECONDS if base is None else base,
        max_delay_seconds=RESTART_MAX_DELAY_SECONDS if limit is None else limit,
        retired=retired,
    )


def raw_type(config: RestartPolicyConfig | None, stored: RestartPolicyConfig | str | None) -> str:
    """The stored type, empty when nothing is stored: what a conversion must carry. RP-6"""
    config = stored_config(config, stored)
    return (config.type if config else None) or (stored if isinstance(stored, str) else "")
