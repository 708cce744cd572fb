"""Runs the manager as its own process on a local control plane, under the service account that config/rbac ships."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

import aiohttp

from rbgctl import rbac
from rbgctl.runtime.testing.envtest import LOOPBACK, EnvTest, free_port
from rbgctl.runtime.testing.processes import ControlPlaneCrashed, tail

READY_TIMEOUT = 60.0


class ManagerProcess:
    """One manager process. Its log is `log`; `metrics()` reads its metrics endpoint.

    Webhooks are off and metrics plain unless `arguments` say otherwise: the last mention of a flag wins.
    environment: variables besides those of this process.
    """

    def __init__(
        self,
        env: EnvTest,
        kubeconfig: Path,
        name: str,
        arguments: tuple[str, ...],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._env = env
        self._kubeconfig = kubeconfig
        self._arguments = arguments
        self._environment = dict(environment or {})
        self.name = name
        self.log = env.directory / f"{name}.log"
        self.health_port = free_port()
        self.metrics_port = free_port()

    @property
    def pid(self) -> int:
        return self._env.processes.pids[self.name]

    async def start(self) -> None:
        """Start and wait until it says that it is ready. Raises ControlPlaneCrashed with the end of its log."""
        await self._env.processes.start(
            self.name,
            [
                sys.executable,
                "-m",
                "rbgctl.cli.main",
                "manager",
                f"--kubeconfig={self._kubeconfig}",
                f"--health-probe-bind-address={LOOPBACK}:{self.health_port}",
                f"--metrics-bind-address={LOOPBACK}:{self.metrics_port}",
                "--metrics-secure=false",
                "--enable-webhooks=none",
                *self._arguments,
            ],
            env=self._environment,
        )
        try:
            async with asyncio.timeout(READY_TIMEOUT):
                await self._until_ready()
        except TimeoutError:
            raise ControlPlaneCrashed(
                f"the manager was not ready within {READY_TIMEOUT:g} s; the end of its log:\n{tail(self.log)}"
            ) from None

    async def _until_ready(self) -> None:
        # Before it listens there is nothing to wait on; polling ends with its first answer or its end.
        while self.name in self._env.processes.pids:
            if await self._answer(self.health_port, "/readyz") == 200:
                return
            await asyncio.sleep(0.05)
        if self._env.failed.done():
            self._env.failed.result()
        raise ControlPlaneCrashed(f"the manager ended; the end of its log:\n{tail(self.log)}")

    async def _answer(self, port: int, path: str) -> int:
        try:
            async with aiohttp.ClientSession() as session, session.get(f"http://{LOOPBACK}:{port}{path}") as answer:
                return answer.status
        except (aiohttp.ClientError, OSError):
            return 0

    async def metrics(self) -> str:
        """The text of its /metrics."""
        url = f"http://{LOOPBACK}:{self.metrics_port}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return await answer.text()

    async def stop(self, grace: float = 30.0) -> None:
        """SIGTERM, then SIGKILL after `grace` seconds; 0 kills at once."""
        if self.name in self._env.processes.pids:
            await self._env.processes.stop(self.name, grace)

    async def kill(self) -> None:
        """kill -9."""
        await self.stop(0.0)


async def deploy(
    env: EnvTest,
    *arguments: str,
    name: str = "manager",
    start: bool = True,
    environment: Mapping[str, str] | None = None,
) -> ManagerProcess:
    """Install RBAC and run the manager with `arguments` added to its command line."""
    admin = env.client()
    for obj in rbac.objects():
        await admin.apply(obj, field_manager="playground")
    config = await env.config_for_service_account(rbac.NAMESPACE, rbac.SERVICE_ACCOUNT)
    process = ManagerProcess(env, env.write_kubeconfig(config, name), name, arguments, environment)
    if start:
        await process.start()
    return process
