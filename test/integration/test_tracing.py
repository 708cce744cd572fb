"""One group seen end to end by an OTLP receiver: the real manager as a process, a real API server."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import orjson
import pytest
from integration.accounts import manager_account
from unit.runtime.otlp_receiver import Received, Receiver

from rbgctl.api import identity
from rbgctl.api.kinds import API_VERSION, ROLE_BASED_GROUP, ROLE_INSTANCE_SET
from rbgctl.machinery.gvk import RawObject
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.testing.asserts import eventually
from rbgctl.runtime.testing.envtest import EnvTest

GROUP = f"reconcile {identity.CONTROLLER_GROUP}"
SET = f"reconcile {identity.CONTROLLER_INSTANCE_SET}"
INSTANCE = f"reconcile {identity.CONTROLLER_INSTANCE}"
OTEL = {"OTEL_TRACES_SAMPLER": "always_on", "OTEL_BSP_SCHEDULE_DELAY": "100"}


@dataclass
class Process:
    """A manager: its log lines so far."""

    lines: list[Mapping[str, object]] = field(default_factory=list)


@contextlib.asynccontextmanager
async def manager(env: EnvTest, extra: Mapping[str, str]) -> AsyncIterator[Process]:
    """`rbgctl manager` until the block ends, which must be clean."""
    kubeconfig = env.write_kubeconfig(await manager_account(env), "manager")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rbgctl.cli.main", "manager", "--kubeconfig", str(kubeconfig)),
        *("--health-probe-bind-address", "0", "--zap-log-level", "debug", "--enable-webhooks=none"),
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **OTEL, **extra},
    )
    made = Process()

    async def read() -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            made.lines.append(orjson.loads(line))

    reading = asyncio.create_task(read())
    try:
        yield made
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(30):
            code = await process.wait()
            await reading
    assert code == 0, made.lines[-3:]


def group(namespace: str) -> RawObject:
    template = {"spec": {"containers": [{"name": "main", "image": "a:1"}]}}
    role = {"name": "web", "replicas": 2, "standalonePattern": {"template": template}}
    return {
        "apiVersion": API_VERSION,
        "kind": "RoleBasedGroup",
        "metadata": {"namespace": namespace, "name": "shop"},
        "spec": {"roles": [role]},
    }


class Traces:
    """Spans by id, and the questions a reader of traces asks."""

    def __init__(self, spans: list[Received], namespace: str) -> None:
        self.spans = spans
        self.by_id = {(s.trace, s.id): s for s in spans}
        self.reconciles = [
            s
            for s in spans
            if s.name.startswith("reconcile ") and s.attributes.get("k8s.object.namespace") == namespace
        ]

    def root(self, span: Received) -> Received:
        while span.parent:
            span = self.by_id[span.trace, span.parent]
        return span

    def below(self, span: Received) -> list[Received]:
        return [s for s in self.spans if (s.trace, s.parent) == (span.trace, span.id)]

    def hops(self) -> set[tuple[str, str, str]]:
        """Who wrote what for whom: writer's reconcile, request, reconcile that it led to."""
        found = set()
        for span in self.reconciles:
            for link in span.links:
                write = self.by_id.get(link)
                if write is not None and write.parent in {s.id for s in self.spans}:
                    found.add((self.root(write).name, write.name, span.name))
        return found


DOWN = {
    (GROUP, "k8s.patch roleinstancesets", SET),
    (SET, "k8s.create roleinstances", INSTANCE),
}
UP = {
    (INSTANCE, "k8s.patch roleinstances/status", SET),
    (SET, "k8s.patch roleinstancesets/status", GROUP),
}


