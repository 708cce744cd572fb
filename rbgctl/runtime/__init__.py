"""A controller runtime for asyncio: controllers on informers, work queues and server-side writes.

`from rbgctl.runtime import Builder, Context, GVK, Manager` and the other names of `public` are all that an operator
needs; docs/runtime.md shows how to write one. In: watches of an API server. Out: calls of your reconcile function,
and what it writes. Knows nothing of any particular operator; imports only rbgctl.machinery.

Importing the package itself costs nothing: the names are loaded when the first of them is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rbgctl.runtime.public import *  # noqa: F403 - what __getattr__ gives
else:

    def __getattr__(name: str) -> Any:
        if name == "__all__" or not name.startswith("_"):
            public = importlib.import_module("rbgctl.runtime.public")
            # Empty while `public` itself is being imported and a module below asks for a sibling.
            if name in ("__all__", *getattr(public, "__all__", ())):
                globals()[name] = getattr(public, name)
                return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *importlib.import_module("rbgctl.runtime.public").__all__})
