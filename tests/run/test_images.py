"""Graphs that read an image: it is recorded, reaches the critic, and is kept once; their prompts are trained as any other."""

from __future__ import annotations

import base64
import json
import random
import re
from typing import Any, TypedDict

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import START, StateGraph

from textgrad_lg import Evals, MemoryRegistry, Settings, Strategy, optimize
from textgrad_lg.autograd import backward, seed
from textgrad_lg.errors import TraceError
from textgrad_lg.example import Score
from textgrad_lg.record import discover, record
from textgrad_lg.run.demonstrations import demonstrations
from textgrad_lg.testing import Rule, ScriptedChatModel, SimulatedChatModel
from textgrad_lg.trace import Trace

ALONE = "Name it in one word."


def png(kind):
    """An image, as far as a test can tell: bytes of its own."""
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + random.Random(kind).randbytes(30_000)).decode()


URLS = {"bee": "https://example.org/bee.png", "ant": "https://example.org/ant.png"}
DATA = {"bee": png("bee"), "ant": png("ant")}


class State(TypedDict, total=False):
    at: int
    photo: str
    insect: str
    page: str


def standard(photo):
    return {"type": "image", "base64": photo, "mime_type": "image/png"}


def openai(photo):
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{photo}"}}


def anthropic(photo):
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": photo}}


def url(photo):
    return {"type": "image", "url": photo}


FORMS = {"standard": standard, "openai": openai, "anthropic": anthropic, "url": url}


def seen(messages) -> list[str]:
    """Which of the insects stand in the images of a request."""
    blocks = [b for m in messages if isinstance(m.content, list) for b in m.content if b["type"] != "text"]
    known = {**{v: k for k, v in URLS.items()}, **{v: k for k, v in DATA.items()}}
    said = [json.dumps(block) for block in blocks]
    return [name for block in said for text, name in known.items() if text in block]


def model():
    def answer(messages):
        if messages[0].text.startswith("You write"):
            return f"<p>{messages[-1].text}</p>"
        return f"This looks like: {seen(messages)[0]}"

    def alone(reply, messages):
        return reply.rpartition(": ")[2]

    return SimulatedChatModel(answer=answer, rules=[Rule(ALONE, alone)])


def graph(form, llm=None):
    llm = llm or model()

    def look(state: State):
        content: Any = [{"type": "text", "text": "Which insect?"}, FORMS[form](state["photo"])]
        return {"insect": llm.invoke([SystemMessage("You name insects."), HumanMessage(content)]).text}

    def write(state: State):
        return {"page": llm.invoke([SystemMessage("You write the page."), HumanMessage(state["insect"])]).text}

    made = StateGraph(State)
    made.add_node("look", look)
    made.add_node("write", write)
    made.add_edge(START, "look")
    made.add_edge("look", "write")
    return made.compile(name="insects")


def photo(form, name="bee"):
    return (URLS if form == "url" else DATA)[name]


def recorded(form, name="bee"):
    made = graph(form)
    with record() as recording:
        made.invoke({"photo": photo(form, name)})
    found = discover(recording.traces, made)
    return found, found.label(recording.traces[0])


@pytest.mark.parametrize("form", FORMS)
def test_an_image_is_a_variable_of_the_calls_that_were_sent_it(form):
    _, trace = recorded(form)
    (image,) = [v for v in trace.variables if ".image" in v.id]
    assert (image.role, image.site, image.requires_grad) == ("image sent by `look`", None, False)
    assert photo(form) in json.dumps(image.value)
    (edge,) = [edge for edge in trace.edges if edge.source == image.id]
    assert (edge.via, trace.variable_by_id[edge.target].role) == ("call", "reply of `look`")
    assert [str(p.site) for p in trace.parameters if p.requires_grad] == ["look/system", "look/human", "write/system"]


def prompted(messages):
    """Feedback on all prompts that a request asks about."""
    names = re.search(r"Give feedback on[^:]*: ([PVS\d, ]+)", messages[-1].text)
    said = [{"id": name, "feedback": "Better."} for name in (names[1].split(", ") if names else [])]
    return {
        "feedback": said,
        "about_this": [item for item in said if item["id"][0] == "P"],
        "about_inputs": [item for item in said if item["id"][0] == "V"],
    }


@pytest.mark.parametrize("strategy", [Strategy.CHAIN, Strategy.FUSED])
@pytest.mark.parametrize("form", FORMS)
async def test_the_critic_sees_the_image_and_none_of_its_bytes_as_text(form, strategy):
    _, trace = recorded(form)
    critic = ScriptedChatModel(replies=prompted)
    trace = seed(trace, [Score("right", 0.0, "wrong", ("page",))])
    gradients = await backward(trace, critic, strategy=strategy)
    about_look = [r.messages for r in critic.requests if "You name insects." in r.messages[-1].text]
    assert [seen(messages) for messages in about_look] == [["bee"]]
    assert all(DATA["bee"][40:90] not in m.text for r in critic.requests for m in r.messages)
    assert "look/system" in {str(site) for site in gradients.parameters()}
    others = [r.messages for r in critic.requests if "You name insects." not in r.messages[-1].text]
    assert all(seen(messages) == [] for messages in others)
    assert gradients.failures == ()


