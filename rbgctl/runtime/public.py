"""The names that `from rbgctl.runtime import …` gives: all that an operator is written with.

One flat list, so that a newcomer need not know which module a thing lives in. Modules of the runtime import each
other directly and never this one.
"""

from rbgctl.machinery.field_ownership import apply_is_noop
from rbgctl.machinery.gvk import GVK, NN, RawObject, Resource
from rbgctl.machinery.owner_references import controller_reference
from rbgctl.machinery.plan import Plan
from rbgctl.machinery.selectors import LabelSelector
from rbgctl.runtime.admission import AdmissionRequest, Defaulter, Denied, Validator, Verdict
from rbgctl.runtime.builder import Builder, BuilderError
from rbgctl.runtime.cache import Cache
from rbgctl.runtime.cached_client import CachedClient
from rbgctl.runtime.client import LiveClient, Patch
from rbgctl.runtime.config import ClusterConfig, ConfigError
from rbgctl.runtime.controller import Context, Controller, ControllerOptions, Reconciler, Result
from rbgctl.runtime.conversion_review import ConversionError
from rbgctl.runtime.elector_thread import ElectorThread
from rbgctl.runtime.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    TerminalError,
    TransportError,
)
from rbgctl.runtime.events import Recorder
from rbgctl.runtime.executor import execute, observe_plan_execute
from rbgctl.runtime.fairness import checkpoint
from rbgctl.runtime.handler import enqueue_mapped, enqueue_object, enqueue_owner
from rbgctl.runtime.kind_options import CacheDefaults, KindOptions, NamespaceOptions, only_in
from rbgctl.runtime.leaderelection import ElectionConfig, new_identity
from rbgctl.runtime.log import configure_logging
from rbgctl.runtime.manager import Manager
from rbgctl.runtime.manager_options import ManagerOptions
from rbgctl.runtime.metrics import Registry
from rbgctl.runtime.predicate import (
    Event,
    Predicate,
    all_of,
    any_of,
    generation_changed,
    hot_changed,
    labels_changed,
    matches_labels,
    negate,
    on,
    resource_version_changed,
    when,
)
from rbgctl.runtime.rbac import PolicyRule, cluster_role
from rbgctl.runtime.read_change_write import create_or_patch, create_or_update
from rbgctl.runtime.replicas import ELECTION_RIGHTS, replica_of, single_leader
from rbgctl.runtime.signals import stop_on_signals
from rbgctl.runtime.source import ChannelSource
from rbgctl.runtime.store import Entry, Header, decode_raw, owner_uids
from rbgctl.runtime.tracing import Tracing
from rbgctl.runtime.webhook import WebhookOptions, WebhookServer, serve_kind

__all__ = [
    "ELECTION_RIGHTS",
    "GVK",
    "NN",
    "AdmissionRequest",
    "AlreadyExists",
    "ApiError",
    "Builder",
    "BuilderError",
    "Cache",
    "CacheDefaults",
    "CachedClient",
    "ChannelSource",
    "ClusterConfig",
    "ConfigError",
    "Conflict",
    "Context",
    "Controller",
    "ControllerOptions",
    "ConversionError",
    "Defaulter",
    "Denied",
    "ElectionConfig",
    "ElectorThread",
    "Entry",
    "Event",
    "Forbidden",
    "Header",
    "Invalid",
    "KindOptions",
    "LabelSelector",
    "LiveClient",
    "Manager",
    "ManagerOptions",
    "NamespaceOptions",
    "NotFound",
    "Patch",
    "Plan",
    "PolicyRule",
    "Predicate",
    "RawObject",
    "Reconciler",
    "Recorder",
    "Registry",
    "Resource",
    "Result",
    "TerminalError",
    "Tracing",
    "TransportError",
    "Validator",
    "Verdict",
    "WebhookOptions",
    "WebhookServer",
    "all_of",
    "any_of",
    "apply_is_noop",
    "checkpoint",
    "cluster_role",
    "configure_logging",
    "controller_reference",
    "create_or_patch",
    "create_or_update",
    "decode_raw",
    "enqueue_mapped",
    "enqueue_object",
    "enqueue_owner",
    "execute",
    "generation_changed",
    "hot_changed",
    "labels_changed",
    "matches_labels",
    "negate",
    "new_identity",
    "observe_plan_execute",
    "on",
    "only_in",
    "owner_uids",
    "replica_of",
    "resource_version_changed",
    "serve_kind",
    "single_leader",
    "stop_on_signals",
    "when",
]
