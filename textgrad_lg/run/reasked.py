"""Reasked: recorded model calls that are made again with another text, and judged. What decides where there is no graph.

Only the changed call is made again, so nothing shows what the rest of the graph would make of its reply: no proof, and
what passes is marked as unverified.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal, cast

from langchain_core.messages import BaseMessage, convert_to_messages
from pydantic import Field, TypeAdapter

from textgrad_lg.evals import example_score
from textgrad_lg.llm import Form, ask
from textgrad_lg.redact import Redaction
from textgrad_lg.run.asked import content_key
from textgrad_lg.run.gate import Verdict, validation_gate
from textgrad_lg.templates import fence, fill
from textgrad_lg.types import Phase, SpanKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.language_models import BaseChatModel

    from textgrad_lg.prompt import Template
    from textgrad_lg.run.failing import Seen
    from textgrad_lg.run.session import Session
    from textgrad_lg.site import Site
    from textgrad_lg.trace import Span, Trace
    from textgrad_lg.types import JSON
    from textgrad_lg.update import Update

GATE = "judge"
"""The gate's name in the decisions."""
CALLS = 40
"""Recorded calls at most that one edit is judged on."""
_GOOD = "It does what its messages ask for: completely, correctly, and no more than that."
_KEYS = ("role", "content", "name", "tool_calls", "tool_call_id", "status")
_TOKENS = 3_000


class Preference(Form):
    """Which of two replies is better."""

    # In this order: a model that writes its reasons first judges by them.
    comment: str = Field(description="What sets the two replies apart, in one to three sentences that quote them.")
    better: Literal["first", "second", "neither"] = Field(description="The better reply.")


@dataclass(frozen=True, slots=True)
class Call:
    """A recorded model call that a Parameter entered.

    Attributes:
        seen: The trace that it is of.
        span: The call's Span.
        messages: What was sent.
        at: Which of the messages is the Parameter's.
        fields: The fields of the run's output that are this call's reply, word by word.
    """

    seen: Seen
    span: Span
    messages: tuple[Mapping[str, JSON], ...]
    at: int
    fields: tuple[str, ...]

    def sent(self, old: Template, new: Template, hide: Redaction) -> list[BaseMessage] | None:
        """The messages with `new` in the place of `old`; None where the recorded text is not `old`'s.

        Args:
            old: The text that was sent.
            new: The text to send.
            hide: What whoever is asked may be shown of them.
        """
        values = old.match(str(self.messages[self.at]["content"]))
        if values is None:
            return None
        values = {name: hide.text(f"message.{name}", value) for name, value in values.items()}
        told = [{key: message[key] for key in _KEYS if message.get(key) is not None} for message in self.messages]
        told = [item if at == self.at else _mapping(hide.value("message", item)) for at, item in enumerate(told)]
        told[self.at]["content"] = new.render(values)
        return convert_to_messages(cast("Any", told))


def calls_of(trace: Trace, site: Site, seen: Seen) -> Call | None:
    """The last call of a run that the Parameter entered; None where there is none whose messages can be sent again.

    Args:
        trace: The run, with its Parameters marked.
        site: The Parameter.
        seen: The run as it was judged.
    """
    for span in reversed(trace.spans):
        if span.kind is not SpanKind.LLM:
            continue
        messages = tuple(cast("list[dict[str, JSON]]", span.attributes.get("messages") or []))
        at = next((at for at, message in enumerate(messages) if message.get("site") == str(site)), None)
        if at is not None and isinstance(messages[at]["content"], str):
            replies = {_text(variable.value) for variable in trace.variables if variable.span == span.id} - {""}
            said = {field: value for field, value in trace.output().items() if isinstance(value, str)}
            fields = tuple(field for field, value in said.items() if value in replies)
            return Call(seen, span, messages, at, fields)
    return None


async def judged_gate(session: Session, update: Update, held: Sequence[Seen], answers: BaseChatModel | None) -> Verdict:
    """Ask recorded calls again, once with the text in force and once with the new one, and judge both replies.

    By the evaluators, where the reply is a field of the run's output; else a model is asked twice which of the two is
    better, in either order, and one that it prefers both times wins.

    Args:
        session: The run.
        update: The edit.
        held: Traces that nothing was learnt from.
        answers: Answers the calls; None for the model that criticises.
    """
    before: dict[str, float | None] = {}
    after: dict[str, float | None] = {}
    calls = [
        call
        for one in held
        if (call := calls_of(session.discovery.label(one.trace.trace), update.site, one)) is not None
    ][:CALLS]
    jobs = [partial(_compared, session, update, call, answers) for call in calls]
    for call, found in zip(calls, await session.rollouts.schedule.gather(jobs), strict=True):
        if found is not None:
            before[call.seen.example.id], after[call.seen.example.id] = found
    if not before:
        return Verdict(False, f"no held-out trace has a call of {update.site} that could be asked again", None, None, 0)
    verdict = validation_gate(before, after, alpha=session.settings.alpha, seed=session.settings.seed)
    reason = verdict.reason.replace("validation", "judged on recorded calls", 1)
    return Verdict(verdict.accepted, reason, verdict.before, verdict.after, verdict.n, verdict.p_value)


