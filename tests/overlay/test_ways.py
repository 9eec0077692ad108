"""The four ways of holding a prompt, by every way of running a graph."""

from __future__ import annotations

import contextvars

import pytest
from langchain_core.language_models import BaseChatModel

from textgrad_lg.overlay import overlay

from .support import CASES, OLD, WAYS, CountingMeter, Watcher, by_constant, change, scripted, sent


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CASES)
class TestEveryWay:
    def test_the_model_and_the_callbacks_get_the_new_text_exactly_once(self, name, way):
        case = CASES[name]
        model, watcher, meter, seen = scripted(*case.replies), Watcher(), CountingMeter(), []
        graph = case.build(model)
        with overlay(case.texts, meter=meter, seen=seen.append):
            WAYS[way](graph, case.inputs, {"callbacks": [watcher]})
        assert [str(request) for request in model.requests] == case.sent
        assert watcher.calls == sent(model)
        assert len(meter.admitted) == len(meter.settled) == len(case.sent)
        assert seen == [model] * len(case.sent)

    def test_without_texts_the_requests_are_the_same_to_the_byte(self, name, way):
        case = CASES[name]
        plain, metered = scripted(*case.replies), scripted(*case.replies)
        WAYS[way](case.build(plain), case.inputs, None)
        with overlay(meter=CountingMeter()):
            WAYS[way](case.build(metered), case.inputs, None)
        assert _dump(metered) == _dump(plain)

    def test_beside_an_overlay_in_another_context_nothing_changes(self, name, way):
        case = CASES[name]
        model, meter = scripted(*case.replies), CountingMeter()
        outside = contextvars.copy_context()
        plain = scripted(*case.replies)
        WAYS[way](case.build(plain), case.inputs, None)
        with overlay(case.texts, meter=meter):
            outside.run(WAYS[way], case.build(model), case.inputs, None)
        assert _dump(model) == _dump(plain)
        assert meter.admitted == []


def _dump(model):
    """The requests without the ids that LangGraph makes up anew in each run."""
    found = []
    for request in model.requests:
        messages = [{**message.model_dump(), "id": message.id is not None} for message in request.messages]
        found.append((messages, request.options))
    return str([(_without_ids(messages), options) for messages, options in found])


def _without_ids(messages):
    return [
        {key: value for key, value in message.items() if key not in ("tool_calls", "response_metadata")}
        for message in messages
    ]


def test_the_class_has_its_own_methods_back_after_the_last_overlay(originals):
    def methods():
        return {name: BaseChatModel.__dict__[name] for name in originals}

    with overlay({}):
        inside = methods()
        assert all(inside[name] is not originals[name] for name in originals)
        with overlay({}):
            assert methods() == inside
        assert methods() == inside
    assert methods() == originals


def test_the_methods_come_back_after_an_exception(originals):
    with pytest.raises(ZeroDivisionError), overlay({}):
        raise ZeroDivisionError
    assert {name: BaseChatModel.__dict__[name] for name in originals} == originals


def test_somebody_elses_patch_on_top_of_ours_stays(originals, monkeypatch):
    model = scripted()
    meter = CountingMeter()
    with overlay({}):
        ours = BaseChatModel.generate

        def theirs(self, *args, **kwargs):
            return ours(self, *args, **kwargs)

        BaseChatModel.generate = theirs
    try:
        assert BaseChatModel.generate is theirs
        assert model.invoke("hello").text == "fine"
        with overlay({}, meter=meter):
            model.invoke("hello")
        assert len(meter.admitted) == 1
        assert BaseChatModel.generate is theirs
    finally:
        BaseChatModel.generate = originals["generate"]


def test_an_inner_overlay_replaces_the_texts_and_inherits_the_rest():
    model, outer_meter, inner_meter, seen = scripted(), CountingMeter(), CountingMeter(), []
    graph = by_constant(model)
    texts = dict(CASES["constant"].texts)
    (site,) = texts
    with overlay(texts, meter=outer_meter, seen=seen.append):
        with overlay({}):
            graph.invoke({"question": "1"})
        with overlay(meter=inner_meter):
            graph.invoke({"question": "2"})
        with overlay({site: change(OLD, "Inner.")}):
            graph.invoke({"question": "3"})
        graph.invoke({"question": "4"})
    assert [prompt[0][1] for prompt in sent(model)] == [OLD, "You are a kind judge.", "Inner.", "You are a kind judge."]
    assert (len(outer_meter.admitted), len(inner_meter.admitted), len(seen)) == (3, 1, 4)
