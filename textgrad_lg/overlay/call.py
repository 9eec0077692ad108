"""One model call under an overlay: its rewritten messages, what is remembered of it, and its admission by the meter."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Self

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import Generation
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config

from textgrad_lg.overlay.rewrite import rewrite
from textgrad_lg.overlay.scope import Recall, current, surroundings
from textgrad_lg.overlay.settings import lay
from textgrad_lg.overlay.tools import rewrite_options
from textgrad_lg.site import call_path
from textgrad_lg.types import Meter, ModelCall, Ticket

_SENT_AS_JSON = ("tools", "functions", "response_format", "output_config", "output_format", "response_json_schema")
_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")


class Call:
    """One call of a chat model's method, with one prompt or several; each prompt is a call to the meter.

    As a context manager it makes sure that every ticket is settled, however the call ends.

    Attributes:
        model: The model that is called.
        answering: The model to call in its place: itself, or one that gives the replies that are remembered.
        prompts: The rewritten messages, a list for each prompt.
        made: All messages that this call and those around it prepared.
        told: What callbacks are told of it beside what the caller gives them, as metadata.
    """

    def __init__(
        self,
        model: BaseChatModel,
        prompts: list[list[BaseMessage]],
        made: Sequence[BaseMessage],
        tickets: list[Ticket | None],
        recall: Recall | None = None,
        *,
        told: Mapping[str, str] | None = None,
    ) -> None:
        self.model, self.prompts, self.made = model, prompts, made
        self.told: Mapping[str, str] = told or {}
        self.answering = model if recall is None else recall.model
        self._tickets, self._recall = tickets, recall
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon()

    @contextmanager
    def step(self) -> Generator[None]:
        """Mark what runs inside as part of this call. Must not enclose a `yield` to a caller."""
        token = _IN_CALL.set(self)
        try:
            yield
        finally:
            _IN_CALL.reset(token)

    def metadata(self, given: dict[str, Any] | None) -> dict[str, Any] | None:
        """The metadata to make the call with: what the caller gave, and what is told of it."""
        return {**(given or {}), **self.told} if self.told else given

    def configured(self, given: RunnableConfig | None) -> RunnableConfig | None:
        """The config to make the call with: what the caller gave, and what is told of it."""
        if not self.told:
            return given
        around = ensure_config(given).get("metadata")
        return {**(given or {}), "metadata": {**(around or {}), **self.told}}

    def settle(self, usages: Sequence[UsageMetadata | None]) -> None:
        """Settle each prompt's ticket with what it used; does nothing the second time."""
        with self._lock:
            tickets, self._tickets = self._tickets, []
        for at, ticket in enumerate(tickets):
            usage = usages[at] if at < len(usages) else None
            if ticket is not None:
                _settle(ticket, usage)

    @property
    def remembered(self) -> bool:
        """Whether somebody wants to know what it gives."""
        return self._recall is not None

    def keep(self, replies: Sequence[Sequence[Generation]], output: Mapping[str, Any] | None = None) -> None:
        """Have the replies remembered, a list for each prompt; does nothing the second time."""
        if self._recall is not None:
            self._recall.keep(replies, output)

    def forget(self) -> None:
        """Have nothing remembered of it: calls made inside it are remembered, and may come out otherwise next time."""
        if self._recall is not None:
            self._recall.drop()

    def abandon(self) -> None:
        """Settle what is not settled yet: the call failed, or nobody read it to its end."""
        self.settle(())
        self.forget()


_IN_CALL: ContextVar[Call | None] = ContextVar("textgrad_lg_call", default=None)


