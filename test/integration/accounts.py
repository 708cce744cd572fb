"""A manager under test is the service account that config/rbac ships, never admin: a missing right fails the test."""

from rbgctl import rbac
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.testing.envtest import EnvTest


async def manager_account(env: EnvTest) -> ClusterConfig:
    """With a token of that account, after installing its rights."""
    admin = env.client()
    for obj in rbac.objects():
        await admin.apply(obj, field_manager="test")
    return await env.config_for_service_account(rbac.NAMESPACE, rbac.SERVICE_ACCOUNT)
