"""A label is read as of one moment, although the registry is read prompt by prompt."""

from __future__ import annotations

from typing import TypedDict

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import START, StateGraph

from textgrad_lg import MemoryRegistry, Site, Template, from_registry
from textgrad_lg.errors import RegistryError, TemplateError, UnknownVersion
from textgrad_lg.registry import NewVersion
from textgrad_lg.run.reading import read_label
from textgrad_lg.testing import ScriptedChatModel


class State(TypedDict, total=False):
    draft: str
    check: str


OWN = {"draft/system": "You draft.", "check/system": "You check."}


def publish(registry, number, label="production"):
    """Move the label on both prompts at once to texts that end in `number`."""
    names = {f"letters:{site}": own for site, own in OWN.items()}
    for name, own in names.items():
        if name not in registry.names():
            registry.commit([NewVersion(name, Template(own))], label="own", expect={name: None})
    now = {name: registry.labels(name).get(label) for name in names}
    new = [NewVersion(name, Template(f"{own} {number}"), parent=1) for name, own in names.items()]
    registry.commit(new, label=label, expect=now)


class Moving(MemoryRegistry):
    """Another process publishes while the second prompt is asked about, so often."""

    left = 0
    when = "get"

    def _meanwhile(self, name, what):
        if what == self.when and name == "letters:check/system" and self.left:
            self.left -= 1
            publish(self, 9 - self.left)

    def get(self, name, **which):
        self._meanwhile(name, "get")
        return super().get(name, **which)

    def moves(self, name, label):
        self._meanwhile(name, "moves")
        return super().moves(name, label)


def texts(reading):
    return {str(site): change.new.text for site, change in reading.texts.items()}


def graph_of(model):
    def draft(state):
        return {"draft": model.invoke([SystemMessage(OWN["draft/system"]), HumanMessage("Go.")]).text}

    def check(state):
        return {"check": model.invoke([SystemMessage(OWN["check/system"]), HumanMessage("Go.")]).text}

    graph = StateGraph(State).add_node(draft).add_node(check).add_edge(START, "draft").add_edge("draft", "check")
    return graph.compile(name="letters")


@pytest.mark.parametrize("when", ["get", "moves"])
@pytest.mark.parametrize("moves", [0, 1, 4])
def test_a_run_has_the_texts_of_one_version(moves, when):
    sent = []
    model = ScriptedChatModel(replies=lambda messages: sent.append(messages[0].text) or "done")
    registry = Moving()
    publish(registry, 9 - moves)
    graph = from_registry(graph_of(model), registry)
    registry.left, registry.when = moves, when
    graph.invoke({})
    assert sent == ["You draft. 9", "You check. 9"]


def test_a_label_that_never_rests_is_an_error_that_says_so():
    registry = Moving()
    publish(registry, 1)
    registry.left = 5
    with pytest.raises(RegistryError, match="'production' moved while it was read, 5 times in a row"):
        read_label(registry, "letters", "production")
    assert texts(read_label(registry, "letters", "production")) == {
        "draft/system": "You draft. 9",
        "check/system": "You check. 9",
    }


def test_what_did_not_move_is_not_read_again():
    class Counted(MemoryRegistry):
        got = 0

        def get(self, name, **which):
            self.got += 1
            return super().get(name, **which)

    registry = Counted()
    publish(registry, 1)
    first = read_label(registry, "letters", "production")
    assert registry.got == 2
    assert read_label(registry, "letters", "production", first) is first
    assert registry.got == 2
    publish(registry, 2)
    assert texts(read_label(registry, "letters", "production", first))["draft/system"] == "You draft. 2"


def test_a_rollback_and_another_label_and_another_graph():
    registry = MemoryRegistry()
    publish(registry, 1)
    publish(registry, 2)
    publish(registry, 3, label="candidate")
    registry.rollback("production", ["letters:draft/system"])
    assert texts(read_label(registry, "letters", "production")) == {
        "draft/system": "You draft. 1",
        "check/system": "You check. 2",
    }
    registry.rollback("production", ["letters:draft/system"])
    assert texts(read_label(registry, "letters", "production")) == {"check/system": "You check. 2"}
    assert texts(read_label(registry, "letters", "candidate"))["check/system"] == "You check. 3"
    assert read_label(registry, "letter", "production").texts == {}
    assert read_label(registry, "letters", "nowhere").texts == {}


def test_what_is_replaced_is_the_graphs_own_text():
    registry = MemoryRegistry()
    publish(registry, 1)
    publish(registry, 2)
    change = read_label(registry, "letters", "production").texts[Site.parse("draft/system")]
    assert (change.old.text, change.new.text) == ("You draft.", "You draft. 2")


def test_what_cannot_be_used_is_refused():
    class Lost(MemoryRegistry):
        def history(self, name):
            return super().history(name)[1:]

    registry = Lost()
    publish(registry, 1)
    with pytest.raises(UnknownVersion, match="descends from a version that the registry does not hold"):
        read_label(registry, "letters", "production")
    registry = MemoryRegistry()
    publish(registry, 1)
    name = "letters:draft/system"
    registry.commit(
        [NewVersion(name, Template("Draft {what}.", ("what",)), parent=1)],
        label="production",
        expect={name: registry.labels(name)["production"]},
    )
    with pytest.raises(TemplateError, match="what"):
        read_label(registry, "letters", "production")
