"""A process-wide patch of `BaseRetriever.invoke` and `ainvoke`, while an overlay is open that lays or watches settings.

It is scoped and taken off as the chat model's is. A subclass that overrides one of the two and does not call `super()` is
out of reach, and so is a vector store that is searched without a retriever.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config

from textgrad_lg.overlay.call import SENDERS
from textgrad_lg.overlay.chatmodel import WRAPPERS
from textgrad_lg.overlay.scope import Scope, current, surroundings
from textgrad_lg.overlay.settings import IGNORED, UNKNOWN, Found, plain, reads, settle
from textgrad_lg.overlay.wrappers import Wrappers
from textgrad_lg.site import call_path

if TYPE_CHECKING:
    from langchain_core.retrievers import BaseRetriever

_Method = Callable[..., Any]
_COMMON = ("k", "fetch_k", "lambda_mult", "score_threshold")
"""Settings that a retriever over a vector store may take without telling of them."""


@contextmanager
def patched(scope: Scope) -> Generator[None]:
    """Have the patches on that a Scope needs."""
    with WRAPPERS.on(), SENDERS.on():
        if not scope.sets:
            yield
            return
        with _wrappers().on():
            yield


@functools.cache
def _wrappers() -> Wrappers:
    # LangGraph's own import does not bring retrievers in.
    from langchain_core.retrievers import BaseRetriever

    return Wrappers(BaseRetriever, {"invoke": _invoke, "ainvoke": _ainvoke})


def _invoke(original: _Method) -> _Method:
    @functools.wraps(original)
    def invoke(
        self: BaseRetriever,
        input: str,  # noqa: A002  LangChain's name for it
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        retriever, config, kwargs = _settled(self, config, kwargs)
        return original(retriever, input, config, **kwargs)

    return invoke


def _ainvoke(original: _Method) -> _Method:
    @functools.wraps(original)
    async def ainvoke(
        self: BaseRetriever,
        input: str,  # noqa: A002  LangChain's name for it
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        retriever, config, kwargs = _settled(self, config, kwargs)
        return await original(retriever, input, config, **kwargs)

    return ainvoke


def _settled(
    retriever: BaseRetriever, config: RunnableConfig | None, options: dict[str, Any]
) -> tuple[BaseRetriever, RunnableConfig | None, dict[str, Any]]:
    """The retriever, config and keyword arguments with the settings in force."""
    scope = current()
    if scope is None or not scope.sets:
        return retriever, config, options
    around = ensure_config(config).get("metadata") or {}
    path, agent = call_path({**surroundings(), **around})
    laid, told = settle(scope, "retriever", path, agent, lambda name: _found(retriever, name, options))
    if told:
        config = {**(config or {}), "metadata": {**around, **told}}
    if laid:
        # A retriever that has it as a field reads it there, whatever else it is given.
        fields = {name: value for name, value in laid.items() if name in type(retriever).model_fields}
        retriever = retriever.model_copy(update=fields) if fields else retriever
        options = {**options, **{name: value for name, value in laid.items() if _taken(type(retriever), name)}}
    return retriever, config, options


def _found(retriever: BaseRetriever, name: str, options: Mapping[str, Any]) -> Found:
    kind = type(retriever)
    known: dict[str, Any] = {**getattr(retriever, "search_kwargs", {}), **options}
    fields = kind.model_fields
    if name not in known and name not in fields and name not in _COMMON:
        has = sorted({*_COMMON, *known})
        return Found(why_not=f"the retriever {kind.__name__} {UNKNOWN} {name!r}; it may have {', '.join(has)}")
    if name not in fields and not _taken(kind, name):
        return Found(
            why_not=f"the retriever {kind.__name__} {IGNORED} the keyword arguments of a call and has no field {name!r}, so "
            "that it would be laid there without effect; hold the value in a Setting"
        )
    value = known.get(name, getattr(retriever, name, None))
    return Found(value if plain(value) else None)


@functools.lru_cache(maxsize=256)
def _taken(kind: type[BaseRetriever], name: str) -> bool:
    """Whether a retriever's class is given the keyword arguments of a call, and looks at this one."""
    # What LangChain's own `invoke` decides by.
    takes: bool = kind._expects_other_args  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return takes and reads(kind._get_relevant_documents, name)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
