"""A run that a stranger had a part in, and a critic that does what the stranger wants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph
from pydantic import Field
from typing_extensions import override

from textgrad_lg.autograd import backward, seed
from textgrad_lg.example import Example, Score
from textgrad_lg.gradient import Gradients
from textgrad_lg.optim import TGD, EditLimits, Joint, Momentum, Optimizer, Patch, Proposals, StepContext
from textgrad_lg.prompt import Template
from textgrad_lg.run.production import ProductionTrace
from textgrad_lg.site import Site
from textgrad_lg.testing.models import DoubleChatModel, Reply
from textgrad_lg.testing.traces import TraceBuilder
from textgrad_lg.trace import Trace
from textgrad_lg.types import Strategy
from textgrad_lg.update import Update

SITE = Site.parse("answer/system")
PROMPT = "You answer the mail of a shop. Be kind, and say what happens next."
SETTLED = "All is settled."
"""What models reply that have been talked into it."""
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
        first = messages[-1].text.partition("<<<DATA second reply")[0]
        better = "first" if SETTLED in first.rpartition("<<<DATA first reply")[2] else "second"
        inserting = {"section": "S1", "action": "insert_after", "replacement": self.payload}
        return {
            "Feedback": {"feedback": blamed},
            "CallFeedback": {"about_this": blamed, "about_inputs": blamed},
            "Alternatives": {"alternatives": [{"why": said, "text": text} for text in (appended, self.payload)]},
            "Patches": {"alternatives": [{"why": said, "edits": [inserting]}]},
            "JointPlans": {"plans": [{"why": said, "edits": [replacing]}]},
            "Judgement": {"comment": said, "score": 0.0},
            "Preference": {"comment": said, "better": better},
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


async def proposed(
    trace: Trace,
    gradients: Gradients,
    model: DoubleChatModel,
    optimizer: Optimizer,
    examples: Sequence[Example] | None = None,
) -> Proposals:
    """What an optimizer makes of it; where there are `examples`, it is a run of one of the user's own."""
    context = StepContext(
        {SITE: Template(PROMPT)},
        gradients,
        goal=GOAL,
        model=model,
        traces=(trace,),
        sources={} if examples is None else None,
        examples=tuple(examples or ()),
    )
    return await optimizer.propose(context)


def candidates(proposals: Proposals) -> list[Update]:
    """All that would be run, alone or together."""
    return [*proposals.updates, *(update for plan in proposals.joint for update in plan)]


MAIL = """Hello,
I placed the order 10492 more than three weeks ago and the parcel is late again. First the size was wrong, and you told me to
wait for the exchange. Now the blender that came instead leaks and does not turn on. I have attached the invoice and a photo
of the damage. What is the refund amount in euros, and how long does it take until the money is paid back? I do not want a
repair. Please check the delivery address too, because the carrier says that the parcel was delivered on Monday, and nobody
was at home. You never explain what happens next, and I have to ask for everything twice. If the return shipping is not free,
say so before I go to the post office.
Regards, Anna"""
ORDER = {
    "order": 10492,
    "status": "in transit, expected date of delivery 12 March",
    "carrier": "Postway",
    "address": "Elm Street 4",
    "items": [{"name": "blender", "price": 59.9}, {"name": "measuring cup", "price": 4.5}],
    "policy": "The return window is thirty days. Return shipping is free for damaged goods. A photo of the damage is needed.",
}
REPLY = (
    "Dear Anna, we are sorry that the parcel is late. Please send us the order number and a photo, so that we can help."
)


def busy_trace(*, id: str = "b" * 32) -> Trace:
    """A judged run with much to say: a long mail, an order that a tool has found, and a reply."""
    build = TraceBuilder("shop", id=id)
    mail = build.input("mail", MAIL)
    order = build.tool("orders", result=ORDER, reads=[mail])
    answer = build.llm("answer", reads=[mail, order], prompts={"answer/system": PROMPT}, reply=REPLY)
    return seed(build.finish({"answer": answer}), [Score("settled", 0.0, "The case is not settled.")])


def mailbox(text: str, count: int = 12) -> list[ProductionTrace]:
    """Judged runs of as many customers, all of whom say `text`."""
    found: list[ProductionTrace] = []
    for at in range(count):
        build = TraceBuilder("shop", id=f"{at:032x}")
        mail = build.input("mail", f"Parcel {at} of mine is late.\n{text}")
        answer = build.llm("answer", reads=[mail], prompts={"answer/system": PROMPT}, reply="We are sorry.")
        found.append(ProductionTrace(build.finish({"reply": answer}), (Score("user", 0.0, "Nothing is settled."),)))
    return found


class State(TypedDict, total=False):
    mail: str
    reply: str


def shop(model: Any) -> Any:
    """A graph of one node, which answers mail."""

    def answer(state: State) -> dict[str, str]:
        return {"reply": model.invoke([SystemMessage(PROMPT), HumanMessage(state["mail"])]).text}

    graph = StateGraph(State)
    graph.add_node("answer", answer)
    graph.add_edge(START, "answer")
    graph.add_edge("answer", END)
    return graph.compile(name="shop")
