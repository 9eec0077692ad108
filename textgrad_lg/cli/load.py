"""What an argument names: `package.module:name`, or `path/to/file.py:name` as in a `langgraph.json`."""

from __future__ import annotations

import importlib
import sys
from argparse import ArgumentTypeError
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any


def load(reference: str) -> Any:
    """The object that an argument names; its module is imported with the current folder on the path.

    Args:
        reference: A module or a file, a colon, and a name in it, which may have dots.

    Raises:
        ArgumentTypeError: There is no such module, file or name. What the module itself raises is raised as it is.
    """
    source, colon, name = reference.rpartition(":")
    if not colon or not source or not name:
        raise ArgumentTypeError(f"{reference!r} names nothing: write module:name, or path/to/file.py:name")
    module = _file(Path(source)) if source.endswith(".py") else _module(source, Path.cwd())
    try:
        return attrgetter(name)(module)
    except AttributeError as error:
        raise ArgumentTypeError(f"{source} has no {name!r}") from error


def _module(name: str, folder: Path) -> ModuleType:
    # As `python -m` and `python file.py` do it: the module finds what lies beside it.
    if (first := str(folder)) not in sys.path:
        sys.path.insert(0, first)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there, and one that it imports is not
        raise ArgumentTypeError(f"there is no module {error.name!r}, here or installed") from error


def _file(path: Path) -> ModuleType:
    path = path.resolve()
    if not path.is_file():
        raise ArgumentTypeError(f"there is no file {path}")
    module = _module(path.stem, path.parent)
    if module.__file__ is None or Path(module.__file__).resolve() != path:
        raise ArgumentTypeError(f"the module {path.stem!r} is another one than {path}; give it another name")
    return module
