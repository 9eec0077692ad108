"""Graphs nobody here wrote: each is run as its README shows, its texts are found and replaced, and nothing is edited."""

from __future__ import annotations

import importlib
import importlib.util
import warnings

import pytest
from langchain_core.messages import HumanMessage, SystemMessage

from tests.graphs.others import table
from tests.graphs.others.actor import Actor, calls
from tests.graphs.others.bigtool import agent
from tests.graphs.others.cases import CASES
from tests.graphs.others.check import compare, finding
from tests.graphs.others.held import texts_held
from textgrad_lg.testing.models import Request


# Of the module's scope, so that all tests of one graph run one after the other, on one worker.
@pytest.fixture(scope="module", params=[pytest.param(case, id=case.name) for case in CASES])
def case(request):
    return request.param


@pytest.fixture
def found(case):
    return finding(case.name)


class TestEachGraph:
    def test_its_prompts_are_discovered(self, case, found):
        texts = {str(site): text.text for site, text in found.parameters.items() if site.in_message}
        assert texts.keys() == case.prompts.keys()
        assert [site for site, words in case.prompts.items() if words not in texts[site]] == []

    def test_every_text_that_reached_a_model_is_a_prompt_or_a_value_of_the_state(self, case, found):
        assert [text for text in found.missed if not text.startswith(tuple(case.missed))] == []
        # A text that is found by now fails here: take it out of the case's `missed`.
        assert [words for words in case.missed if not any(text.startswith(words) for text in found.missed)] == []
        assert found.recorded

    def test_each_prompt_can_be_replaced_and_nothing_else_changes(self, case, found):
        # A prompt that is replaced by now fails here: take it out of the case's `kept`.
        expected = {site: n for site, n in found.discovered.items() if site not in case.kept}
        assert {name: way.wrong for name, way in found.ways.items() if way.wrong is not None} == {}
        assert {name: dict(way.texts) for name, way in found.ways.items()} == dict.fromkeys(found.ways, expected)

    def test_each_description_is_discovered_and_can_be_replaced(self, found):
        assert found.undescribed == frozenset()
        assert found.redescribed == found.offered

    def test_the_edges_lead_from_each_prompt_to_the_output(self, case, found):
        prompts = {str(site) for site in found.parameters if site.in_message}
        assert found.calls > 0
        assert found.replies == (found.calls, found.calls)
        assert found.tools[0] == found.tools[1]
        assert found.led & prompts == prompts - case.aside.keys()
        assert found.confirmed & prompts == (found.led & prompts) - case.unsure.keys()

    def test_nothing_of_it_is_edited(self, found):
        assert found.edited == ()

    def test_the_page_says_what_was_found(self, case, found):
        # Where this fails and the others do not: python -m tests.graphs.others.table
        assert table.row(case, found) in table.PAGE.read_text().splitlines()


def test_the_page_has_a_line_for_each_graph_and_no_other():
    lines = table.PAGE.read_text().splitlines()
    rows = [line for case in CASES for line in lines if line.startswith(f"| {case.name} | ")]
    assert len(rows) == len(CASES)
    assert table.PAGE.read_text() == table.page(rows)


class TestWhatIsNotRun:
    """Each of these asserts that it fails by itself, without this library, so that a cure shows up."""

    def test_codeact_is_not_installed(self):
        assert importlib.util.find_spec("langgraph_codeact") is None

    @pytest.mark.parametrize(
        ("module", "why"),
        [("langmem.graphs.prompts", "state_schema"), ("langmem.graphs.semantic", "OPENAI_API_KEY")],
    )
    def test_a_shipped_graph_that_cannot_be_imported(self, module, why):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(Exception, match=why):
                importlib.import_module(module)

    def test_bigtool_cannot_call_a_tool_of_its_registry(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = agent(Actor(act=lambda turn: calls(("acos", {"x": 0.5}))))
        with pytest.raises(AttributeError, match="inject_tool_args"):
            graph.invoke({"messages": "the arc cosine of 0.5"})


class TestTheChecksThemselves:
    """The checks can fail."""

    def request(self, system, human="hello"):
        return Request((SystemMessage(system), HumanMessage(human)), {})

    def test_a_text_that_stayed_is_not_counted(self):
        way = compare([self.request("be kind")], [self.request("be kind")], ["a/system"])
        assert (dict(way.texts), way.wrong) == ({}, None)

    def test_a_text_that_was_replaced_twice_is_wrong(self):
        way = compare([self.request("be kind")], [self.request("<<0>> <<0>> be kind")], ["a/system"])
        assert way.wrong == "replaced twice: <<0>> <<0>> be kind"

    def test_another_message_that_changed_is_wrong(self):
        way = compare([self.request("be kind")], [self.request("<<0>> be kind", "good day")], ["a/system"])
        assert dict(way.texts) == {"a/system": 1}
        assert "good day" in str(way.wrong)

    def test_a_call_more_is_wrong(self):
        way = compare([self.request("be kind")], [self.request("<<0>> be kind")] * 2, ["a/system"])
        assert way.wrong is not None

    def test_an_edited_text_is_seen_in_attributes_closures_and_lists(self):
        class Node:
            def __init__(self):
                self.prompt = ["be kind"]

        class Graph:
            def __init__(self, text):
                self.node = Node()
                self.call = lambda: (text, self.node)

        graph = Graph("be brief")
        before = texts_held(graph, None)
        assert "be brief" in {text for _, text in before.values()}
        graph.node.prompt[0] = "be cruel"
        after = texts_held(graph, None)
        assert [before[path][1] for path in before if before[path] != after[path]] == ["be kind"]
