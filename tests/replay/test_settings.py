"""Settings are a part of what a call asks: another temperature is another call, and the same is remembered."""

from __future__ import annotations

import pytest
from langchain_core.messages import HumanMessage

from tests.overlay.test_settings import asking, laid, model
from textgrad_lg.overlay import Watch, overlay
from textgrad_lg.record import record
from textgrad_lg.replay import memorise, replay
from textgrad_lg.replay.keys import model_key
from textgrad_lg.site import Site

TEMPERATURE, TOKENS = Site.parse("settings:ask/temperature"), Site.parse("settings:ask/max_tokens")


@pytest.mark.parametrize(
    ("site", "old", "first", "second"), [(TEMPERATURE, "0.7", "0.1", "0.2"), (TOKENS, "null", "10", "20")]
)
def test_another_value_is_asked_anew_and_the_same_is_remembered(site, old, first, second):
    chat = model()
    graph = asking(chat)
    with memorise() as known, overlay(laid(site, old, first)):
        graph.invoke({"question": "q"})
    for value, asked in ((first, 1), (second, 2)):
        with replay(known.memo), overlay(laid(site, old, value)):
            graph.invoke({"question": "q"})
        assert len(chat.requests) == asked


def test_a_remembered_call_tells_its_settings_too():
    chat = model()
    graph, watch = asking(chat), Watch(frozenset({TEMPERATURE}))
    with memorise() as known, overlay(watch=watch):
        graph.invoke({"question": "q"})
    with replay(known.memo), overlay(watch=watch), record() as recording:
        graph.invoke({"question": "q"})
    assert len(chat.requests) == 1
    assert [at.value for at in recording.trace.variables if at.site == TEMPERATURE] == ["0.7"]


def test_the_key_of_a_call_has_its_sampling_parameters():
    ask = [HumanMessage("q")]
    options = [{}, {"temperature": 0.0}, {"temperature": 0.5}, {"model": "large"}, {"top_p": 0.5}, {"max_tokens": 5}]
    keys = {model_key(model(), ask, None, given, ((), None)) for given in options}
    assert len({*keys, model_key(model(temperature=0.1), ask, None, {}, ((), None))}) == len(options) + 1
