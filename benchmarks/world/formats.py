"""The peers' request formats: what a request of theirs asks for, and the critic's knowledge rendered as it asks.

What may be said is decided by the critic alone; this module finds the text that a request wants rewritten or criticised,
and writes the reply in the shape that the peer's own parser reads. Every format gets everything: feedback names each known
instruction word by word with its node, and restates the evidence, so that the next request of a chain still holds it; a
rewritten text holds each known instruction of its node. Where the request shows no failure, the reply leaves the text as it
is or says so, because a good model would. With a salt no two texts are alike: a reply that has to be a text differs from all
before, and one that may say "nothing to change" still says so.

Formats: TextGrad's tags, GEPA's fenced block, DSPy's field markers and JSON, tool calls (langmem through trustcall),
OptoPrime's JSON, AdalFlow's XML.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from benchmarks.world.asked import Answer

if TYPE_CHECKING:
    from benchmarks.world.asked import Asked
    from benchmarks.world.critic import Critic

Body = Mapping[str, Any]
"""A request for a chat completion."""
Message = dict[str, Any]
"""An assistant's message, with what the call was as its "kind": "gradient", "proposal" or "other"."""

NOTHING = "No feedback is needed: the result is right."
_SHOWN = 12
"""How much of what went wrong feedback restates at most."""
SAY = "It should say:"
"""What stands before an instruction in feedback."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What the critic knows from one request, whatever the format of that request.

    Attributes:
        instructions: The sentences that it may name, by node.
        prompts: Each node's first prompt, in the order of the graph. Its first sentence says whose prompt a text is.
        evidence: What feedback restates, so that the next request still holds it; empty if the request shows no failure.
        advice: A plausible sentence that does not help, for a failure whose cause the request does not show.
        salt: Makes every reply differ from all before, so that no cache of a client can hide a call; empty for none.
    """

    instructions: Mapping[str, Sequence[str]]
    prompts: Mapping[str, str]
    evidence: str = ""
    advice: str = "Work with more care."
    salt: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a node, with the peer's wrapping taken off.

    Attributes:
        system: What stands in the place of the node's prompt.
        human: The marker line and the input.
        outputs: The names of DSPy's output fields; empty for a plain reply.
        as_json: Whether they are wanted as a JSON object.
    """

    system: str
    human: str
    outputs: tuple[str, ...] = ()
    as_json: bool = False


@dataclass(frozen=True)
class Request:
    """A peer's request, and what is known of it.

    Attributes:
        body: The request.
        known: What the critic knows of it.
    """

    body: Body
    known: Knowledge

    @cached_property
    def text(self) -> str:
        """Everything that the request says, tool calls included."""
        return "\n\n".join(map(_text, self.body.get("messages", ())))

    @property
    def human(self) -> str:
        """The last message of the user."""
        return _last(_said(self.body, "user"))

    @cached_property
    def named(self) -> dict[str, tuple[str, ...]]:
        """The instructions to name, by node: all with evidence of a failure, else those that carried feedback names."""
        text = _flat(self.text)
        return {
            node: sentences
            for node in self.known.prompts
            if (sentences := tuple(self.known.instructions.get(node, ())))
            and (self.known.evidence or any(f"{SAY} {it}" in text for it in sentences))
        }

    @property
    def failing(self) -> bool:
        """Whether the request shows a failure, or carries feedback on one."""
        return bool(self.known.evidence or self.named)

    def node_of(self, text: str) -> str | None:
        """The node whose prompt a text is, or was made of."""
        found = [name for name, it in self.known.prompts.items() if _opening(it) in _flat(text)]
        return found[0] if len(found) == 1 else None

    def missing(self, old: str) -> tuple[str, ...]:
        """The sentences that may be named of the text's node and that the text does not hold."""
        node = self.node_of(old)
        return tuple(it for it in self.known.instructions.get(node or "", ()) if it not in _flat(old))

    def rewritten(self, old: str) -> str:
        """The text with what is missing; with advice if something fails and no cause can be told; or as it is."""
        added = self.missing(old)
        if self.known.salt or (self.failing and not added and not self.named):
            added = (*added, self.known.advice)
        return "\n".join((old, *added))

    def feedback(self) -> str:
        """Everything known, as free text."""
        salt = f" ({self.known.salt})" if self.known.salt else ""
        if not self.failing:
            return f"{NOTHING}{salt}"
        named = [f"The prompt of {node}: {SAY} {' '.join(it)}" for node, it in self.named.items()]
        return " ".join(filter(None, (self.known.evidence, *(named or (self.known.advice,))))) + salt


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if not isinstance(content, str):
        content = "\n".join(str(part.get("text", "")) for part in content)
    calls = [str(it.get("function", {}).get("arguments", "")) for it in message.get("tool_calls") or ()]
    return "\n".join((content, *calls))


