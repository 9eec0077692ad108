"""Names of a package that are imported when they are first asked for (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package whose public names are imported when they are first used.

    Under `TYPE_CHECKING` the package imports the same names as ever, for type checkers and editors. A name that is also
    the name of a module in the package cannot be lazy: once the module is imported, it stands in the name's place.

    Args:
        package: The package's `__name__`.
        names: For each module below the package, which is given out as well, the names to take from it, with blanks
            between them.

    Returns:
        The two functions. The first raises AttributeError for any other name, as a module does.
    """
    homes = {name: f"{package}.{module}" for module, found in names.items() for name in found.split()}

    def attribute(name: str) -> Any:
        if name in names:
            return import_module(f"{package}.{name}")
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found = getattr(import_module(homes[name]), name)
        # From now on it is an attribute like any other, and this function is not asked again.
        setattr(sys.modules[package], name, found)
        return found

    def directory() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes, *names})

    return attribute, directory
