"""Proxies by the environment."""

import pytest

from rbgctl.runtime.proxy import proxy_from_environment

PROXY = "http://proxy:3128"


@pytest.mark.parametrize(
    ("server", "exceptions", "proxied"),
    [
        ("https://api.example.com:6443", "", True),
        ("https://api.example.com:6443", "example.com", False),
        ("https://api.example.com:6443", ".example.com", False),
        ("https://api.example.com:6443", "*.example.com", False),
        ("https://example.com", ".example.com", True),
        ("https://notexample.com", "example.com", True),
        ("https://api.example.com:6443", "other, api.example.com", False),
        ("https://api.example.com:6443", "api.example.com:6443", False),
        ("https://api.example.com:6443", "api.example.com:443", True),
        ("https://10.96.0.1:443", "10.0.0.0/8", False),
        ("https://11.0.0.1:443", "10.0.0.0/8", True),
        ("https://10.96.0.1:443", "10.96.0.1", False),
        ("https://10.96.0.1:443", "10.96.0.1:443", False),
        ("https://[fd00::1]:443", "fd00::/8", False),
        ("https://[fd00::1]:443", "[fd00::1]", False),
        ("https://api.example.com", "*", False),
        ("https://api.example.com", "10.0.0.0/99", True),
        ("https://localhost:6443", "", False),
        ("https://127.0.0.1:6443", "", False),
        ("https://[::1]:6443", "", False),
    ],
)
def test_exceptions_are_hosts_domains_addresses_and_networks(server: str, exceptions: str, proxied: bool) -> None:
    """RT-CF-09: as Go programs read them, networks included; loopback is never proxied."""
    found = proxy_from_environment(server, {"HTTPS_PROXY": PROXY, "NO_PROXY": exceptions})
    assert found == (PROXY if proxied else None)


def test_the_variable_depends_on_the_scheme_and_upper_case_wins() -> None:
    """RT-CF-09."""
    env = {"HTTP_PROXY": "http://plain", "https_proxy": "lower:1", "no_proxy": "x"}
    assert proxy_from_environment("http://a", env) == "http://plain"
    assert proxy_from_environment("https://a", env) == "http://lower:1"
    assert proxy_from_environment("https://a", {**env, "HTTPS_PROXY": "http://upper"}) == "http://upper"
    assert proxy_from_environment("https://x", env) is None
    assert proxy_from_environment("https://a", {}) is None