def _said(body: Body, *roles: str) -> list[str]:
    return [_text(it) for it in body.get("messages", ()) if it.get("role") in roles]


def _last(texts: Sequence[str]) -> str:
    return texts[-1] if texts else ""


def _flat(text: str) -> str:
    return " ".join(text.replace("\\n", " ").split())


def _opening(prompt: str) -> str:
    return prompt.split(". ", maxsplit=1)[0].rstrip(".") + "."


def _between(text: str, start: str, end: str) -> list[str]:
    return [it.strip() for it in re.findall(re.escape(start) + r"(.*?)" + re.escape(end), text, re.DOTALL)]


# --- calls of nodes ---------------------------------------------------------------------------------------------------


def read_call(body: Body) -> Call:
    """A node's call without the wrapping of the peer that made it."""
    human = _last(_said(body, "user"))
    outputs, as_json = _outputs(human)
    if outputs:
        human = "\n".join(_fields(human).values())
    return Call("\n".join(_said(body, "system", "developer")), human, outputs, as_json)


def answer_call(call: Call, text: str) -> str:
    """What a node says, as its caller can parse it: in DSPy's fields if the request asks for them, else as it is."""
    return _filled(dict.fromkeys(call.outputs, text), as_json=call.as_json) if call.outputs else text


# --- DSPy -------------------------------------------------------------------------------------------------------------

_ASKED_MARKERS = re.compile(
    r"Respond with the corresponding output fields, starting with the field (.*?), and then ending"
)
_ASKED_JSON = re.compile(r"Respond with a JSON object in the following order of fields: (.*)\.")
_REWRITES = {"new_instruction": "current_instruction", "proposed_instruction": "basic_instruction"}


def _outputs(human: str) -> tuple[tuple[str, ...], bool]:
    if wanted := _ASKED_MARKERS.findall(human):
        return tuple(re.findall(r"\[\[ ## (\w+) ## \]\]", wanted[-1])), False
    if wanted := _ASKED_JSON.findall(human):
        return tuple(re.findall(r"`(\w+)`", wanted[-1])), True
    return (), False


def _fields(human: str) -> dict[str, str]:
    """The input fields of DSPy's last message."""
    asked = max(human.rfind("Respond with the corresponding output"), human.rfind("Respond with a JSON object in the"))
    parts = re.split(r"^\[\[ ## (\w+) ## \]\]\n", human[: asked if asked >= 0 else None], flags=re.MULTILINE)
    return {name: value.strip() for name, value in zip(parts[1::2], parts[2::2], strict=True)}


def _filled(values: Mapping[str, str], *, as_json: bool) -> str:
    if as_json:
        return json.dumps(dict(values), ensure_ascii=False)
    sections = [f"[[ ## {name} ## ]]\n{value}" for name, value in values.items()]
    return "\n\n".join((*sections, "[[ ## completed ## ]]"))


def _dspy(asked: Request) -> Message | None:
    human = asked.human
    outputs, as_json = _outputs(human)
    if not outputs:
        return None
    inputs = _fields(human)

    def value(name: str) -> str:
        old = inputs.get(_REWRITES.get(name, ""))
        return asked.feedback() if old is None else asked.rewritten(old)

    kind = "proposal" if _REWRITES.keys() & set(outputs) else "other"
    return _says(kind, _filled({name: value(name) for name in outputs}, as_json=as_json))


# --- GEPA -------------------------------------------------------------------------------------------------------------


