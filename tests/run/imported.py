"""Production traces as files: a run of the desk's graph under each instrumentation, as often as wanted, each of another question."""

from __future__ import annotations

import json
import re
from pathlib import Path

from langchain_core.messages import HumanMessage
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from tests.run.production import NOW
from tests.tracing.readers import desk
from tests.tracing.readers.support import DATA, FILES
from tests.tracing.support import memory
from textgrad_lg import events
from textgrad_lg.record import record
from textgrad_lg.testing import ScriptedChatModel
from textgrad_lg.types import Phase

OWN = "textgrad_lg"
PRODUCERS = [*FILES, OWN]
WANTED = "End with a greeting."
GOODBYE = "Goodbye!"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")
HIDDEN = re.compile(
    r"(gen_ai\.(prompt|completion|input|output|system_inst|tool)|input\.|output\.|llm\.(input|output)|traceloop\.entity\.(in|out))"
)


def files(producer, count, folder, *, content=True):
    """`count` traces of one producer as files, each with ids and a question of its own.

    Args:
        producer: One of `PRODUCERS`.
        count: How many.
        folder: Where to write.
        content: False: as they are where the capture of content is off.
    """
    if producer == OWN:
        path = folder / "own.pb"
        path.write_bytes(_own(count, content))
        return [path]
    text = (DATA / FILES[producer]).read_text("utf-8")
    kept = text if content else _silent(producer, text)
    paths = [folder / f"{producer}-{number}{Path(FILES[producer]).suffix}" for number in range(count)]
    for number, path in enumerate(paths):
        own = kept.replace("Zugspitze", f"Peak {number}")
        if producer == "langsmith":
            own = UUID.sub(lambda found, number=number: f"{number:08x}{found[1]}", own)
        for name in sorted(set(re.findall(r'(?:trace|span)Id": ?"([0-9a-f]{16,32})"', own))):
            own = own.replace(name, f"{number:08x}{name[8:]}")
        path.write_text(own, "utf-8")
    return paths


def _own(count, content):
    graph = desk.build()
    callback, exporter = memory(content=content)
    run = {"run": "run-1", "time": 1.0}
    callback(events.RunStarted(**run, graph="desk", settings={}))
    rollout = {"step": 1, "phase": Phase.ROLLOUT, "candidate": "c0", "scores": ()}
    for number in range(count):
        with record(example=f"example {number}") as recording:
            asked = [HumanMessage(desk.QUESTION.replace("Zugspitze", f"Peak {number}"))]
            graph.invoke({**desk.inputs(), "messages": asked}, desk.config())
        trace = recording.trace
        callback(events.ExampleScored(**run, **rollout, example=str(trace.example), trace=trace))
    callback(events.StepFinished(**run, step=1, started=1.0, score=None, accepted=False))
    callback(events.RunFinished(**run, summary="", started=1.0, improved=False))
    callback.close()
    return encode_spans(exporter.get_finished_spans()).SerializeToString()


def _silent(producer, text):
    """The spans without what they were given and what they made."""
    if producer == "langsmith":
        runs = [{**run, "inputs": {}, "outputs": {}, "serialized": None} for run in json.loads(text)]
        return json.dumps(runs, ensure_ascii=False)
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        for resource in line["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    span["attributes"] = [at for at in span.get("attributes", ()) if not HIDDEN.match(at["key"])]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def polite(outputs):
    """Needs no reference: an answer ends with a greeting."""
    last = outputs["answer"] if "answer" in outputs else str(outputs["messages"])
    return GOODBYE in last, f"There is no greeting. {WANTED}"


def writer(replies):
    """A model as the desk has them, which greets where its prompt asks for it."""

    def reply(messages):
        made = replies(messages)
        return f"{made} {GOODBYE}" if isinstance(made, str) and WANTED in messages[0].text else made

    return ScriptedChatModel(replies=reply)


def answers():
    """Answers recorded calls, whichever they are."""
    return writer(lambda messages: "It is high.")


def critic():
    """Blames each prompt it is shown, asks for a greeting, and prefers the reply that greets."""

    def reply(messages):
        system, request = messages[0].text, messages[-1].text
        if "compare two replies" in system:
            first = re.search(r"<<<DATA first reply [0-9a-f]+>>>\n(.*?)\n<<<END", request, re.DOTALL)[1]
            return {"comment": "One greets.", "better": "first" if GOODBYE in first else "second"}
        if now := NOW.search(request):
            return {"alternatives": [{"why": "the feedback asks for it", "text": f"{now[1]} {WANTED}"}]}
        return {"about_this": [{"id": "P1", "feedback": f"Ask for this: {WANTED}"}], "about_inputs": []}

    return ScriptedChatModel(replies=reply, model_name="critic")
