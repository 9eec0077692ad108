"""One model call under an overlay: its rewritten messages, what is remembered of it, and its admission by the meter."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Self, TypeGuard

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import Generation
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config

from textgrad_lg.llm import asked_too_much
from textgrad_lg.overlay.attempts import Admission, Attempts, hears, hides_retries
from textgrad_lg.overlay.limits import Place
from textgrad_lg.overlay.rewrite import rewrite
from textgrad_lg.overlay.scope import Recall, Scope, current, surroundings
from textgrad_lg.overlay.senders import Senders
from textgrad_lg.overlay.settings import lay
from textgrad_lg.overlay.tools import rewrite_options
from textgrad_lg.site import call_path
from textgrad_lg.types import Asked, Meter, ModelCall, Ticket, Waits

_SENT_AS_JSON = ("tools", "functions", "response_format", "output_config", "output_format", "response_json_schema")
_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")


class Call:
    """One call of a chat model's method, with one prompt or several; each prompt is a call to the meter.

    `enter` or `aenter` comes before the call is made. As a context manager it makes sure that every ticket is settled and
    the place left, however the call ends.

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
        scope: Scope,
        recall: Recall | None = None,
        *,
        request: tuple[list[str] | None, Mapping[str, Any]] = (None, {}),
        told: Mapping[str, str] | None = None,
        inside: bool = False,
    ) -> None:
        self.model, self.prompts, self.made = model, prompts, made
        self.told: Mapping[str, str] = told or {}
        self.answering = model if recall is None else recall.model
        self._scope, self._recall, self._inside = scope, recall, inside
        self._request = request
        self._tickets: list[Admission | None] = []
        self.attempts: Attempts | None = None
        self._place: Place | None = None
        self._asked: Asked | None = None
        self._entered = self._lent = self._given_up = False
        # Reentrant: the garbage collector may close an abandoned stream, and abandon its call, at any allocation.
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.abandon(error)
        refused = self.refused
        if error is not None and refused is not None and error is not refused:
            raise refused from None

    @property
    def refused(self) -> BaseException | None:
        """Why an attempt of its client was not let through, whatever the client and LangChain have made of that."""
        return None if self.attempts is None else self.attempts.refused

    def enter(self, *, whole: bool = True) -> None:
        """Wait until the call may be made, and have it admitted; does nothing the second time.

        Args:
            whole: Whether the reply comes in one piece. A stream's end is up to whoever reads it, and nobody waits for it.

        Raises:
            BudgetExhausted: The meter refused it.
        """
        # A thread whose event loop it would hold up cannot wait: what it waits for may need that loop.
        for future in self._entering(whole, wait=asyncio._get_running_loop() is None):  # noqa: SLF001
            try:
                future.result()
            except CancelledError as error:
                raise asyncio.CancelledError("nobody waits for this call any longer") from error

    async def aenter(self, *, whole: bool = True) -> None:
        """As `enter`, without holding up the event loop."""
        for future in self._entering(whole, wait=True):
            await asyncio.wrap_future(future)

    def _entering(self, whole: bool, *, wait: bool) -> Generator[Future[Any]]:
        """Gives what is to be waited for, one after another."""
        if self._entered:
            return
        self._entered = True
        scope, recall = self._scope, self._recall
        limits, meter = scope.limits, scope.meter
        listening = hears(meter)
        if listening is not None:
            listening.entered(self)
        # What is made inside a call, or while its stream is being read, must wait for nothing: others wait for that call.
        wait = wait and not self._inside and not (limits is not None and limits.is_lent(meter))
        if recall is not None and whole and wait and scope.flight is not None:
            while (under_way := recall.join(scope.flight)) is not None:
                yield under_way
            self.answering = recall.model
        answered = recall is not None and bool(recall.known) and all(recall.known)
        if not answered and (limits is not None or meter is not None):
            yield from self._admitted(wait=wait)

    def _admitted(self, *, wait: bool) -> Generator[Future[Any]]:
        """Gives what is to be waited for until there is a place for the call and room for it, and has it admitted.

        It holds its place while it waits for room. Nothing can stand still by that: what is waited for is the end of calls
        that are admitted, and these had their places before; what they call inside takes a place at once.
        """
        scope, recall = self._scope, self._recall
        limits, meter = scope.limits, scope.meter
        stop, options = self._request
        # LangChain documents this method as the one that providers override to name themselves.
        params = self.model._get_ls_params(stop=stop, **options)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        known = () if recall is None else recall.known
        if limits is not None and not self._inside:
            name = params.get("ls_provider"), params.get("ls_model_name") or type(self.model).__qualname__
            self._place = limits.of(name).ask(len(self.prompts) - sum(known), at_once=not wait)
            if self._given_up:
                self._leave()
            if self._place.future is not None:
                yield self._place.future
        if meter is not None:
            calls = _calls(self.model, self.prompts, params, options, known=known)
            admitted: Sequence[Ticket] | None = None
            asked = meter.ask([call for call in calls if call is not None]) if wait and _waits(meter) else None
            if asked is not None:
                self._asked = asked
                if self._given_up:
                    asked.leave()
                while isinstance(taken := asked.take(), Future):
                    yield taken
                admitted = taken
            self._tickets = _admit(meter, self.model, calls, admitted)
            self.attempts = Attempts([ticket for ticket in self._tickets if ticket is not None])

    def lend(self) -> None:
        """Its stream is handed to whoever reads it."""
        if not self._lent:
            self._lent = True
            self._hand_over(lent=True)

    def take_back(self) -> None:
        """Its stream goes on."""
        if self._lent:
            self._lent = False
            self._hand_over(lent=False)

    def _hand_over(self, *, lent: bool) -> None:
        limits, meter = self._scope.limits, self._scope.meter
        if limits is not None and self._place is not None:
            limits.lend(meter) if lent else limits.take_back(meter)
        for ticket in self._tickets:
            if ticket is not None:
                ticket.lend(lent=lent)

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
        self._leave(well=True)

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

    def abandon(self, error: BaseException | None = None) -> None:
        """Settle what is not settled yet: the call failed, or nobody read it to its end."""
        self._given_up = True
        with self._lock:
            tickets, self._tickets = self._tickets, []
        for ticket in tickets:
            if ticket is not None:
                ticket.give_up(error)
        refused, after = (False, None) if error is None else asked_too_much(error)
        self._leave(refused=refused, after=after)
        self.forget()

    def _leave(self, *, well: bool = False, refused: bool = False, after: float | None = None) -> None:
        self.take_back()
        place = self._place
        if place is not None:
            place.leave(well=well, refused=refused, after=after)
            if place.future is not None:
                place.future.cancel()  # of a thread that still waits for it
        if self._asked is not None:
            self._asked.leave()