def _gepa(asked: Request) -> Message | None:
    human = asked.human
    if "new instructions within ``` blocks" not in human:
        return None
    old = _between(human, "```\n", "\n```")[0]
    return _says("proposal", f"The assistant needs clearer instructions.\n\n```\n{asked.rewritten(old)}\n```")


# --- TextGrad ---------------------------------------------------------------------------------------------------------


def _textgrad_step(asked: Request) -> Message | None:
    if "Send ONLY the improved variable between the <IMPROVED_VARIABLE>" not in asked.text:
        return None
    shown = _last(
        _between(asked.human, "The variable is the text within the following span: <VARIABLE>", "</VARIABLE>")
    )
    return _says("proposal", f"<IMPROVED_VARIABLE>{asked.rewritten(_uncut(shown, asked))}</IMPROVED_VARIABLE>")


def _uncut(shown: str, asked: Request) -> str:
    """The whole text: TextGrad cuts a variable to its first and last ten words, but quotes it whole in the conversations."""
    node = asked.node_of(shown)
    if "(...)" not in shown or node is None:
        return shown
    quoted = _between(asked.text, "<LM_SYSTEM_PROMPT>", "</LM_SYSTEM_PROMPT>")
    # Without a conversation only the first prompt can be restored, and what was learnt if it is among the last words.
    learnt = [it for it in asked.known.instructions.get(node, ()) if it in shown]
    start = "\n".join((asked.known.prompts[node], *learnt))
    return next((text for text in quoted if asked.node_of(text) == node), start)


def _textgrad_feedback(asked: Request) -> Message | None:
    system = _last(_said(asked.body, "system"))
    if (
        "You are the gradient (feedback) engine" in system
        or "critically aggregate and summarize the feedback" in system
    ):
        return _says("gradient", asked.feedback())
    return None


# --- OptoPrime --------------------------------------------------------------------------------------------------------


def _optoprime(asked: Request) -> Message | None:
    human = asked.human
    if "#Variables\n" not in human or '"suggestion"' not in asked.text:
        return None
    block = human.rsplit("#Variables\n", 1)[1].split("\n#Constraints", 1)[0]
    parts = re.split(r"^\((?:str|code)\) (\w+)[=:]", block, flags=re.MULTILINE)
    old = {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}
    if not asked.failing:
        return _says("proposal", "TERMINATE")
    aimed = {name for name, text in old.items() if asked.missing(text)} or set(old)
    new = {name: asked.rewritten(text) for name, text in old.items() if name in aimed}
    new = {name: text for name, text in new.items() if text != old[name]}
    if not new:
        return _says("proposal", "TERMINATE")
    return _says(
        "proposal", json.dumps({"reasoning": asked.feedback(), "answer": "", "suggestion": new}, ensure_ascii=False)
    )


# --- AdalFlow ---------------------------------------------------------------------------------------------------------


def _adalflow_step(asked: Request) -> Message | None:
    request = asked.text
    if "<proposed_variable>" not in request:
        return None
    # The tags stand once in the instructions of the format; the variable itself is in the description of it.
    about = _last(_between(request, "<START_OF_VARIABLE_DESC>", "<END_OF_VARIABLE_DESC>"))
    old = _last(_between(about, "<VARIABLE>", "</VARIABLE>"))
    return _says(
        "proposal",
        "<response>\n"
        f"<reasoning>{escape(asked.feedback())}</reasoning>\n"
        "<method>ADD new elements(instruction)</method>\n"
        f"<proposed_variable>{escape(asked.rewritten(old))}</proposed_variable>\n"
        "</response>",
    )


def _adalflow_feedback(asked: Request) -> Message | None:
    request = asked.text
    if "You MUST determining the root cause of a system error" not in request:
        return None
    if "list of strings with the SAME LENGTH" not in request:
        return _says("gradient", asked.feedback())
    about = _last(_between(request, "<VARIABLES>", "</VARIABLES>"))
    count = len(re.findall(r"^NAME: ", about, flags=re.MULTILINE))
    return _says("gradient", json.dumps([asked.feedback()] * count, ensure_ascii=False))


# --- tool calls (langmem through trustcall) ------------------------------------------------------------------------------


