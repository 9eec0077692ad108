"""Traces as OpenInference's LangChain instrumentation makes them of a LangGraph graph, made up by number.

A desk that answers customers: `plan` fills a template and asks a model, `research` asks a model that calls two tools and is
then asked again, `write` fills a template, `check` judges; two routers. 20 spans. The conversation is in the state, so it
stands in what each step read, and again in what each model was sent, as it does in production.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

SPANS = 20
TEXT = "The customer asks for a refund of the order, which arrived late and was damaged on its way. " * 2
PLAN = "You plan for a help desk. Say in one sentence what must be looked up before the customer can be answered: {question}"
WRITE = "You write answers for a help desk. Be polite and brief, promise nothing, and use this plan: {plan}"
RESEARCH = "You look up facts for a help desk. Use your tools, and then say in one sentence what you have found."
CHECK = (
    "You check answers of a help desk. Say yes if the answer is polite and brief, and no with a reason if it is not."
)


class Step(NamedTuple):
    """One span: the number of its parent, its name and kind, the node and step it belongs to, what went in and came out."""

    parent: int
    name: str
    kind: str
    node: str
    step: int
    given: Any
    made: Any
    sent: tuple[dict[str, Any], ...] = ()
    reply: dict[str, Any] | None = None


def steps(number: int) -> list[Step]:
    """The spans of a trace by number, the root first."""
    question = {"type": "human", "content": f"Order {number}: {TEXT}", "id": f"q-{number}"}
    plan = f"Look up the order {number} and the rules for refunds. {TEXT}"
    wanted = [{"name": name, "args": {"order": str(number)}, "id": f"{name}-{number}"} for name in ("orders", "rules")]
    asks = {"type": "ai", "content": "", "id": f"a-{number}", "tool_calls": wanted}
    found = [
        {
            "type": "tool",
            "content": f"{name} of {number}: {TEXT}",
            "id": f"t{name}-{number}",
            "tool_call_id": call["id"],
        }
        for name, call in zip(("orders", "rules"), wanted, strict=True)
    ]
    says = {"type": "ai", "content": f"The order {number} was sent late. {TEXT}", "id": f"b-{number}"}
    answer = f"We are sorry for the trouble with the order {number}. {TEXT}"
    verdict = "no: it is not brief" if number % 10 == 0 else "yes"
    talk = [question, asks, *found]
    start = {"messages": [question]}
    planned, done = {"messages": [question], "plan": plan}, {"messages": [*talk, says], "plan": plan}
    written = {**done, "answer": answer}
    filled = {"question": question["content"]}
    told = [system(PLAN.format(**filled))], [system(WRITE.format(plan=plan)), question]
    said = {"type": "ai", "content": plan, "id": f"p-{number}"}, {"type": "ai", "content": answer, "id": f"w-{number}"}
    judged = {"type": "ai", "content": verdict, "id": f"c-{number}"}
    model = "ChatOpenAI"
    return [
        Step(0, "desk", "CHAIN", "", 0, start, None if failed(number) else {**written, "verdict": verdict}),
        Step(0, "plan", "CHAIN", "plan", 1, start, plan),
        Step(1, "RunnableSequence", "CHAIN", "plan", 1, filled, message(said[0])),
        Step(2, "ChatPromptTemplate", "PROMPT", "plan", 1, filled, {"messages": told[0]}),
        Step(2, model, "LLM", "plan", 1, None, None, tuple(told[0]), said[0]),
        Step(0, "research", "CHAIN", "research", 2, planned, {"messages": [message(asks)]}),
        Step(5, model, "LLM", "research", 2, None, None, (system(RESEARCH), question), asks),
        Step(0, "tools", "CHAIN", "tools", 3, {"messages": talk[:2]}, {"messages": [message(at) for at in found]}),
        Step(7, "orders", "TOOL", "tools", 3, str(number), message(found[0])),
        Step(7, "rules", "TOOL", "tools", 3, str(number), message(found[1])),
        Step(0, "research", "CHAIN", "research", 4, {**planned, "messages": talk}, {"messages": [message(says)]}),
        Step(10, model, "LLM", "research", 4, None, None, (system(RESEARCH), *talk), says),
        Step(10, "enough", "CHAIN", "research", 4, done, "write"),
        Step(0, "write", "CHAIN", "write", 5, done, answer),
        Step(13, "RunnableSequence", "CHAIN", "write", 5, {"plan": plan, "talk": [question]}, message(said[1])),
        Step(14, "ChatPromptTemplate", "PROMPT", "write", 5, {"plan": plan}, {"messages": told[1]}),
        Step(14, model, "LLM", "write", 5, None, None, tuple(told[1]), said[1]),
        Step(0, "check", "CHAIN", "check", 6, written, verdict),
        Step(17, model, "LLM", "check", 6, None, None, (system(CHECK), human(answer)), judged),
        Step(17, "good", "CHAIN", "check", 6, {**written, "verdict": verdict}, "__end__"),
    ]


def spans(number: int) -> list[dict[str, Any]]:
    """The spans of a trace, as OTLP JSON has them; those that end first come first. One trace in ten has failed."""
    trace_id = hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()
    begin = 1_790_000_000_000_000_000 + number * 1_000_000
    found = [_span(number, at, step, trace_id, begin) for at, step in enumerate(steps(number))]
    return found[::-1]


def _span(number: int, at: int, step: Step, trace_id: str, begin: int) -> dict[str, Any]:
    texts = {**_content(step), "session.id": f"session-{number % 50}"}
    texts["metadata"] = json.dumps(_metadata(step, trace_id, number))
    texts["openinference.span.kind"] = step.kind
    numbers = {"llm.token_count.prompt": 212, "llm.token_count.completion": 57} if step.reply else {}
    # The parts of a span end before it does, and so does all that came before in it.
    last = max([at, *(other for other, inner in enumerate(steps(0)) if other and inner.parent == at)])
    last = SPANS if at == 0 else last
    return {
        "traceId": trace_id,
        "spanId": f"{number + 1:08x}{at + 1:08x}",
        "parentSpanId": f"{number + 1:08x}{step.parent + 1:08x}" if at else "",
        "name": step.name,
        "kind": 1,
        "startTimeUnixNano": str(begin + at * 10_000),
        "endTimeUnixNano": str(begin + last * 10_000 + 5_000),
        "attributes": [
            *({"key": key, "value": {"stringValue": text}} for key, text in texts.items()),
            *({"key": key, "value": {"intValue": str(count)}} for key, count in numbers.items()),
        ],
        "status": {"code": 2, "message": failure(number)} if at == 0 and failed(number) else {"code": 1},
    }


def failed(number: int) -> bool:
    """Whether a run ended with an error."""
    return number % 10 == 0


def failure(number: int) -> str:
    """What a run that failed ended with: one of three kinds."""
    kinds = (
        "ValueError: the order {} is closed",
        "TimeoutError: the warehouse did not answer for order {}",
        "KeyError: no rule says what is refunded of {}",
    )
    return kinds[number // 10 % len(kinds)].format(number)


def _metadata(step: Step, trace_id: str, number: int) -> dict[str, Any]:
    about: dict[str, Any] = {"tenant": "acme", "thread_id": f"session-{number % 50}", "ls_integration": "langgraph"}
    if step.node:
        about |= {
            "langgraph_step": step.step,
            "langgraph_node": step.node,
            "langgraph_triggers": [f"branch:to:{step.node}"],
            "langgraph_path": ["__pregel_pull", step.node],
            "langgraph_checkpoint_ns": f"{step.node}:{trace_id[:8]}-{step.step:04}-{trace_id[8:20]}",
        }
    return about


def _content(step: Step) -> dict[str, str]:
    if step.reply is None:
        return {**_value("input", step.given), **_value("output", step.made)}
    sent = [lc(at) for at in step.sent]
    reply = {"text": step.reply["content"], "type": "ChatGeneration", "message": lc(step.reply)}
    found = {
        **_value("input", {"messages": [sent]}),
        **_value("output", {"generations": [[reply]], "llm_output": None}),
    }
    for side, messages in (("input", step.sent), ("output", (step.reply,))):
        for at, told in enumerate(messages):
            found[f"llm.{side}_messages.{at}.message.role"] = told["type"]
            found[f"llm.{side}_messages.{at}.message.content"] = told["content"]
    return {**found, "llm.model_name": "gpt-4o-mini", "llm.provider": "openai"}


def _value(side: str, value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if isinstance(value, str):
        return {f"{side}.value": value}
    if "messages" in value and all("type" in at for at in value["messages"] if isinstance(at, dict)):
        value = {**value, "messages": [at if isinstance(at, list) else message(at) for at in value["messages"]]}
    return {f"{side}.value": json.dumps(value), f"{side}.mime_type": "application/json"}


def system(text: str) -> dict[str, Any]:
    """A system message."""
    return {"type": "system", "content": text}


def human(text: str) -> dict[str, Any]:
    """A person's message."""
    return {"type": "human", "content": text}


def message(told: dict[str, Any]) -> dict[str, Any]:
    """A message of the state, as the instrumentation writes it."""
    if "data" in told:
        return told
    return {"type": told["type"], "data": {"additional_kwargs": {}, "response_metadata": {}, "name": None, **told}}


def lc(told: dict[str, Any]) -> dict[str, Any]:
    """A message of a model call, as LangChain serialises it."""
    name = {"human": "HumanMessage", "ai": "AIMessage", "system": "SystemMessage", "tool": "ToolMessage"}[told["type"]]
    return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", name], "kwargs": told}
