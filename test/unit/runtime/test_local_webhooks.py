"""How configurations are rewritten for a server on loopback."""

import base64
import copy
from typing import Any

import pytest

from rbgctl.runtime.testing.crds import point_at_local, with_local_conversion

LOCAL = {"caBundle": base64.b64encode(b"CA").decode()}


def config(client: Any) -> Any:
    return {"kind": "ValidatingWebhookConfiguration", "webhooks": [{"name": "a", "clientConfig": client}]}


@pytest.mark.parametrize(
    ("client", "path"),
    [
        ({"service": {"name": "s", "namespace": "n", "path": "/p", "port": 8443}, "caBundle": "x"}, "/p"),
        ({"service": {"name": "s", "namespace": "n"}}, ""),
        ({"url": "https://example.com:7/q"}, "/q"),
    ],
)
def test_a_client_config_is_a_local_url_with_our_authority(client: Any, path: str) -> None:  # RT-ET-05
    before = config(client)
    kept = copy.deepcopy(before)
    assert point_at_local(before, 123, b"CA") == config({**LOCAL, "url": f"https://127.0.0.1:123{path}"})
    assert before == kept


def test_conversion_is_added_unless_there_is_a_webhook() -> None:  # RT-ET-04
    bare = {"spec": {"group": "g", "conversion": {"strategy": "None"}}}
    pointed = point_at_local(with_local_conversion(bare), 123, b"CA")
    assert pointed["spec"]["conversion"] == {
        "strategy": "Webhook",
        "webhook": {
            "conversionReviewVersions": ["v1"],
            "clientConfig": {**LOCAL, "url": "https://127.0.0.1:123/convert"},
        },
    }
    own = {"spec": {"conversion": {"strategy": "Webhook", "webhook": {"clientConfig": {"service": {"path": "/c"}}}}}}
    assert with_local_conversion(own) is own
