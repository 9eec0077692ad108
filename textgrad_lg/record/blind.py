"""What in a function's code hides model calls: clients that langchain-core knows nothing of, and threads without context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from threading import Thread
from types import CodeType, FunctionType, ModuleType
from typing import cast

from textgrad_lg.record.held import Blind
from textgrad_lg.record.peek import SDKS, attributes_in, imports_in, names_in, origin, title_of

_STARTERS = ("Thread", "Timer", "ThreadPoolExecutor", "ProcessPoolExecutor", "Process")
_MODULES = ("threading", "concurrent", "multiprocessing")


def blind_spots(function: FunctionType, path: tuple[str, ...], values: Sequence[object]) -> Iterator[Blind]:
    """What a function refers to that hides model calls; nothing of it is run.

    Args:
        function: A function of the user's.
        path: The node that it belongs to.
        values: What the names in its code stand for, as far as that is known.
    """
    where, code = title_of(function), function.__code__
    imports = list(imports_in(code))
    packages = (package for module in (*map(origin, values), *imports) if (package := _sdk(module)))
    for package in dict.fromkeys(packages):
        yield Blind(path, "client", package, where)
    if "init_chat_model" in names_in(code):
        yield Blind(path, "model", "", where)
    for starter in dict.fromkeys(_starters(code, values, imports)):
        yield Blind(path, "thread", starter, where)


def _sdk(module: str) -> str | None:
    return next((package for package in SDKS if module == package or module.startswith(f"{package}.")), None)


def _starters(code: CodeType, values: Sequence[object], imports: Sequence[str]) -> Iterator[str]:
    for value in values:
        kind = cast("type[object]", value if isinstance(value, type) else type(value))
        # LangChain's own executor carries the context along.
        if issubclass(kind, (Thread, Executor)) and not origin(kind).startswith("langchain"):
            yield kind.__name__
    looked_up = attributes_in(code)
    if "run_in_executor" in looked_up:
        yield "run_in_executor"
    for module in (*(value.__name__ for value in values if isinstance(value, ModuleType)), *imports):
        package, _, name = module.rpartition(".")
        if module.partition(".")[0] in _MODULES:
            yield from (starter for starter in _STARTERS if starter in looked_up or (package and starter == name))
