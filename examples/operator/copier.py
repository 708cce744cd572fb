"""Copies ConfigMaps to other namespaces: a whole operator on nothing but rbgctl.runtime.

A ConfigMap labelled copy.example.com/to=X is kept under its own name in every namespace labelled
copy.example.com/accepts=X. Copies follow edits of the original, are put right when somebody changes them, and go when
the original, its label or the label of the namespace goes. A ConfigMap that was there before is left alone.

    python examples/operator/copier.py                     run it: in a cluster, or with your kubeconfig
    python examples/operator/copier.py replica NAMESPACE   one of several: whoever has the Lease there works
    python examples/operator/copier.py rights              print the ClusterRole it needs
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable, Iterable

from rbgctl import runtime

NAME = "config-copier"
CONFIG_MAP, NAMESPACE = runtime.GVK("", "v1", "ConfigMap"), runtime.GVK("", "v1", "Namespace")
TO, ACCEPTS, FROM = "copy.example.com/to", "copy.example.com/accepts", "copy.example.com/from"


async def reconcile(ctx: runtime.Context) -> runtime.Result:
    """Make the copies of one ConfigMap what they should be: reads the cache, writes only what differs."""
    source, wanted = ctx.cache.entry(CONFIG_MAP, ctx.key), set[str]()
    if source is not None and not source.header.label(FROM):
        accepting = ctx.cache.headers(NAMESPACE, index=("accepts", source.header.label(TO)))
        wanted = {n.name for n in accepting if not n.deletion} - {ctx.key.namespace}
    for copy in ctx.cache.headers(CONFIG_MAP, index=("original", str(ctx.key))):
        if copy.namespace not in wanted:
            with contextlib.suppress(runtime.NotFound):
                await ctx.client.delete(CONFIG_MAP, copy.key, uid=copy.uid)
    copied = [source is not None and await keep_copy(ctx, source, namespace) for namespace in sorted(wanted)]
    return runtime.Result(requeue_after=0.0 if all(copied) else 30.0)


async def keep_copy(ctx: runtime.Context, source: runtime.Entry, namespace: str) -> bool:
    """Create or repair the copy in one namespace; False when somebody else's ConfigMap has its name."""
    found = ctx.cache.entry(CONFIG_MAP, runtime.NN(namespace, ctx.key.name))
    if found is not None and found.header.label(FROM) != ctx.key.namespace:
        ctx.recorder.event(source.decode(), "Warning", "NameTaken", f"{ctx.key.name} exists already in {namespace}")
        return False
    copy = {k: v for k, v in source.decode().items() if k in {"apiVersion", "kind", "data", "binaryData"}}
    copy["metadata"] = {"namespace": namespace, "name": ctx.key.name, "labels": {FROM: ctx.key.namespace}}
    if found is None or not runtime.apply_is_noop(found.decode(), copy, NAME):
        # Not forced where no copy is known: what the cache does not show yet answers with a Conflict.
        await ctx.client.apply(copy, field_manager=NAME, force=found is not None)
    return True


def original(header: runtime.Header) -> list[runtime.NN]:
    """What a copy was made of; of others nothing."""
    return [runtime.NN(header.label(FROM), header.name)] if header.label(FROM) else []


def by_value(label: str) -> Callable[[runtime.Header], Iterable[str]]:
    """An index by the value of a label."""
    return lambda header: filter(None, [header.label(label)])


def declare(manager: runtime.Manager) -> runtime.Builder:
    """What is watched, what is indexed, and what is written."""

    def original_or_itself(config_map: runtime.Entry) -> list[runtime.NN]:
        return original(config_map.header) or ([config_map.header.key] if config_map.header.label(TO) else [])

    def meant_for(namespace: runtime.Entry) -> list[runtime.NN]:
        return [h.key for h in manager.cache.headers(CONFIG_MAP, index=("to", namespace.header.label(ACCEPTS)))]

    indexes = {"to": by_value(TO), "original": lambda header: map(str, original(header))}
    controller = runtime.Builder().named(NAME).reconciles_with(reconcile)
    return (
        controller.watches(CONFIG_MAP, runtime.enqueue_mapped(original_or_itself))
        .watches(NAMESPACE, runtime.enqueue_mapped(meant_for))
        .caches(CONFIG_MAP, runtime.KindOptions(indexes=indexes, keep_managers=frozenset({NAME})))
        .caches(NAMESPACE, runtime.KindOptions(form="metadata", indexes={"accepts": by_value(ACCEPTS)}))
        .writes(CONFIG_MAP, "create", "patch", "delete")
        .permits(runtime.PolicyRule("", "events", ("create", "patch")), *runtime.ELECTION_RIGHTS)
    )


async def main(mode: str = "", namespace: str = "") -> None:
    election = runtime.ElectionConfig(namespace=namespace, name=NAME) if mode == "replica" else None
    manager = runtime.Manager(runtime.ClusterConfig.load(), runtime.ManagerOptions(name=NAME, leader_election=election))
    if mode == "rights":
        print(json.dumps(runtime.cluster_role(NAME, declare(manager).rules(manager.mapper)), indent=2))
    else:
        runtime.configure_logging()
        declare(manager).complete(manager)
        await manager.run(runtime.stop_on_signals())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
