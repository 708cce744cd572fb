"""An object that is gone when its turn comes."""

import pytest

from rbgctl.machinery.gvk import NN
from rbgctl.manager import CONTROLLERS, ManagerOptions, build
from rbgctl.runtime.config import ClusterConfig


@pytest.mark.parametrize("name", CONTROLLERS)
async def test_a_key_without_an_object_is_a_success(name: str) -> None:
    """RT-CT-26: of every controller, without a request: no server answers here."""
    manager = build(ClusterConfig("http://127.0.0.1:1"), ManagerOptions())
    for gvk, form in manager._needed:
        manager.cache.declare(gvk, form=form)
    controller = manager.controllers[name]
    await controller._process(NN("ns", "gone"), 0)
    read = manager.metrics.collectors.get_sample_value
    results = {
        result: read("controller_runtime_reconcile_total", {"controller": name, "result": result})
        for result in ("success", "error", "requeue", "requeue_after")
    }
    assert results == {"success": 1, "error": 0, "requeue": 0, "requeue_after": 0}
    assert len(controller.queue) == controller.queue.waiting == 0
    await manager.transport.close()