def open_call(
    model: BaseChatModel,
    prompts: list[list[BaseMessage]],
    metadata: Mapping[str, Any] | None,
    stop: list[str] | None,
    options: Mapping[str, Any],
) -> tuple[Call, Mapping[str, Any]] | None:
    """Rewrite, report and admit a call that is about to be made.

    Args:
        model: The model.
        prompts: The messages as the caller gave them, a list for each prompt.
        metadata: The metadata that the caller gave; the rest is taken from the ambient config, because `generate` and a
            caller's own metadata would otherwise hide where in the graph the call is made.
        stop: The call's stop words.
        options: The call's keyword arguments.

    Returns:
        The call, and the keyword arguments to make it with; None where no overlay is in force. A call that only fell back
        from one method to another (`stream` to `generate`) gets the enclosing Call again: it is rewritten and admitted
        already, and whoever learns first what it used settles it.

    Raises:
        BudgetExhausted: The meter refused it.
    """
    scope = current()
    if scope is None:
        return None
    outer = _IN_CALL.get()
    if outer is not None and (outer.model is model or outer.answering is model) and outer.prompts == prompts:
        return outer, options
    made = outer.made if outer is not None else ()
    # Where nobody asks where the call is made, it is not looked up: that takes as long as all the rest of this.
    asked = bool(scope.texts) or scope.memory is not None or scope.sets
    place = {**surroundings(), **(metadata or {})} if asked else {}
    if scope.texts:
        path, agent = call_path(place)
        prompts = [rewrite(messages, path, agent, scope.texts, made) for messages in prompts]
        options = rewrite_options(options, scope.texts)
    told: Mapping[str, str] = {}
    if scope.sets:
        path, agent = call_path(place)
        options, told = lay(model, stop, options, scope, path=path, agent=agent)
    if scope.seen is not None:
        scope.seen(model)
    if outer is not None:
        outer.forget()
    recall = None if scope.memory is None else scope.memory.recall(model, prompts, stop, options, place)
    known = () if recall is None else recall.known
    try:
        tickets = [] if scope.meter is None else _admit(scope.meter, model, prompts, stop, options, known=known)
    except BaseException:
        if recall is not None:
            recall.drop()
        raise
    made = [*made, *(message for messages in prompts for message in messages)]
    return Call(model, prompts, made, tickets, recall, told=told), options


def usage_of(generations: Sequence[Generation]) -> UsageMetadata | None:
    """What one prompt's replies used. Each of several choices carries the usage of the whole request: it counts once."""
    usages = [usage for generation in generations if (usage := _message_usage(generation)) is not None]
    return max(usages, key=lambda usage: usage["total_tokens"], default=None)


def _message_usage(generation: Generation) -> UsageMetadata | None:
    message: object = getattr(generation, "message", None)
    usage = message.usage_metadata if isinstance(message, AIMessage) else None
    if usage is None:
        return None
    # LangChain's own cache answers without a call, and marks the usage it remembers with a cost of nothing.
    if usage.get("total_cost") == 0:
        return UsageMetadata(input_tokens=0, output_tokens=0, total_tokens=0)
    return usage


def _admit(
    meter: Meter,
    model: BaseChatModel,
    prompts: Sequence[Sequence[BaseMessage]],
    stop: list[str] | None,
    options: Mapping[str, Any],
    *,
    known: Sequence[bool],
) -> list[Ticket | None]:
    # LangChain documents this method as the one that providers override to name themselves.
    params = model._get_ls_params(stop=stop, **options)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    limits = (value for name in _LIMITS if isinstance(value := options.get(name), int))
    limit = next(limits, params.get("ls_max_tokens"))
    choices = options.get("n") or getattr(model, "n", None)
    if limit is not None and isinstance(choices, int):
        limit *= choices
    extra = sum(len(json.dumps(options[name], default=str)) for name in _SENT_AS_JSON if options.get(name))
    tickets: list[Ticket | None] = []
    try:
        for at, messages in enumerate(prompts):
            if known and known[at]:
                tickets.append(None)
                continue
            size = extra + sum(_size(message) for message in messages)
            tickets.append(
                meter.admit(
                    ModelCall(params.get("ls_provider", ""), params.get("ls_model_name", ""), -(-size // 3), limit)
                )
            )
    except BaseException:
        # A batch goes out whole or not at all: what was admitted before the refusal used nothing.
        for ticket in tickets:
            if ticket is not None:
                ticket.settle(0, 0)
        raise
    return tickets


def _size(message: BaseMessage) -> int:
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    return len(message.text) + (len(json.dumps(calls, default=str)) if calls else 0)


def _settle(ticket: Ticket, usage: UsageMetadata | None) -> None:
    if usage is None:
        ticket.settle(None, None)
    else:
        ticket.settle(usage["input_tokens"], usage["output_tokens"])
