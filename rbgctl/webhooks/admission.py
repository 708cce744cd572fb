"""Validators of the kinds that users write: they read what has to be read, `rbgctl.api.validation` judges.

`validators` makes all of them; register each with the runtime's `serve_kind`, without a codec: an object of a shape
that no model knows must still be judged. Groups and group sets can be refused; what accompanies a group is only
warned about, see `rbgctl.webhooks.configuration` for the entries through which the API server calls.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import structlog

from rbgctl.api import kinds
from rbgctl.api.validation import companions, judgement
from rbgctl.api.validation.adapter_guard import Contested
from rbgctl.api.validation.judgement import GroupView, Judgement, SetView
from rbgctl.api.validation.problem import FieldError
from rbgctl.api.validation.shapes import mapping
from rbgctl.api.validation.wording import bounded
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.admission import OK, AdmissionRequest, Denied, Validator, Verdict
from rbgctl.runtime.cache import CacheNotSynced
from rbgctl.runtime.client_protocols import Reader
from rbgctl.runtime.errors import (
    ApiError,
    BadRequest,
    InternalError,
    NoKindMatch,
    NotFound,
    ServiceUnavailable,
    TransportError,
)

_log = structlog.get_logger("rbgctl.webhooks.admission")

TEMPORARY: Final = frozenset({408, 429, 503, 504})
"""Codes with which the API server asks to try again later."""

_NO_ADAPTER = (NotFound, BadRequest, NoKindMatch)
"""There is none: also when no object can have that name, or the CRD is not installed."""

Advice = Callable[[RawObject, RawObject | None], Iterator[str]]


class AdapterGuard:
    """Replicas of a role change only together with its scaling adapter (VAL-3).

    live: reads what is stored, because a cache may not show yet what the adapter was just set to.
    """

    def __init__(self, live: Reader) -> None:
        self._live = live

    async def problems(self, questions: list[Contested]) -> list[FieldError]:
        """Why the update is refused. Raises Unreadable when an adapter cannot be read."""
        found = [await self._problem(question) for question in questions]
        return [problem for problem in found if problem is not None]

    async def _problem(self, question: Contested) -> FieldError | None:
        try:
            return question.problem(await self._live.get(kinds.SCALING_ADAPTER, question.adapter))
        except _NO_ADAPTER:
            return None
        except (ApiError, TransportError) as error:
            raise Unreadable(question, error) from error


class Unreadable(Exception):
    """A scaling adapter could not be read: a failure of ours, not of the write (VAL-10)."""

    def __init__(self, question: Contested, cause: ApiError | TransportError) -> None:
        super().__init__(str(question.unreadable(cause)))
        self.cause = cause

    def as_api_error(self) -> ApiError:
        """503 when another try may help, else 500."""
        code = 503 if isinstance(self.cause, TransportError) else self.cause.code
        kind = ServiceUnavailable if code in TEMPORARY else InternalError
        answered = 503 if kind is ServiceUnavailable else 500
        return kind({"status": "Failure", "code": answered, "reason": kind.default_reason, "message": str(self)})


class GroupValidator:
    """Of RoleBasedGroups (WH-4, VAL-1 to VAL-5, and what the group controller would refuse)."""

    def __init__(self, live: Reader, *, deprecated_types_enabled: bool = True) -> None:
        self._live = live
        self._guard = AdapterGuard(live)
        self._deprecated = deprecated_types_enabled

    async def validate_create(self, request: AdmissionRequest, new: RawObject) -> Verdict:
        view = GroupView.of(new)
        judged = judgement.judge_group_create(view, deprecated_types_enabled=self._deprecated)
        if not judged.errors or (owner := await self._owner(request, view)) is None:
            return _verdict(judged)
        return _verdict(judgement.judge_group_create(view, deprecated_types_enabled=self._deprecated, owner=owner))

    async def _owner(self, request: AdmissionRequest, view: GroupView) -> SetView | None:
        """The set that controls a group, when there is one: everybody can write an owner reference."""
        claimed = view.group.metadata.controller_ref
        if claimed is None or not view.made_by_set:
            return None
        try:
            found = await self._live.get(kinds.ROLE_BASED_GROUP_SET, NN(request.namespace, claimed.name))
        except (ApiError, TransportError, NoKindMatch) as error:
            _log.info("group set not read, so the group is judged without it", set=claimed.name, error=str(error))
            return None
        real = bool(claimed.uid) and mapping(found.get("metadata")).get("uid") == claimed.uid
        return SetView.of(found) if real else None

    async def validate_update(self, request: AdmissionRequest, old: RawObject, new: RawObject) -> Verdict:
        before, after = GroupView.of(old), GroupView.of(new)
        adapters: list[FieldError] = []
        unreadable = None
        try:
            adapters = await self._guard.problems(judgement.adapter_questions(before, after))
        except Unreadable as error:
            unreadable = error.as_api_error()
        judged = judgement.judge_group_update(
            before, after, deprecated_types_enabled=self._deprecated, adapters=adapters
        )
        # What no other try can change comes first.
        return Verdict(unreadable, judged.warnings) if unreadable and not judged.errors else _verdict(judged)

    async def validate_delete(self, request: AdmissionRequest, old: RawObject) -> Verdict:
        return OK


class GroupSetValidator:
    """Of RoleBasedGroupSets (WH-4, VAL-4s): the template must make groups that work."""

    def __init__(self, *, deprecated_types_enabled: bool = True) -> None:
        self._deprecated = deprecated_types_enabled

    async def validate_create(self, request: AdmissionRequest, new: RawObject) -> Verdict:
        return _verdict(judgement.judge_set_create(SetView.of(new), deprecated_types_enabled=self._deprecated))

    async def validate_update(self, request: AdmissionRequest, old: RawObject, new: RawObject) -> Verdict:
        before, after = SetView.of(old), SetView.of(new)
        return _verdict(judgement.judge_set_update(before, after, deprecated_types_enabled=self._deprecated))

    async def validate_delete(self, request: AdmissionRequest, old: RawObject) -> Verdict:
        return OK


class Adviser:
    """Warns about objects that accompany a group, and refuses none.

    groups: where the group is looked up; when it cannot be read, nothing is said that depends on it.
    """

    def __init__(self, advice: Advice, groups: Reader) -> None:
        self._advice = advice
        self._groups = groups

    async def validate_create(self, request: AdmissionRequest, new: RawObject) -> Verdict:
        name = companions.group_of(new)
        group = None
        if name:
            try:
                group = await self._groups.get(kinds.ROLE_BASED_GROUP, NN(request.namespace, name))
            except (NotFound, BadRequest):
                pass
            except (ApiError, TransportError, CacheNotSynced, NoKindMatch) as error:
                _log.info("group not read, so nothing is warned about", group=name, error=str(error))
                return OK
        return Verdict(warnings=bounded(self._advice(new, group)))

    async def validate_update(self, request: AdmissionRequest, old: RawObject, new: RawObject) -> Verdict:
        if old.get("spec") == new.get("spec"):
            return OK  # the operator's own touches of metadata
        return await self.validate_create(request, new)

    async def validate_delete(self, request: AdmissionRequest, old: RawObject) -> Verdict:
        return OK


def validators(live: Reader, *, deprecated_types_enabled: bool = True) -> Mapping[GVK, Validator[RawObject]]:
    """One validator per kind with an entry in the webhook configuration.

    live: reads scaling adapters, groups and group sets as they are stored. deprecated_types_enabled: flag
    --enable-deprecated-workload-types (DW-7).
    """
    return {
        kinds.ROLE_BASED_GROUP: GroupValidator(live, deprecated_types_enabled=deprecated_types_enabled),
        kinds.ROLE_BASED_GROUP_SET: GroupSetValidator(deprecated_types_enabled=deprecated_types_enabled),
        kinds.COORDINATED_POLICY: Adviser(companions.policy_advice, live),
        kinds.SCALING_ADAPTER: Adviser(companions.adapter_advice, live),
        kinds.WARMUP: Adviser(companions.warmup_advice, live),
    }


def _verdict(judged: Judgement) -> Verdict:
    return Verdict(Denied(judged.refusal) if judged.errors else None, judged.warnings)
