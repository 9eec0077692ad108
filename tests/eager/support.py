"""Engines that the tests of the eager API share, and short ways to make Variables."""

from __future__ import annotations

from typing import Any

import textgrad_lg.eager as tg
from tests.autograd.helpers import answer
from textgrad_lg.testing import ScriptedChatModel


def text(value, role="text", **kwargs):
    return tg.Variable(value, role_description=role, **kwargs)


def fixed(value, role="given"):
    return tg.Variable(value, role_description=role, requires_grad=False)


def kind(messages) -> str:
    """What a request is for: "critic", "step", "merge", or "call" for one of the script's own."""
    system = messages[0].text if messages[0].type == "system" else ""
    starts = {"You are the critic": "critic", "You improve one text": "step", "You merge feedback": "merge"}
    return next((name for start, name in starts.items() if system.startswith(start)), "call")


def model(*, new: Any = "new text", call: Any = "reply", said: str = "Say more about") -> ScriptedChatModel:
    """A chat model that criticises all that it is asked about, writes `new`, and replies `call`; each may be a function."""

    def reply(messages):
        made = {
            "critic": lambda: answer(messages, said),
            "step": lambda: {"why": "because", "text": new(messages) if callable(new) else new},
            "merge": lambda: {"feedback": "all of it"},
            "call": lambda: call(messages) if callable(call) else call,
        }
        return made[kind(messages)]()

    return ScriptedChatModel(replies=reply)


def asked(engine, name):
    """The requests of one kind that a model got, as text."""
    return [str(request) for request in engine.requests if kind(request.messages) == name]


def judged(variable, *feedback):
    """Feedback as a backward pass would have put it there, by hand."""
    for one in feedback:
        variable.gradients.add(text(one, "feedback"))
    return variable