_IN_CALL: ContextVar[Call | None] = ContextVar("textgrad_lg_call", default=None)


def _attempts() -> Attempts | None:
    call = _IN_CALL.get()
    return None if call is None else call.attempts


SENDERS = Senders(_attempts)
"""Watches the requests of this process that are made in metered calls; as `chatmodel.WRAPPERS`, back to nothing in the end."""


def open_call(
    model: BaseChatModel,
    prompts: list[list[BaseMessage]],
    metadata: Mapping[str, Any] | None,
    stop: list[str] | None,
    options: Mapping[str, Any],
) -> tuple[Call, Mapping[str, Any]] | None:
    """Rewrite, report and look up a call that is about to be made; `Call.enter` then has it admitted.

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
    made = [*made, *(message for messages in prompts for message in messages)]
    inside = outer is not None
    return Call(model, prompts, made, scope, recall, request=(stop, options), told=told, inside=inside), options


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


@lru_cache
def _waiting(meter: type[Meter]) -> bool:
    # Asked by class, as in `hears`.
    return issubclass(meter, Waits)


def _waits(meter: Meter) -> TypeGuard[Waits]:
    return _waiting(type(meter))


def _calls(
    model: BaseChatModel,
    prompts: Sequence[Sequence[BaseMessage]],
    params: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    known: Sequence[bool],
) -> list[ModelCall | None]:
    """What each prompt may cost; None for those whose reply is known."""
    limits = (value for name in _LIMITS if isinstance(value := options.get(name), int))
    limit = next(limits, params.get("ls_max_tokens"))
    choices = options.get("n") or getattr(model, "n", None)
    if limit is not None and isinstance(choices, int):
        limit *= choices
    extra = sum(len(json.dumps(options[name], default=str)) for name in _SENT_AS_JSON if options.get(name))
    names = params.get("ls_provider", ""), params.get("ls_model_name", "")
    sizes = (extra + sum(_size(message) for message in messages) for messages in prompts)
    return [None if known and known[at] else ModelCall(*names, -(-size // 3), limit) for at, size in enumerate(sizes)]


def _admit(
    meter: Meter, model: BaseChatModel, calls: Sequence[ModelCall | None], admitted: Sequence[Ticket] | None
) -> list[Admission | None]:
    """The admission of each call, of those that are admitted already and of others."""
    tickets: list[Admission | None] = []
    hides, given = hides_retries(model), iter(admitted or ())
    SENDERS.look()
    try:
        for call in calls:
            if call is None:
                tickets.append(None)
                continue
            client = type(model), call.provider, call.model
            tickets.append(Admission(meter, call, client=client, hides=hides, ticket=next(given, None)))
    except BaseException:
        # A batch goes out whole or not at all: what was admitted before the refusal is not made.
        for ticket in tickets:
            if ticket is not None:
                ticket.withdraw()
        raise
    return tickets


def _size(message: BaseMessage) -> int:
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    return len(message.text) + (len(json.dumps(calls, default=str)) if calls else 0)


def _settle(ticket: Admission, usage: UsageMetadata | None) -> None:
    if usage is None:
        ticket.settle(None, None)
    else:
        ticket.settle(usage["input_tokens"], usage["output_tokens"])
