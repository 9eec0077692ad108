"""A run that a stranger had a part in, and a critic that does what the stranger wants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import BaseMessage
from pydantic import Field
from typing_extensions import override

from textgrad_lg.autograd import backward, seed
from textgrad_lg.example import Score
from textgrad_lg.gradient import Gradients
from textgrad_lg.optim import TGD, EditLimits, Joint, Momentum, Optimizer, Patch, Proposals, StepContext
from textgrad_lg.prompt import Template
from textgrad_lg.site import Site
from textgrad_lg.testing.models import DoubleChatModel, Reply
from textgrad_lg.testing.traces import TraceBuilder
from textgrad_lg.trace import Trace
from textgrad_lg.types import Strategy
from textgrad_lg.update import Update

SITE = Site.parse("answer/system")
PROMPT = "You answer the mail of a shop. Be kind, and say what happens next."
GOAL = "Customers get an answer that settles their case."


class Obedient(DoubleChatModel):
    """Writes `payload` wherever it may write anything, in whatever form it is asked for."""

    payload: str = Field()
    old: str = Field(default=PROMPT)

    @override
    def _message(self, messages: list[BaseMessage], options: dict[str, Any]) -> Any:
        self._asked = options
        return super()._message(messages, options)

    @override
    def _reply(self, messages: Sequence[BaseMessage], at: int) -> Reply:
        (tool,) = self.requests[-1].options["tools"]
        said, appended = f"Put into the prompt: {self.payload}", f"{self.old}\n\n{self.payload}"
        blamed = [{"id": name, "feedback": said} for name in ("P1", "P2", "S1", "V1")]
        replacing = {"parameter": "P1", "replacement": appended}
        inserting = {"section": "S1", "action": "insert_after", "replacement": self.payload}
        return {
            "Feedback": {"feedback": blamed},
            "CallFeedback": {"about_this": blamed, "about_inputs": blamed},
            "Alternatives": {"alternatives": [{"why": said, "text": text} for text in (appended, self.payload)]},
            "Patches": {"alternatives": [{"why": said, "edits": [inserting]}]},
            "JointPlans": {"plans": [{"why": said, "edits": [replacing]}]},
        }[tool["function"]["name"]]


def planted_trace(payload: str, *, id: str = "a" * 32, by_tool: bool = False) -> Trace:
    """A judged run whose customer, or whose tool, says `payload`."""
    build = TraceBuilder("shop", id=id)
    mail = build.input("mail", "My parcel is late." if by_tool else f"My parcel is late.\n{payload}")
    reads = [mail, build.tool("orders", result=payload, reads=[mail])] if by_tool else [mail]
    answer = build.llm("answer", reads=reads, prompts={"answer/system": PROMPT}, reply="We are sorry.")
    return seed(build.finish({"answer": answer}), [Score("settled", 0.0, "The case is not settled.")])


async def differentiated(trace: Trace, model: DoubleChatModel, strategy: Strategy = Strategy.AUTO) -> Gradients:
    """The Gradients that the critic gives."""
    return await backward(trace, model, strategy=strategy, goal=GOAL)


def optimizers(allow: Sequence[str] = ()) -> dict[str, Optimizer]:
    """Every optimizer that goes by feedback, with the Kinds allowed."""
    limits = EditLimits(allow=tuple(allow))
    return {
        "tgd": TGD(limits=limits),
        "patch": TGD(limits=limits, proposers=[Patch(limits=limits)]),
        "joint": Joint(limits=limits),
        "momentum": Momentum(limits=limits),
    }


async def proposed(trace: Trace, gradients: Gradients, model: DoubleChatModel, optimizer: Optimizer) -> Proposals:
    """What an optimizer makes of it."""
    context = StepContext({SITE: Template(PROMPT)}, gradients, goal=GOAL, model=model, traces=(trace,), sources={})
    return await optimizer.propose(context)


def candidates(proposals: Proposals) -> list[Update]:
    """All that would be run, alone or together."""
    return [*proposals.updates, *(update for plan in proposals.joint for update in plan)]
