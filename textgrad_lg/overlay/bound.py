"""A graph with its texts built in: a copy of a compiled graph that opens its overlay at every run."""

# LangGraph ships no stubs, and leaves type arguments open in the signatures that are overridden here.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, TypeVar, cast

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config
from langgraph.pregel import Pregel
from typing_extensions import override

from textgrad_lg.errors import GraphError
from textgrad_lg.overlay.context import astepped, stepped
from textgrad_lg.overlay.door import Given, through_doors
from textgrad_lg.overlay.rewrite import Texts, check, merge
from textgrad_lg.overlay.scope import Scope, current, surroundings
from textgrad_lg.site import call_path

_GraphT = TypeVar("_GraphT")
_Source = Callable[[], Texts]

# What LangGraph puts into a config's "configurable": the mark of a run inside a node of another graph, and the keys by
# which a caller addresses a history of its own, which starts at the root even inside a node.
_TASK = "__pregel_task_id"
_OWN_HISTORY = frozenset({"thread_id", "checkpoint_ns", "checkpoint_id", "checkpoint_map"})


def bind(graph: _GraphT, source: _Source) -> _GraphT:
    """A copy of a compiled graph that runs with the texts of `source`.

    The copy's class is a subclass of the graph's, so it goes wherever the graph went: `invoke`, `stream` and their
    asynchronous forms, `with_config`, a node of another graph, `langgraph.json`. The graph itself is not changed.

    Under an explicit `overlay`, and inside another bound graph, the texts further out decide: they are the ones being
    tried. They are laid over these, Site by Site; Sites they do not name keep the texts of `source`. A text further out
    may start from the graph's own text or from what `source` makes of it.

    Args:
        graph: A compiled graph, or one that was bound before; then these texts are laid over the earlier ones.
        source: Gives the texts in force, by the Sites that the graph has when it runs on its own. Asked once at the
            start of each run, so that a run never mixes two versions and the next run has the new one.

    Returns:
        The bound copy.

    Raises:
        GraphError: `graph` is not a compiled graph of this process.
    """
    if not isinstance(graph, Pregel):
        raise GraphError(_why_not(graph))
    pregel = cast("Pregel[Any, Any, Any, Any]", graph)
    if isinstance(pregel, _Bound):
        below = pregel.texts_source
        bound = pregel.copy()
        bound.texts_source = lambda: merge(below(), source())
    else:
        bound = pregel.copy()
        bound.__class__ = _bound_class(type(pregel))
        cast("_Bound", bound).texts_source = source
    return cast("_GraphT", bound)


def unbind(graph: _GraphT) -> tuple[_GraphT, Texts]:
    """The graph under a bound one, and the texts that are in force on it now.

    Args:
        graph: A compiled graph, bound or not.

    Returns:
        A copy of the graph without its texts, and the texts; the graph itself and no texts where it is not bound.
    """
    if not isinstance(graph, _Bound):
        return graph, {}
    texts = graph.texts_source()
    plain = graph.copy()
    plain.__class__ = type(graph).__bases__[1]
    del plain.texts_source
    return cast("_GraphT", plain), texts


class _Bound(Pregel[Any, Any, Any, Any]):
    """What a bound graph does before the class it was made from.

    Every way of running a graph goes through `stream` or `astream`.
    """

    texts_source: _Source

    def __init__(self, *, texts_source: _Source, **attributes: Any) -> None:
        # Pregel.copy, and with it with_config, hands all attributes of the instance to the constructor.
        super().__init__(**attributes)
        self.texts_source = texts_source

    @override
    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        # As in `_scope`: the class may be another one by then.
        schema, run = self.context_schema, cast("Callable[..., Iterator[Any]]", super().stream)
        return stepped(self._scope(config), lambda scope: run(input, **_given(schema, scope, config, kwargs)))

    @override
    def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        schema, run = self.context_schema, cast("Callable[..., AsyncIterator[Any]]", super().astream)
        return astepped(self._scope(config), lambda scope: run(input, **_given(schema, scope, config, kwargs)))

    def _scope(self, config: RunnableConfig | None) -> Callable[[], Scope]:
        # Looked up now: where the texts were only attached, the run may begin after they were taken off.
        source, own = self.texts_source, self.config

        def scope() -> Scope:
            texts = source()
            check(texts)
            texts = _placed(texts, _configurable(own, config))
            around = current()
            return Scope(texts) if around is None else replace(around, texts=merge(texts, around.texts))

        return scope


def _given(
    schema: type[Any] | None, scope: Scope, config: RunnableConfig | None, options: Mapping[str, Any]
) -> dict[str, Any]:
    """The config and keyword arguments of a run, with the settings in force that come in by them."""
    if not any(site.context_field for site in scope.texts):
        return {**options, "config": config}
    given = Given(options.get("context"), (config or {}).get("configurable") or {})
    new, _ = through_doors(schema, given, scope.texts, ())
    if new.configurable is not given.configurable:
        config = cast("RunnableConfig", {**(config or {}), "configurable": new.configurable})
    return {**options, "config": config, **({} if new.context is given.context else {"context": new.context})}


@cache
def _bound_class(graph_class: type[Any]) -> type[Any]:
    return type(f"Bound{graph_class.__name__}", (_Bound, graph_class), {"__module__": graph_class.__module__})


def _configurable(*configs: RunnableConfig | None) -> Mapping[str, Any]:
    """The "configurable" that a run will have: the given ones over the ambient one, as LangGraph merges them."""
    given: dict[str, Any] = {}
    for config in configs:
        given |= (config or {}).get("configurable") or {}
    return given if given.keys() & _OWN_HISTORY else {**ensure_config().get("configurable", {}), **given}


def _placed(texts: Texts, configurable: Mapping[str, Any]) -> Texts:
    """The texts by the Sites that the graph has in this run: below the node that runs it, where one does."""
    prefix, _ = call_path(configurable if _TASK in configurable else None)
    _, agent = call_path(surroundings())
    if not prefix and agent is None:
        return texts
    # What belongs to no node is the same wherever the graph runs.
    placed = {site.within(prefix, agent): change for site, change in texts.items()}
    # A `Setting` handle is asked for by its own name, wherever that is; no call of this run is made there.
    return {site: change for site, change in texts.items() if site.is_setting} | placed


def _why_not(graph: object) -> str:
    kind = type(graph).__name__
    if callable(getattr(graph, "compile", None)):
        return f"this {kind} is not compiled; call .compile() and give the graph that it returns"
    if kind == "RemoteGraph":
        return "a RemoteGraph runs in another process, which has its prompts; give the graph there instead"
    return (
        f"a compiled LangGraph graph is needed, and this is a {kind}; make it a node of a StateGraph and compile that"
    )