async def _compared(
    session: Session, update: Update, call: Call, answers: BaseChatModel | None
) -> tuple[float | None, float | None] | None:
    """The scores without the edit and with it; None where the call cannot be made again."""
    hide = Redaction(session.settings.redactor)
    # A model that stands for the one in production is sent what that one was sent; the critic is not.
    sees = hide if answers is None else Redaction()
    old, new = call.sent(update.old, update.old, sees), call.sent(update.old, update.new, sees)
    if old is None or new is None:
        return None

    async def judge(critic: BaseChatModel | None) -> tuple[float | None, float | None]:
        model = answers or critic
        assert model is not None
        options = {"tools": tools} if (tools := call.span.attributes.get("tools")) else {}
        replies = [_reply(await model.ainvoke(messages, **cast("Any", options))) for messages in (old, new)]
        if call.fields:
            one, other = [await _scored(session, call, reply, critic) for reply in replies]
            if one is not None and other is not None:
                return one, other
        given = [
            message for at, message in enumerate(call.messages) if at != call.at and message.get("role") != "system"
        ]
        return await preferred(
            critic or model,
            [hide.text("reply", reply) for reply in replies],
            instruction="\n\n".join(text for text in (session.evals.goal, *session.evals.said) if text),
            messages="\n\n".join(_shown(_mapping(hide.value("message", dict(message)))) for message in given),
            said="\n".join(hide.text("comment", score.comment) for score in call.seen.scores if score.comment),
        )

    key = content_key(call.seen.trace.trace.id, call.span.id, str(update.site), update.old, update.new)
    return await session.asked.once("comparison", key, Phase.VALIDATION, judge, _pair_adapter())


async def _scored(session: Session, call: Call, reply: str, critic: BaseChatModel | None) -> float | None:
    """What the evaluators say of the run's output with this reply in it."""
    read = {field for score in call.seen.verdicts for field in score.fields or ("",)}
    # Of an output that other calls made as well, nobody knows what it would have become.
    if not read or not read.issubset(call.fields):
        return None
    outputs = call.seen.trace.trace.output() | dict.fromkeys(call.fields, cast("JSON", reply))
    return example_score(await session.evals.score(call.seen.example, outputs, model=critic))


async def preferred(
    critic: BaseChatModel, replies: Sequence[str], *, instruction: str, messages: str, said: str = ""
) -> tuple[float, float]:
    """0.5 for both replies, but where one is preferred whichever comes first: then 0 and 1.

    Args:
        critic: Is asked twice, with the replies in either order; not at all where they are the same.
        replies: The two.
        instruction: What a good reply is, in the user's words.
        messages: What they reply to.
        said: What was said of an earlier reply.
    """
    if replies[0] == replies[1]:
        return 0.5, 0.5
    won = 0
    for turned in (False, True):
        first, second = reversed(replies) if turned else replies
        request = fill(
            "compare",
            instruction=instruction or _GOOD,
            messages=fence("messages", messages, tokens=_TOKENS),
            said=f"What was said of an earlier reply:\n\n{fence('verdict', said, tokens=_TOKENS)}" if said else "",
            first=fence("first reply", first, tokens=_TOKENS),
            second=fence("second reply", second, tokens=_TOKENS),
        )
        better = (await ask(critic, request, Preference)).value.better
        won += 0 if better == "neither" else 1 if (better == "first") == turned else -1
    return {2: (0.0, 1.0), -2: (1.0, 0.0)}.get(won, (0.5, 0.5))


def _reply(message: BaseMessage) -> str:
    calls = [{"name": call["name"], "args": call["args"]} for call in getattr(message, "tool_calls", ())]
    return message.text + (json.dumps(calls, ensure_ascii=False, sort_keys=True) if calls else "")


def _shown(message: Mapping[str, JSON]) -> str:
    content = message.get("content")
    return f"{message.get('role')}: {content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)}"


def _mapping(value: JSON) -> dict[str, JSON]:
    return cast("dict[str, JSON]", value)


def _text(value: JSON) -> str:
    found = value.get("content") if isinstance(value, dict) else value
    return found if isinstance(found, str) else ""


@cache
def _pair_adapter() -> TypeAdapter[tuple[float | None, float | None]]:
    return TypeAdapter(tuple[float | None, float | None])