async def test_a_group_is_one_story_from_apply_to_pods_and_back(
    env: EnvTest, client: LiveClient, namespace: str
) -> None:
    # RT-TR-02, RT-TR-03, RT-TR-05, RT-TR-10, RT-CT-20
    async with Receiver().running() as receiver:
        async with manager(env, {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}) as process:
            await client.apply(group(namespace), field_manager="user")
            spans = await receiver.until(lambda spans: Traces(spans, namespace).hops() >= DOWN | UP)
            lines = await eventually(
                lambda: [line for line in process.lines if "trace_id" in line and line.get("namespace") == namespace]
            )
        traces = Traces(spans, namespace)

        # The tree: reconcile -> steps -> requests, nothing of ours outside of it.
        first = next(s for s in traces.reconciles if s.name == GROUP)
        assert (first.kind, first.parent) == ("consumer", "")
        assert first.attributes["k8s.object.name"] == "shop"
        assert first.attributes["k8s.object.kind"] == ROLE_BASED_GROUP.kind
        assert first.attributes["k8s.object.uid"]
        assert first.attributes["reconcile.result"] in {"success", "requeue_after"}
        steps = {s.name: s for s in traces.below(first)}
        assert list(steps) == ["step observe", "step plan", "step execute"]
        requests = traces.below(steps["step execute"])
        assert {"k8s.patch roleinstancesets", "k8s.patch services"} <= {s.name for s in requests}
        for request in requests:
            assert request.kind == "client"
            assert first.began <= request.began <= request.ended <= first.ended
        written = next(s for s in requests if s.name == "k8s.patch roleinstancesets")
        assert written.attributes["k8s.field_manager"] == identity.FIELD_MANAGER
        assert written.attributes["k8s.patch.type"] == "application/apply-patch+yaml"
        assert written.attributes["http.response.status_code"] in {200, 201}
        assert written.attributes["url.path"].endswith("/namespaces/{namespace}/roleinstancesets/{name}")
        assert written.attributes["server.address"] == env.config.host
        assert not [s for s in spans if "watch" in s.name]
        created = next(s for s in spans if s.name == "k8s.create roleinstances")
        assert created.attributes["k8s.field_manager"] == identity.MANAGER_INSTANCE_SET_STATEFUL

        # Controllers share no trace; what leads from one to the next is links. The user's apply is no write of ours.
        assert len({s.trace for s in traces.reconciles}) == len(traces.reconciles)
        assert not first.links

        # Every kind was read once.
        listed = [s for s in spans if s.name.startswith("list ")]
        assert f"list {ROLE_INSTANCE_SET}" in {s.name for s in listed}
        assert all(s.attributes["k8s.list.first"] for s in listed)

        # Log lines of a reconcile name its trace and say what it is about.
        by_trace = {s.trace: s for s in traces.reconciles}
        for line in lines:
            span = by_trace[str(line["trace_id"])]
            assert line["reconcileID"] == span.attributes["reconcile.id"]
            assert f"reconcile {line['controller']}" == span.name
            assert line[str(line["controllerKind"])] == {"namespace": namespace, "name": line["name"]}
            assert (span.trace, line["span_id"]) in traces.by_id

    # No trace leaves an annotation behind.
    for gvk in (ROLE_BASED_GROUP, ROLE_INSTANCE_SET):
        for obj in (await client.list(gvk, namespace)).items:
            assert not [a for a in obj["metadata"].get("annotations") or () if "trace" in a]


@pytest.mark.parametrize("extra", [{}, {"OTEL_SDK_DISABLED": "true"}], ids=["no endpoint", "disabled"])
async def test_nothing_is_sent_unless_it_is_switched_on(
    env: EnvTest, client: LiveClient, namespace: str, extra: Mapping[str, str]
) -> None:  # RT-TR-01
    async with Receiver().running() as receiver:
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url} if extra else {}
        async with manager(env, {**endpoint, **extra}) as process:
            await client.apply(group(namespace), field_manager="user")
            await eventually(
                lambda: [
                    line for line in process.lines if line.get("namespace") == namespace and line.get("reconcileID")
                ],
                timeout=30,
            )
        assert not receiver.exports
    assert not [line for line in process.lines if "trace_id" in line]
