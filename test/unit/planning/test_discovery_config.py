"""The discovery ConfigMap's text."""

import json
from pathlib import Path

import yaml
from hypothesis import given
from hypothesis import strategies as st

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
    """PAY-8, RBG-46, RBG-136."""
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


PORT_NAMES = st.one_of(
    st.sampled_from(["", "on", "no", "null", "1", "1e3", "a-b", "A"]), st.from_regex(r"[a-z0-9-]{1,9}")
)


@given(st.lists(st.tuples(PORT_NAMES, st.integers(1, 65535)), max_size=4), st.integers(0, 3))
def test_every_text_reads_back_as_what_it_says(ports: list[tuple[str, int]], replicas: int) -> None:
    """RBG-46: names that YAML takes for something else are quoted; later duplicates win."""
    given_ports = tuple(ServicePort(name=name or None, port=port) for name, port in ports)
    content = yaml.safe_load(discovery_config("g", [DiscoveredRole("r", replicas, "s", given_ports)]))
    instances = content["roles"]["r"]["instances"]
    assert [i["address"] for i in instances] == [f"g-r-{n}.s" for n in range(replicas)]
    keys = {(name.lower().replace("-", "_") or f"port{port}"): port for name, port in ports}
    assert all(i.get("ports", {}) == keys for i in instances)
    assert all(isinstance(key, str) for i in instances for key in i.get("ports", {}))


def test_the_text_has_no_yaml_aliases() -> None:
    """RBG-46: consumers compare and grep it."""
    text = discovery_config("g", [DiscoveredRole("r", 3, "s", (ServicePort(port=80),))])
    assert "&" not in text
    assert "*" not in text
