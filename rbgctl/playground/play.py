"""The playground from start to Ctrl-C."""

import asyncio
import contextlib
import shlex
import signal
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from rbgctl.api.crd import manifests
from rbgctl.api.kinds import KIND_GROUP, RESOURCES
from rbgctl.machinery.gvk import GVK, RawObject
from rbgctl.manager import CONTROLLERS, checked_kinds
from rbgctl.playground.deployment import ManagerProcess, deploy
from rbgctl.playground.view import LiveView
from rbgctl.runtime.cache import Cache
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.errors import ApiError, NoKindMatch
from rbgctl.runtime.testing.envtest import EnvTest

DEFAULT_EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "basic" / "rbg" / "base.yaml"
NAMESPACE = "default"


class PlaygroundError(Exception):
    """Something the user can fix; the text is one line."""


@dataclass(frozen=True, slots=True)
class Options:
    """example: the manifest to apply. nodes: simulated nodes. keep: leave logs and data behind. port: of the API
    server, 0 for a free one."""

    example: Path = DEFAULT_EXAMPLE
    nodes: int = 4
    keep: bool = False
    port: int = 0


def load_example(path: Path) -> list[RawObject]:
    """The objects of a manifest file. Raises PlaygroundError naming the file and what is wrong."""
    try:
        documents = [d for d in yaml.safe_load_all(path.read_bytes()) if d]
    except OSError as error:
        raise PlaygroundError(f"cannot read {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise PlaygroundError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    for document in documents:
        if not (isinstance(document, dict) and document.get("kind") and document.get("apiVersion")):
            raise PlaygroundError(f"{path}: every document needs apiVersion and kind")
        if not (document.get("metadata") or {}).get("name"):
            raise PlaygroundError(f"{path}: {document['kind']} has no metadata.name")
    if not any(d["kind"] == KIND_GROUP for d in documents):
        raise PlaygroundError(f"{path} holds no RoleBasedGroup")
    return documents


def in_turn(crds: Sequence[RawObject], objects: Sequence[RawObject]) -> tuple[list[RawObject], list[RawObject]]:
    """The CRDs that the operator and these objects wait for, and the others: the API server needs seconds for a CRD
    with whole pod templates."""
    kinds = {gvk.kind for gvk in checked_kinds(tuple(CONTROLLERS))} | {o["kind"] for o in objects}
    first = [c for c in crds if c["spec"]["names"]["kind"] in kinds]
    return first, [c for c in crds if c not in first]


async def play(options: Options, console: Console) -> None:
    """Run until Ctrl-C or SIGTERM. Raises PlaygroundError, or what EnvTest raises when it cannot start."""
    began = time.monotonic()
    objects = load_example(options.example)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    # Without a webhook v1alpha2 works in full, and v1alpha1 is refused for kinds that would have to be converted.
    first, others = in_turn(manifests(legacy=False), objects)
    env = EnvTest(
        nodes=options.nodes, crds=first, static=RESOURCES, keep=options.keep, port=options.port, stage_crd=True
    )
    console.print(f"starting a Kubernetes control plane with {options.nodes} simulated nodes …", highlight=False)
    if not await _unless(stopped, env.start()):
        return
    try:
        await _unless(stopped, _show(env, objects, others, options, console, began))
    finally:
        console.print("stopping …", highlight=False)
        await env.stop()
        if options.keep:
            console.print(f"logs and data are kept in {env.directory}", highlight=False)


async def _unless(stopped: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Run `work` to its end, or cancel it on a stop. False when it was stopped."""
    task = asyncio.create_task(work)
    stop = asyncio.create_task(stopped.wait())
    await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if not task.done():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return False
    task.result()
    return True


async def _show(
    env: EnvTest,
    objects: Sequence[RawObject],
    crds: Sequence[RawObject],
    options: Options,
    console: Console,
    began: float,
) -> None:
    """crds: what is installed while the operator starts and the group comes up."""
    installing = asyncio.create_task(env.install_crds(crds))
    try:
        await _follow(env, objects, installing, options, console, began)
    finally:
        installing.cancel()


async def _follow(
    env: EnvTest,
    objects: Sequence[RawObject],
    installing: asyncio.Task[None],
    options: Options,
    console: Console,
    began: float,
) -> None:
    manager = await deploy(env)
    console.print("the operator runs; applying", str(options.example), highlight=False)
    transport = env.transport()
    mapper = RestMapper(transport, *RESOURCES)
    cache = Cache(transport, mapper, user_agent="playground", first_list_jitter=0.0)
    group = next(o for o in objects if o["kind"] == KIND_GROUP)
    namespace = group["metadata"].get("namespace") or NAMESPACE
    view = LiveView(cache, namespace, group["metadata"]["name"], console)
    running = asyncio.create_task(cache.run())
    try:
        await cache.wait_for_sync(timeout=30)
        await _apply(LiveClient(transport, mapper, user_agent="playground"), objects, options.example)
        drawing = asyncio.create_task(view.run())
        try:
            up = asyncio.gather(drawing, installing)
            ends: list[asyncio.Future[Any]] = [up, running, env.failed]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            drawing.cancel()
        for ended in (env.failed, running, up):
            if ended.done():
                ended.result()
        _instructions(env, manager, group, namespace, console, time.monotonic() - began)
        await env.failed
    finally:
        running.cancel()


async def _apply(client: LiveClient, objects: Sequence[RawObject], path: Path) -> None:
    for obj in objects:
        try:
            resource = await client.mapper.resource(GVK.of(obj))
            home = {"namespace": NAMESPACE} if resource.namespaced else {}
            placed = {**obj, "metadata": {**home, **obj["metadata"]}}
            await client.apply(placed, field_manager="playground", strict=True)
        except NoKindMatch as error:
            raise PlaygroundError(f"{path}: {error}") from None
        except ApiError as error:
            raise PlaygroundError(f"{path}: {' '.join(error.message.split())}") from None


def _instructions(
    env: EnvTest, manager: ManagerProcess, group: RawObject, namespace: str, console: Console, seconds: float
) -> None:
    name = group["metadata"]["name"]
    roles = group["spec"]["roles"]
    last = len(roles) - 1
    role = roles[last]["name"]
    replicas = roles[last].get("replicas", 1)
    path = f"/spec/roles/{last}"
    pod = f"{name}-{role}-0"
    containers = ((roles[last].get("standalonePattern") or {}).get("template") or {}).get("spec", {}).get("containers")
    image = f"{path}/standalonePattern/template/spec/containers/0/image"
    lines = [
        f"Ready {seconds:.1f} s after the start. Talk to the cluster from another terminal:",
        "",
        f"  export KUBECONFIG={shlex.quote(str(env.kubeconfig))} PATH={shlex.quote(str(env.kubectl.parent))}:$PATH",
        f"  kubectl -n {namespace} get rbg,ris,rins,pods",
        "",
        "Things to try:",
        "",
        f"  # scale {role} to {replicas + 2}",
        f"  kubectl -n {namespace} patch rbg {name} --type=json "
        f'-p \'[{{"op":"replace","path":"{path}/replicas","value":{replicas + 2}}}]\'',
    ]
    if containers:
        lines += [
            "  # change an image and watch the rollout",
            f"  kubectl -n {namespace} patch rbg {name} --type=json "
            f'-p \'[{{"op":"replace","path":"{image}","value":"registry.example/changed:2.0"}}]\'',
        ]
    lines += [
        "  # delete a pod and see it come back",
        f"  kubectl -n {namespace} delete pod {pod}; kubectl -n {namespace} get pods -w",
        "  # why is it (not) ready?",
        f"  kubectl -n {namespace} describe rbg {name}",
        "",
        f"The operator's log: {manager.log}",
        "Ctrl-C stops everything.",
    ]
    console.print("\n" + "\n".join(lines), highlight=False, soft_wrap=True, markup=False)
