"""Copies ConfigMaps to other namespaces: a whole operator on nothing but rbgctl.runtime.

A ConfigMap labelled copy.example.com/to=X is kept under its own name in every namespace labelled
copy.example.com/accepts=X. Copies follow edits of the original, are put right when somebody changes them, and go when
the original, its label or the label of the namespace goes. A ConfigMap that was there before is left alone.

    python examples/operator/copier.py            run it: in a cluster, or with your kubeconfig
    python examples/operator/copier.py rights     print the ClusterRole it needs
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterable

from rbgctl import runtime
from rbgctl.runtime import GVK, NN, Context, Entry, Header, Manager, Result

NAME = "config-copier"
CONFIG_MAP, NAMESPACE = GVK("", "v1", "ConfigMap"), GVK("", "v1", "Namespace")
TO, ACCEPTS, FROM = "copy.example.com/to", "copy.example.com/accepts", "copy.example.com/from"


async def reconcile(ctx: Context) -> Result:
    """Make the copies of one ConfigMap what they should be: reads the cache, writes only what differs."""
    source, wanted = ctx.cache.entry(CONFIG_MAP, ctx.key), set[str]()
    if source is not None and not source.header.label(FROM):
        accepting = ctx.cache.headers(NAMESPACE, index=("accepts", source.header.label(TO)))
        wanted = {n.name for n in accepting if not n.deletion} - {ctx.key.namespace}
    for copy in ctx.cache.headers(CONFIG_MAP, index=("original", str(ctx.key))):
        if copy.namespace not in wanted:
            with contextlib.suppress(runtime.NotFound):
                await ctx.client.delete(CONFIG_MAP, copy.key, uid=copy.uid)
    taken = [n for n in sorted(wanted) if source is not None and not await copied(ctx, source, n)]
    if source is not None and taken:
        text = f"ConfigMap {ctx.key.name} exists already in {', '.join(taken)}"
        ctx.recorder.event(source.decode(), "Warning", "NameTaken", text)
    return Result(requeue_after=30.0 if taken else 0.0)


async def copied(ctx: Context, source: Entry, namespace: str) -> bool:
    """Create or repair the copy in one namespace; False when somebody else's ConfigMap has its name."""
    found = ctx.cache.entry(CONFIG_MAP, NN(namespace, ctx.key.name))
    if found is not None and found.header.label(FROM) != ctx.key.namespace:
        return False
    copy = {k: v for k, v in source.decode().items() if k in {"apiVersion", "kind", "data", "binaryData"}}
    copy["metadata"] = {"namespace": namespace, "name": ctx.key.name, "labels": {FROM: ctx.key.namespace}}
    if found is None or not runtime.apply_is_noop(found.decode(), copy, NAME):
        # Not forced where no copy is known: what the cache does not show yet answers with a Conflict.
        await ctx.client.apply(copy, field_manager=NAME, force=found is not None)
    return True


def group(header: Header) -> Iterable[str]:
    """Index of ConfigMaps to copy, by where to."""
    return [] if header.label(FROM) else filter(None, [header.label(TO)])


def accepts(header: Header) -> Iterable[str]:
    """Index of namespaces, by what they accept."""
    return filter(None, [header.label(ACCEPTS)])


def original(header: Header) -> Iterable[str]:
    """Index of copies, by what they were copied from."""
    return [str(NN(header.label(FROM), header.name))] if header.label(FROM) else []


def declare(manager: Manager) -> runtime.Builder:
    """What is watched, what is indexed, and what is written."""

    def itself_or_original(config_map: Entry) -> Iterable[NN]:
        header = config_map.header
        return [NN(header.label(FROM), header.name)] if header.label(FROM) else [header.key] if header.label(TO) else []

    def meant_for(namespace: Entry) -> Iterable[NN]:
        found = manager.cache.headers(CONFIG_MAP, index=("group", namespace.header.label(ACCEPTS)))
        return [header.key for header in found]

    config_maps = runtime.KindOptions(indexes={"group": group, "original": original}, keep_managers=frozenset({NAME}))
    return (
        runtime.Builder()
        .named(NAME)
        .watches(CONFIG_MAP, runtime.enqueue_mapped(itself_or_original))
        .watches(NAMESPACE, runtime.enqueue_mapped(meant_for))
        .caches(CONFIG_MAP, config_maps)
        .caches(NAMESPACE, runtime.KindOptions(form="metadata", indexes={"accepts": accepts}))
        .writes(CONFIG_MAP, "create", "patch", "delete")
        .permits(runtime.PolicyRule("", "events", ("create", "patch")))
        .reconciles_with(reconcile)
    )


async def main(*arguments: str) -> None:
    runtime.configure_logging()
    manager = Manager(runtime.ClusterConfig.load(), runtime.ManagerOptions(name=NAME, max_concurrent=4))
    controller = declare(manager)
    if "rights" in arguments:
        print(json.dumps(runtime.cluster_role(NAME, controller.rules(manager.mapper)), indent=2))
        return
    controller.complete(manager)
    await manager.run(runtime.stop_on_signals())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
