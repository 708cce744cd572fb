"""The runtime as a library: one flat list of names that loads nothing before use, and nothing of the operator."""

import inspect
import pkgutil
import subprocess
import sys

from rbgctl import runtime
from rbgctl.runtime import public


def loaded_after(statement: str) -> set[str]:
    """The modules that a fresh interpreter has after `statement`."""
    program = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    return set(out.split())


def of(modules: set[str], *packages: str) -> set[str]:
    return {m for m in modules if m in packages or m.startswith(tuple(f"{p}." for p in packages))}


def test_importing_the_package_loads_nothing_yet() -> None:
    assert of(loaded_after("import rbgctl.runtime"), "rbgctl") == {"rbgctl", "rbgctl.runtime"}


def test_everything_public_comes_without_the_operator_models_or_generated_clients() -> None:
    """RT-PY-05: the cost of importing generated clients, model classes and tracing SDKs is never paid."""
    modules = loaded_after("from rbgctl.runtime import Manager, public")
    heavy = ("kubernetes", "kubernetes_asyncio", "pydantic", "opentelemetry", "typer", "hypothesis")
    assert of(modules, *heavy) == set()
    outside = {m for m in of(modules, "rbgctl") if not of({m}, "rbgctl.runtime", "rbgctl.machinery")}
    assert outside == {"rbgctl"}
    assert of(modules, "rbgctl.runtime.testing") == set()


def test_every_public_name_is_what_its_module_calls_it_and_says_what_it_is() -> None:
    for name in public.__all__:
        found = getattr(runtime, name)
        assert found is getattr(public, name)
        if inspect.isclass(found) or inspect.isfunction(found):
            assert found.__name__ == name
            assert inspect.getdoc(found) or name.endswith("_changed"), f"{name} has no docstring"
    assert set(public.__all__) <= set(dir(runtime))


def test_public_names_are_all_that_public_imports() -> None:
    """A name added to the imports and forgotten in the list would be public in one place and not in the other."""
    imported = {name for name in vars(public) if not name.startswith("_")}
    assert imported == set(public.__all__)


def test_no_public_name_is_that_of_a_module() -> None:
    """The module would take the place of the name as soon as anything imports it."""
    modules = {found.name for found in pkgutil.iter_modules(runtime.__path__)}
    assert not modules & set(public.__all__)


def test_a_wrong_name_is_an_attribute_error() -> None:
    assert not hasattr(runtime, "Operator")
