"""The settings of one call of a model or retriever: what they are by the graph, and what is laid over them.

A setting is laid as a keyword argument of the call, which providers put over what their object was made with. What was in
force is told to callbacks in the call's metadata, where somebody watches: no other door tells a recorder of a
retriever's settings, or of a model's that its class does not report.
"""

from __future__ import annotations

import dis
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models import BaseChatModel

from textgrad_lg.domain import telling
from textgrad_lg.overlay.rewrite import replaced
from textgrad_lg.site import Site

if TYPE_CHECKING:
    from textgrad_lg.overlay.scope import Scope

UNKNOWN, IGNORED = "has no setting", "does not read"
"""What a note says: that a setting is not known where it was looked for, or would be laid there without effect."""

_COMMON = frozenset(
    {"model", "temperature", "top_p", "max_tokens", "seed", "frequency_penalty", "presence_penalty", "reasoning_effort"}
)
"""Settings that a chat model may take without telling of them."""
_ALIASES = {"model": ("model_name", "model_id")}
_SYNONYMS = {"max_tokens": ("max_completion_tokens", "max_output_tokens")}
"""Where a model tells of a setting by another name, that name decides: OpenAI's Responses API goes by it if it is given both."""
_ANSWERING = ("_generate", "_agenerate", "_stream", "_astream")


@dataclass(frozen=True, slots=True)
class Watch:
    """Which settings somebody wants to know of.

    Attributes:
        sites: Their Sites.
        notes: What stands in the way of some of them, in words, each once, in order; each begins with the Site.
    """

    sites: frozenset[Site]
    notes: dict[str, None] = field(default_factory=dict[str, None])


@dataclass(frozen=True, slots=True)
class Found:
    """A setting of a call, as the graph has it.

    Attributes:
        value: Its value; None where the graph leaves it to the provider.
        why_not: Why nothing can be laid there, in words; empty where it can.
        name: The keyword argument that it is laid as, where that has another name.
    """

    value: Any = None
    why_not: str = ""
    name: str = ""


def settle(
    scope: Scope, kind: str, path: tuple[str, ...], agent: str | None, find: Callable[[str], Found]
) -> tuple[dict[str, Any], dict[str, str]]:
    """What to lay on a call, and what to tell of it.

    A change is laid where the graph's own value is the one that it was made for, as for a text. One whose new text is
    null leaves the call as it is.

    Args:
        scope: What is in force.
        kind: "llm" or "retriever".
        path: Where the call is made.
        agent: The agent that makes it.
        find: Finds a setting of the call by its name.

    Returns:
        The new values by name, and the metadata to add: nothing where nobody watches a setting of this call.
    """
    laid: dict[str, Any] = {}
    told: dict[Site, str] = {}
    watched = scope.watch.sites if scope.watch is not None else frozenset[Site]()
    here = (site for site in {*watched, *scope.texts} if site.is_setting and (site.node, site.agent) == (path, agent))
    for site in sorted(here):
        own = find(site.role)
        if own.why_not:
            if scope.watch is not None:
                scope.watch.notes[f"{site}: {own.why_not}"] = None
            continue
        text = json.dumps(own.value, ensure_ascii=False)
        change = scope.texts.get(site)
        new = replaced(change, text) if change is not None else None
        if new is not None and (value := json.loads(new)) is not None:
            laid[own.name or site.role], text = value, new
        if site in watched:
            told[site] = text
    return laid, telling(kind, told)


def any_setting(sites: Iterable[Site]) -> bool:
    """Whether a Site is that of a setting."""
    return any(site.is_setting for site in sites)


def lay(
    model: BaseChatModel,
    stop: list[str] | None,
    options: Mapping[str, Any],
    scope: Scope,
    *,
    path: tuple[str, ...],
    agent: str | None,
) -> tuple[Mapping[str, Any], dict[str, str]]:
    """The keyword arguments of a model call with the settings in force, and the metadata that tells of them."""
    known: list[dict[str, Any]] = []

    def find(name: str) -> Found:
        if not known:
            known.append(_known(model, stop, options))
        return _of_model(model, name, known[0])

    laid, told = settle(scope, "llm", path, agent, find)
    return ({**options, **laid} if laid else options), told


def reads(function: Callable[..., Any], name: str) -> bool:
    """Whether a function looks at its keyword argument `name`, as far as its code shows."""
    # What wraps it may look at anything; then its own code decides.
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return True
    count = code.co_argcount + code.co_kwonlyargcount
    if name in code.co_varnames[:count]:
        return True
    if not code.co_flags & inspect.CO_VARKEYWORDS:
        return False
    rest = code.co_varnames[count + bool(code.co_flags & inspect.CO_VARARGS)]
    return any(_loads(step, rest) for step in dis.get_instructions(code))


def plain(value: Any) -> bool:
    """Whether a value can be a setting's: a text, a number or a boolean."""
    return isinstance(value, (str, int, float))


def _known(model: BaseChatModel, stop: list[str] | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a call is set to, as LangChain tells callbacks, under the names that keyword arguments have."""
    # LangChain documents these as what providers override to tell of a call.
    params = model._get_invocation_params(stop=stop, **options)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    shared = model._get_ls_params(stop=stop, **options)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    found = {**params, **{name: value for name, value in options.items() if value is not None}}
    for name, key in (("model", "model_name"), ("temperature", "temperature"), ("max_tokens", "max_tokens")):
        value = cast("Mapping[str, Any]", shared).get(f"ls_{key}")
        if value is not None and not found.keys() & {name, *_SYNONYMS.get(name, ())}:
            found[name] = value
    return found


def _of_model(model: BaseChatModel, name: str, known: Mapping[str, Any]) -> Found:
    kind = type(model)
    fields = [field for field in (name, *_ALIASES.get(name, ())) if field in kind.model_fields]
    if name not in known and not fields and name not in _COMMON:
        has = sorted({*_COMMON, *(key for key, value in known.items() if plain(value) and not key.startswith("_"))})
        return Found(why_not=f"the model {kind.__name__} {UNKNOWN} {name!r}; it may have {', '.join(has)}")
    if not _taken(kind, name):
        return Found(
            why_not=f"the model {kind.__name__} {IGNORED} the keyword arguments of a call, so that {name!r} would be laid "
            "there without effect; give the model a `_generate` that does, or hold the value in a Setting"
        )
    names = (name, *_SYNONYMS.get(name, ()))
    value = next((value for at in names if (value := known.get(at)) is not None), None)
    if value is None:
        value = next((value for field in fields if plain(value := getattr(model, field, None))), None)
    return Found(value if plain(value) else None, name=next((at for at in names if at in known), ""))


@lru_cache(maxsize=256)
def _taken(kind: type[BaseChatModel], name: str) -> bool:
    """Whether what a model class answers by looks at a keyword argument of the call."""
    own = [method for method in _ANSWERING if getattr(kind, method) is not getattr(BaseChatModel, method)]
    return all(reads(getattr(kind, method), name) for method in own)


def _loads(step: dis.Instruction, name: str) -> bool:
    given = step.argval
    # Newer Pythons load two variables at once.
    return step.opname.startswith("LOAD") and (given == name or (isinstance(given, tuple) and name in given))