@pytest.mark.parametrize("form", ["standard", "openai", "anthropic"])
def test_a_trace_keeps_each_image_once(form):
    _, trace = recorded(form)
    text = trace.to_json()
    assert Trace.from_json(text) == Trace.from_json(text.encode()) == trace
    assert text.count(photo(form)[30:2_000]) == 1
    assert len(text) < len(photo(form)) + 8_000


def test_a_long_text_that_stands_in_several_places_is_kept_once_and_looks_the_same():
    _, trace = recorded("standard")
    long = "x y" * 40_000
    variables = tuple(
        v if v.site is not None else type(v)(v.id, [long, {"at": long}], v.role, v.span) for v in trace.variables
    )
    changed = Trace(trace.id, trace.name, trace.spans, variables, trace.edges, trace.inputs, trace.outputs)
    text = changed.to_json()
    assert text.count(long) == 1
    assert Trace.from_json(text) == changed
    own = Trace("1", "t", variables=(type(variables[0])("v", [{"$text": 0}, long, long], "r"),))
    assert Trace.from_json(own.to_json()) == own


@pytest.mark.parametrize(("size", "times"), [(2_048, 1), (2_047, 2)])
@pytest.mark.parametrize("text", ['"', "\\", '\\"', "x", "\n", "ü", '" \\'])
def test_a_text_is_long_by_what_it_says_and_not_by_how_it_is_written(text, size, times):
    _, trace = recorded("standard")
    begin = f"this is {size} "
    long = (begin + text * size)[:size]
    more = [f"number {at}, which is said to make it a large trace" for at in range(1_000)]
    own = Trace("1", "t", variables=(type(trace.variables[0])("v", [*more, long, long], "r"),))
    assert own.to_json().count(begin) == times
    assert Trace.from_json(own.to_json()) == own


@pytest.mark.parametrize(
    "bad", ['{"texts": 3}', '{"texts":["a"],"trace":{"$text":4,"before":""}}', '{"texts":["a"]', '{"texts":[]}']
)
def test_what_cannot_be_put_back_together_is_refused(bad):
    with pytest.raises(TraceError, match="not a trace"):
        Trace.from_json(bad)


def test_an_answer_about_an_image_is_no_demonstration_without_it():
    found, trace = recorded("standard")
    example = Evals([{"inputs": {"photo": "p"}, "reference_outputs": {}}], [right]).examples[0]
    shown = demonstrations([(example, trace, True)], found.parameters)
    assert {str(site) for site in shown} == {"write/system"}


def test_a_message_that_is_an_image_alone_holds_no_prompt():
    llm = model()
    made: Any = StateGraph(State)
    made.add_node(
        "look",
        lambda state: {
            "insect": llm.invoke([SystemMessage("You name insects."), HumanMessage([standard(state["photo"])])]).text
        },
    )
    made.add_edge(START, "look")
    made = made.compile()
    with record() as recording:
        made.invoke({"photo": DATA["bee"]})
        made.invoke({"photo": DATA["ant"]})
    found = discover(recording.traces, made)
    assert [str(site) for site in found.parameters] == ["look/system"]


def right(outputs, reference_outputs):
    want = reference_outputs["page"]
    return outputs["page"] == want, f"expected {want!r}, got {outputs['page']!r}"


def critic():
    """Asks for one word, if it was shown the image that the reply is about."""

    def reply(messages):
        system, request = messages[0].text, messages[-1].text
        if "alternatives" in system or "alternative" in request:
            text = re.search(r"<<<DATA the text now [0-9a-f]+>>>\n(.*?)\n<<<END", request, re.DOTALL)
            asked = ALONE if ALONE in request else "Do your best."
            return {"alternatives": [{"why": "asked for", "text": f"{text[1] if text else ''}\n\n{asked}"}]}
        insects = seen(messages)
        prompt = re.search(r"<<<DATA (P\d): [^\n]*>>>\nYou name insects", request)
        said = [{"id": prompt[1], "feedback": f"Say: {ALONE}"}] if prompt and insects and insects[0] in request else []
        inputs = [{"id": "V1", "feedback": "One word would do."}] if "V1" in request else []
        return {"feedback": said, "about_this": said, "about_inputs": inputs}

    return ScriptedChatModel(replies=reply, model_name="critic")


@pytest.mark.parametrize(("form", "strategy"), [("standard", Strategy.FUSED), ("url", Strategy.CHAIN)])
def test_the_prompt_beside_an_image_is_optimised(form, strategy):
    llm = model()
    names = ["bee", "ant"] * 15
    data = [
        {"inputs": {"at": at, "photo": photo(form, name)}, "reference_outputs": {"page": f"<p>{name}</p>"}}
        for at, name in enumerate(names)
    ]
    asked = critic()
    result = optimize(
        graph(form, llm),
        Evals(data, [right]),
        model=asked,
        settings=Settings(steps=1, batch=4, strategy=strategy),
        registry=MemoryRegistry(),
    )
    assert (result.validation.before, result.validation.after) == (0.0, 1.0)
    assert [str(site) for site in result.texts] == ["look/system"]
    assert any(seen(request.messages) for request in asked.requests)
    assert result.graph.invoke({"photo": photo(form, "ant")})["page"] == "<p>ant</p>"
