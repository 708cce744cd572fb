"""The discovery ConfigMap's text."""

import json
from pathlib import Path

import yaml

from rbgctl.api.meta import ServicePort
from rbgctl.planning.discovery_config import DiscoveredRole, discovery_config

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "basic_rbg_base.json").read_text())["objects"]


def test_the_text_is_the_recorded_one() -> None:
    """RBG-46: byte by byte, so that taking over rewrites nothing."""
    text = discovery_config(
        "storefront",
        [
            DiscoveredRole("frontend", 1, "s-storefront-frontend"),
            DiscoveredRole("backend", 3, "s-storefront-backend"),
        ],
    )
    assert text == GOLDEN["configmaps"][0]["data"]["config.yaml"]


def test_addresses_ports_and_sizes() -> None:
    """RBG-46, RBG-136."""
    ports = [ServicePort(port=443), ServicePort(port=80), ServicePort(name="My-Api", port=6443)]
    text = discovery_config(
        "test-cluster",
        [
            DiscoveredRole("worker", 3, "test-cluster-worker", [ServicePort(name="http", port=8080)]),
            DiscoveredRole("leader", 1, "s-test-cluster-leader", ports),
            DiscoveredRole("none", 0, "s"),
        ],
    )
    content = yaml.safe_load(text)
    assert content["group"] == {"name": "test-cluster", "roles": ["worker", "leader", "none"], "size": 3}
    leader = content["roles"]["leader"]["instances"][0]
    assert leader["address"] == "test-cluster-leader-0.s-test-cluster-leader"
    assert leader["ports"] == {"my_api": 6443, "port80": 80, "port443": 443}
    assert text.index("port80") < text.index("port443")
    assert content["roles"]["worker"]["instances"][2]["address"] == "test-cluster-worker-2.test-cluster-worker"
    assert content["roles"]["none"] == {"instances": [], "size": 0}
