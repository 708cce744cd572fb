"""The names that `from rbgctl.runtime import …` gives: all that an operator is written with.

One flat list, so that a newcomer need not know which module a thing lives in. Modules of the runtime import each
other directly and never this one.
"""

from rbgctl.machinery.field_ownership import apply_is_noop
from rbgctl.machinery.finalizers import add_finalizer, has_finalizer, remove_finalizer
from rbgctl.machinery.gvk import GVK, NN, RawObject, Resource
from rbgctl.machinery.owner_references import controller_reference
from rbgctl.machinery.plan import Plan
from rbgctl.machinery.selectors import LabelSelector
from rbgctl.runtime.admission import AdmissionRequest, Codec, Defaulter, Denied, Validator, Verdict
from rbgctl.runtime.builder import Builder, BuilderError
from rbgctl.runtime.cache import Cache
from rbgctl.runtime.cached_client import CachedClient
from rbgctl.runtime.certwatcher import ServingCertificate
from rbgctl.runtime.client import LiveClient, Patch
from rbgctl.runtime.client_limits import RequestRate
from rbgctl.runtime.clock import Clock, SystemClock
from rbgctl.runtime.config import ClusterConfig, ConfigError
from rbgctl.runtime.conflict_retry import retry_on_conflict
from rbgctl.runtime.controller import Context, Controller, ControllerOptions, Reconciler, Result
from rbgctl.runtime.conversion_review import ConversionError, Converter
from rbgctl.runtime.elector_thread import ElectorThread
from rbgctl.runtime.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    Invalid,
    LeadershipUncertain,
    NoKindMatch,
    NotFound,
    TerminalError,
    TransportError,
)
from rbgctl.runtime.events import Recorder
from rbgctl.runtime.executor import execute, observe_plan_execute
from rbgctl.runtime.fairness import checkpoint
from rbgctl.runtime.handler import enqueue_mapped, enqueue_object, enqueue_owner
from rbgctl.runtime.indexed_fields import field, field_index
from rbgctl.runtime.kind_options import CacheDefaults, KindOptions, NamespaceOptions, only_in
from rbgctl.runtime.leaderelection import ElectionConfig, new_identity
from rbgctl.runtime.leadership import ELECTION_RIGHTS
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
from rbgctl.runtime.queued_handler import QueuedHandler
from rbgctl.runtime.rbac import PolicyRule, cluster_role
from rbgctl.runtime.read_change_write import create_or_patch, create_or_update
from rbgctl.runtime.sharding.assembly import sharing
from rbgctl.runtime.sharding.assignment import ShardKey, by_label, own_key
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
    "Clock",
    "ClusterConfig",
    "Codec",
    "ConfigError",
    "Conflict",
    "Context",
    "Controller",
    "ControllerOptions",
    "ConversionError",
    "Converter",
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
    "LeadershipUncertain",
    "LiveClient",
    "Manager",
    "ManagerOptions",
    "NamespaceOptions",
    "NoKindMatch",
    "NotFound",
    "Patch",
    "Plan",
    "PolicyRule",
    "Predicate",
    "QueuedHandler",
    "RawObject",
    "Reconciler",
    "Recorder",
    "Registry",
    "RequestRate",
    "Resource",
    "Result",
    "ServingCertificate",
    "ShardKey",
    "SystemClock",
    "TerminalError",
    "Tracing",
    "TransportError",
    "Validator",
    "Verdict",
    "WebhookOptions",
    "WebhookServer",
    "add_finalizer",
    "all_of",
    "any_of",
    "apply_is_noop",
    "by_label",
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
    "field",
    "field_index",
    "generation_changed",
    "has_finalizer",
    "hot_changed",
    "labels_changed",
    "matches_labels",
    "negate",
    "new_identity",
    "observe_plan_execute",
    "on",
    "only_in",
    "own_key",
    "owner_uids",
    "remove_finalizer",
    "resource_version_changed",
    "retry_on_conflict",
    "serve_kind",
    "sharing",
    "stop_on_signals",
    "when",
]
