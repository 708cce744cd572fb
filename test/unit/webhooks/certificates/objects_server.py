"""An HTTP server that keeps the few objects with which certificates have to do, as an API server would."""

import contextlib
import copy
from collections import defaultdict
from collections.abc import AsyncIterator

import jsonpatch
import orjson
from aiohttp import web
from unit.runtime.scripted import Answer, ScriptedServer, failure

from rbgctl.machinery.gvk import NN, RawObject
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.transport import Transport
from rbgctl.webhooks.certificates.bundles import CONVERTED
from rbgctl.webhooks.configuration import webhook_configuration

NAMESPACE = "rbgs-system"
SECRET_KEY = NN(NAMESPACE, "rbgs-webhook-cert")
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
SECRET = f"{SECRETS}/{SECRET_KEY.name}"
CONFIGURATION = (
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/rbgs-validating-webhook-configuration"
)
CRDS = tuple(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}" for name in CONVERTED)


class ObjectsServer(ScriptedServer):
    """objects: by path. refuses: how many more requests to a path are answered with 500."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, RawObject] = {}
        self.refuses: dict[str, int] = defaultdict(int)
        self._version = 100
        for path, name in zip(CRDS, CONVERTED, strict=True):
            self.put(path, crd(name))
        self.put(CONFIGURATION, webhook_configuration(NAMESPACE))

    def put(self, path: str, obj: RawObject) -> RawObject:
        self._version += 1
        stored = copy.deepcopy(obj)
        stored["metadata"]["resourceVersion"] = str(self._version)
        self.objects[path] = stored
        return stored

    def writes(self) -> list[tuple[str, str]]:
        """Method and last part of the path of every write, also of those refused."""
        return [(a.method, a.path.rsplit("/", 1)[1]) for a in self.asked if a.method != "GET"]

    def next_answer(self, request: web.Request) -> Answer:
        body = self.asked[-1].body

        async def give(_: web.Request) -> web.StreamResponse:
            status, answer = self._carry_out(request.method, request.path, body)
            return web.Response(status=status, body=orjson.dumps(answer), content_type="application/json")

        return give

    def _carry_out(self, method: str, path: str, body: bytes) -> tuple[int, RawObject]:
        if self.refuses[path] > 0:
            self.refuses[path] -= 1
            return 500, failure(500, "InternalError", message="refused")
        if method == "POST":
            obj = orjson.loads(body)
            path = f"{path}/{obj['metadata']['name']}"
            if path in self.objects:
                return 409, failure(409, "AlreadyExists", message="exists")
            return 201, self.put(path, obj)
        found = self.objects.get(path)
        if found is None:
            return 404, failure(404, "NotFound", message=f"{path} not found")
        if method == "GET":
            return 200, found
        if method == "PUT":
            obj = orjson.loads(body)
            if obj["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
                return 409, failure(409, "Conflict", message="changed meanwhile")
            return 200, self.put(path, obj)
        try:
            return 200, self.put(path, patched(found, orjson.loads(body)))
        except jsonpatch.JsonPatchException as error:
            return 422, failure(422, "Invalid", message=str(error))


def patched(obj: RawObject, operations: list[RawObject]) -> RawObject:
    """A test for null holds where there is nothing, as in the API server."""
    kept = []
    for op in operations:
        if op["op"] == "test" and op["value"] is None:
            parent = obj
            for part in op["path"].split("/")[1:-1]:
                parent = parent[int(part)] if isinstance(parent, list) else parent[part]
            if op["path"].rsplit("/", 1)[1] in parent:
                raise jsonpatch.JsonPatchTestFailed(op["path"])
        else:
            kept.append(op)
    result: RawObject = jsonpatch.apply_patch(obj, kept)
    return result


def crd(name: str, *, conversion: bool = True) -> RawObject:
    stanza = {
        "strategy": "Webhook",
        "webhook": {
            "conversionReviewVersions": ["v1"],
            "clientConfig": {"service": {"name": "s", "namespace": NAMESPACE, "path": "/convert"}},
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {"conversion": stanza if conversion else {"strategy": "None"}},
    }


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[tuple[ObjectsServer, LiveClient]]:
    server = ObjectsServer()
    async with server.running(), Transport(ClusterConfig(server.url)) as transport:
        yield server, LiveClient(transport, RestMapper(transport), user_agent="webhook-cert/v0 (test)")
