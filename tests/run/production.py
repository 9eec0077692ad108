"""Production traces to learn from, and a critic that reads what it is shown as quoted data."""

from __future__ import annotations

import json
import re

from tests.run.worlds import WANTED, review_model, three_nodes
from textgrad_lg.record import record
from textgrad_lg.testing import ScriptedChatModel

FAULT = "I think this is"
NOW = re.compile(r"<<<DATA the text now [0-9a-f]+>>>\n(.*?)\n<<<END", re.DOTALL)
REPLY = re.compile(r"<<<DATA reply of the call [0-9a-f]+>>>\n(.*?)\n<<<END", re.DOTALL)


def pages(count=40, model=None):
    """Recorded runs of a graph whose judge is too talkative, and that graph."""
    graph = three_nodes(model or review_model())
    traces = []
    for at in range(count):
        with record() as recording:
            graph.invoke({"review": f"{'good' if at % 2 else 'bad'} film number {at}"})
        traces.append(recording.trace)
    return graph, traces


def short(outputs):
    """Needs no reference: a label is one word."""
    return FAULT not in outputs["page"], f"The page should hold the label alone, and is {outputs['page']!r}."


def quoted_critic(instruction=WANTED, prefers=WANTED, text=None):
    """Blames the call whose reply is too talkative, writes what the feedback asks for, and prefers labels."""

    def reply(messages):
        system, request = messages[0].text, messages[-1].text
        if "compare two replies" in system:
            first = re.search(r"<<<DATA first reply [0-9a-f]+>>>\n(.*?)\n<<<END", request, re.DOTALL)[1]
            return {"comment": "One is a label.", "better": "second" if FAULT in first else "first"}
        if now := NOW.search(request):
            asked = text or (f"{now[1]}\n\n{instruction}" if instruction in request else f"{now[1]} Do your best.")
            return {"alternatives": [{"why": "the feedback asks for it", "text": asked}]}
        shown = REPLY.search(request)
        if shown and json.loads(shown[1]).startswith(FAULT):
            return {"about_this": [{"id": "P1", "feedback": f"Ask for this: {instruction}"}], "about_inputs": []}
        inputs = [{"id": "V1", "feedback": "It should be the label and nothing else."}] if FAULT in request else []
        return {"about_this": [], "about_inputs": inputs}

    return ScriptedChatModel(replies=reply, model_name="critic")