def _langmem(asked: Request) -> Message | None:
    offered = {it.get("function", {}).get("name") for it in asked.body.get("tools", ())}
    request = asked.text
    if "Classify" in offered:
        return _calls("Classify", reasoning=asked.feedback(), which=_lacking(asked))
    if "OptimizedPromptOutput" in offered:
        new = asked.rewritten(_current(request))
        return _calls("OptimizedPromptOutput", "proposal", analysis=asked.feedback(), improved_prompt=new)
    if "recommend" in offered:
        if not asked.missing(_current(request)):
            return _calls(
                "recommend", warrants_adjustment=False, hypotheses="", full_recommendations="No recommendations."
            )
        why, what = asked.known.evidence, asked.feedback()
        return _calls("recommend", warrants_adjustment=True, hypotheses=why, full_recommendations=what)
    if "think" in offered:
        return _calls("think", thought=asked.feedback())
    return None


def _current(request: str) -> str:
    return next(iter(_between(request, "<current_prompt>", "</current_prompt>")), "")


def _lacking(asked: Request) -> list[str]:
    """The names, as the request has them, of the prompts that lack what may be named."""
    shown = asked.text.rsplit("Below are the prompts being optimized:", 1)[-1].partition(
        '\n\nReturn JSON with "which"'
    )[0]
    starts = sorted(at for it in asked.known.prompts.values() if (at := shown.find(_opening(it))) >= 0)
    found: list[str] = []
    for start, end in zip(starts, (*starts[1:], len(shown)), strict=True):
        name = shown[:start].rstrip().removesuffix(":").rsplit("\n", 1)[-1].strip()
        # What stands at the end of a prompt's part is the next one's name, which no instruction is made of.
        if asked.missing(shown[start:end]):
            found.append(name)
    return found


# --- all of them ------------------------------------------------------------------------------------------------------

_FORMATS: tuple[Callable[[Request], Message | None], ...] = (
    _langmem,
    _dspy,
    _gepa,
    _textgrad_step,
    _textgrad_feedback,
    _optoprime,
    _adalflow_step,
    _adalflow_feedback,
)


def critic_reply(body: Body, known: Knowledge) -> Message | None:
    """The critic's reply to a peer's request, as an assistant's message; None if the request is in no peer's format."""
    request = Request(body, known)
    return next((reply for reply in (it(request) for it in _FORMATS) if reply is not None), None)


def answered(asked: Asked, critic: Critic) -> Answer | None:
    """What a peer's request is answered, with all that the critic knows of it; None for a request in no peer's format."""
    task = critic.task
    known = Knowledge(
        instructions={node.name: (critic.feedback(node),) for node in critic.insights()},
        prompts={node.name: node.prompt for node in task.nodes.values()},
        evidence=" / ".join(_evidence(critic)[:_SHOWN]),
        advice=critic.advice(),
        salt=critic.salt,
    )
    reply = critic_reply(asked.body, known)
    if reply is None:
        return None
    functions = [call["function"] for call in reply.get("tool_calls", ())]
    calls = tuple((str(it["name"]), json.loads(it["arguments"])) for it in functions)
    return Answer(reply["kind"], reply["content"] or "", calls)


def _evidence(critic: Critic) -> tuple[str, ...]:
    """What the request shows of failures: the verdicts, or the answers expected of runs whose replies it holds.

    A chain of requests needs the latter: only its first one holds the output next to the answer, and each further one
    holds another node's reply.
    """
    task, text = critic.task, _flat(critic.text)
    shown = [
        f"expected {case.answer}"
        for case in task.cases.values()
        if case.needs and case.answer in text
        if any(failed and it in text for node in task.nodes for it, failed in task.variants(case, node).items())
    ]
    verdicts = task.failures(critic.text)
    return (*(it for it in shown if not any(it in verdict for verdict in verdicts)), *verdicts)


def _says(kind: str, text: str) -> Message:
    return {"role": "assistant", "kind": kind, "content": text}


def _calls(name: str, kind: str = "gradient", /, **values: Any) -> Message:
    function = {"name": name, "arguments": json.dumps(values, ensure_ascii=False)}
    called = {"id": f"call_{name}", "type": "function", "function": function}
    return {"role": "assistant", "kind": kind, "content": None, "tool_calls": [called]}
