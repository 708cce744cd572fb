"""A controller runtime for asyncio: client, cache, work queue, controllers, manager, events, metrics, traces.

In come declarations of controllers (`builder`) and a cluster's configuration (`config`); out comes a `manager` that
keeps objects as the controllers want them. Knows nothing of role-based groups. May import `rbgctl.machinery` only.
"""

from rbgctl.runtime.fairness import checkpoint

__all__ = ["checkpoint"]
