"""Rewriting descriptions: every form in which tools and output schemas are bound, and what must not be touched."""

from __future__ import annotations

import copy
import json
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.tools import InjectedToolArg, tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, Field

from textgrad_lg.descriptions import is_description, mapped, plain, purpose, title
from textgrad_lg.errors import TemplateError
from textgrad_lg.overlay import Replacement, merge, overlay
from textgrad_lg.overlay.tools import rewrite_options
from textgrad_lg.prompt import Demo, Template
from textgrad_lg.site import Site


def change(old, new, **options):
    return Replacement(Template(old), Template(new, **options))


TEXTS = {
    Site.parse("tools:search/description"): change("Old tool.", "New tool, with {braces}."),
    Site.parse("tools:search/args/query"): change("Old query.", "New query."),
    Site.parse("schemas:Answer/description"): change("Old answer.", "New answer."),
    Site.parse("schemas:Answer/args/label"): change("Old label.", "New label."),
}
PARAMETERS = {"type": "object", "properties": {"query": {"type": "string", "description": "Old query."}}}
SCHEMA = {
    "title": "Answer",
    "description": "Old answer.",
    "type": "object",
    "properties": {"label": {"type": "string", "description": "Old label."}},
}
UNTITLED = {key: value for key, value in SCHEMA.items() if key != "title"}
TOLD = {"name": "search", "description": "Old tool.", "parameters": PARAMETERS}

TOOLS = {
    "openai": {"type": "function", "function": TOLD},
    "responses": {"type": "function", **TOLD},
    "anthropic": {"name": "search", "description": "Old tool.", "input_schema": PARAMETERS},
    "google": {"function_declarations": [TOLD]},
    "google json": {
        "function_declarations": [
            {"name": "search", "description": "Old tool.", "parameters_json_schema": PARAMETERS},
        ]
    },
}
SCHEMAS = {
    "openai": {"response_format": {"type": "json_schema", "json_schema": {"name": "Answer", "schema": SCHEMA}}},
    "openai, described outside": {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "Answer", "description": "Old answer.", "schema": UNTITLED},
        }
    },
    "bare": {"response_format": SCHEMA},
    "responses": {"text": {"verbosity": "low", "format": {"type": "json_schema", "name": "Answer", "schema": SCHEMA}}},
    "anthropic": {"output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}}},
    "anthropic, deprecated": {"output_format": {"type": "json_schema", "schema": SCHEMA}},
    "google": {"response_mime_type": "application/json", "response_json_schema": SCHEMA},
    "google, older": {"response_schema": SCHEMA},
    "ollama": {"format": SCHEMA},
    "for tracers": {"ls_structured_output_format": {"kwargs": {"method": "json_schema"}, "schema": SCHEMA}},
    "for tracers, as a tool": {
        "ls_structured_output_format": {
            "kwargs": {"method": "json_schema"},
            "schema": {"type": "function", "function": {"name": "Answer", "parameters": SCHEMA}},
        }
    },
    "for tracers, as a flat tool": {
        "ls_structured_output_format": {"kwargs": {}, "schema": {"name": "Answer", "input_schema": SCHEMA}}
    },
}


class Reason(BaseModel):
    """One reason."""

    words: str = Field(description="A quote.")


class Answer(BaseModel):
    """Old answer."""

    label: str = Field(description="Old label.")
    reasons: list[Reason] = Field(default=[], description="Why.")


def new_for_old(options):
    text = json.dumps(options)
    for old, new in (("Old tool.", "New tool, with {braces}."), ("Old ", "New ")):
        text = text.replace(old, new)
    return json.loads(text)


@pytest.mark.parametrize("key", ["tools", "functions"])
@pytest.mark.parametrize("form", TOOLS.values(), ids=TOOLS)
def test_every_form_of_a_tool(form, key):
    options = {key: [form, {"type": "web_search"}, {"type": "bash_1", "name": "bash"}], "tool_choice": "auto"}
    before = copy.deepcopy(options)
    assert rewrite_options(options, TEXTS) == new_for_old(options)
    assert options == before


@pytest.mark.parametrize("options", SCHEMAS.values(), ids=SCHEMAS)
def test_every_form_of_an_output_schema(options):
    before = copy.deepcopy(options)
    new = rewrite_options(options, TEXTS)
    assert new == new_for_old(options) != options
    assert options == before
    assert rewrite_options(new, TEXTS) is new


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tools": []},
        {"tools": None, "response_format": {"type": "json_object"}, "text": {"verbosity": "low"}, "format": "json"},
        {"tools": [{"type": "function", "function": {**TOLD, "name": "other"}}]},
        {"tools": [{"type": "function", "function": {"name": "search", "description": "Another tool of that name."}}]},
        {"tools": [{"name": 7, "description": "Old tool."}, {"description": "Old tool."}, "search", print]},
        {"tools": "search", "output_config": "low", "ls_structured_output_format": "none"},
        {"ls_structured_output_format": {"kwargs": {}, "schema": None}},
        {"output_config": {"effort": "low"}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"title": 7}}}},
    ],
)
def test_what_holds_no_old_text_is_not_even_copied(options):
    assert rewrite_options(options, TEXTS) is options
    assert rewrite_options(options, {}) is options
    assert rewrite_options(options, {Site(("ask",), "system"): change("Old tool.", "No.")}) is options


def test_what_is_the_same_is_shared_with_the_callers_objects():
    other = {"type": "function", "function": {"name": "other", "description": "Other."}}
    options = {"tools": [TOOLS["openai"], other], "stop": ["x"]}
    new = rewrite_options(options, TEXTS)
    assert new["tools"][1] is other
    assert new["stop"] is options["stop"]


class TestNames:
    def met(self, options):
        found = []

        def note(site, text):
            found.append((str(site), text))
            return text

        assert mapped(options, note) is options
        return found

    def test_nested_fields_are_named_by_their_path(self):
        schema = {
            "type": "object",
            "properties": {
                "a": {"description": "A.", "properties": {"b": {"description": "B."}}},
                "many": {"items": {"description": "One.", "properties": {"c": {"description": "C."}}}},
                "either": {"anyOf": [{"properties": {"d": {"description": "D."}}}, {"description": "E."}]},
                "free": {"additionalProperties": {"description": "F."}, "default": {"description": "not told"}},
                "pair": {"prefixItems": [{"description": "G."}, True]},
            },
        }
        assert self.met({"tools": [{"name": "t", "description": "T.", "parameters": schema}]}) == [
            ("tools:t/description", "T."),
            ("tools:t/args/a", "A."),
            ("tools:t/args/a.b", "B."),
            ("tools:t/args/many", "One."),
            ("tools:t/args/many.c", "C."),
            ("tools:t/args/either.d", "D."),
            ("tools:t/args/either", "E."),
            ("tools:t/args/free", "F."),
            ("tools:t/args/pair", "G."),
        ]

    @pytest.mark.parametrize("key", ["$defs", "definitions"])
    def test_a_definition_is_one_text_under_the_first_name_that_leads_to_it(self, key):
        node = {
            "description": "A node.",
            "properties": {
                "value": {"description": "Its value."},
                "next": {"anyOf": [{"$ref": f"#/{key}/Node"}, {"type": "null"}]},
            },
        }
        schema = {
            "title": "List",
            "properties": {
                "head": {"$ref": f"#/{key}/Node", "description": "The head."},
                "tail": {"$ref": f"#/{key}/Node"},
                "gone": {"$ref": f"#/{key}/Missing"},
            },
            key: {"Node": node, "Unused": {"description": "Unused."}},
        }
        assert self.met({"response_format": schema}) == [
            ("schemas:List/args/head", "The head."),
            ("schemas:List/args/head", "A node."),
            ("schemas:List/args/head.value", "Its value."),
        ]
        texts = {Site.parse("schemas:List/args/head.value"): change("Its value.", "A number.")}
        new = rewrite_options({"response_format": schema}, texts)["response_format"]
        expected = copy.deepcopy(schema)
        expected[key]["Node"]["properties"]["value"]["description"] = "A number."
        assert new == expected
        assert new[key]["Unused"] is schema[key]["Unused"]

    def test_a_schema_without_a_title_has_the_same_name_in_every_process(self):
        for name in ("response_format_4f1c", "response_format_0a9b", None):
            options = {"response_format": {"json_schema": {"name": name, "schema": UNTITLED}}}
            assert self.met(options)[0] == ("schemas:response_format/description", "Old answer.")

    @pytest.mark.parametrize("name", ["a/b", ""])
    def test_a_name_that_no_site_can_hold_is_no_parameter(self, name):
        assert self.met({"tools": [{**TOLD, "name": name}]}) == []

    @pytest.mark.parametrize("field", ["x#y", "x#1"])
    def test_nor_is_such_a_field(self, field):
        schema = {"properties": {field: {"description": "Lost."}, "kept": {"description": "Kept."}}}
        assert self.met({"tools": [{"name": "t", "parameters": schema}]}) == [("tools:t/args/kept", "Kept.")]

    def test_descriptions_without_words_are_none(self):
        assert self.met({"tools": [{"name": "t", "description": " "}, {"name": "u", "description": 3}]}) == []

    def test_several_tools_of_one_name_are_told_apart_by_their_text(self):
        first, second = Site.parse("tools:search/description"), Site.parse("tools:search/description#1")
        texts = {second: change("Two.", "New two."), first: change("One.", "New one.")}
        tools = [{"name": "search", "description": text} for text in ("Two.", "One.", "Three.")]
        new = rewrite_options({"tools": tools}, texts)["tools"]
        assert [told["description"] for told in new] == ["New two.", "New one.", "Three."]


class TestObjects:
    def test_a_pydantic_class_keeps_making_its_own_instances(self):
        texts = {
            **TEXTS,
            Site.parse("schemas:Answer/args/reasons.words"): change("A quote.", "New quote."),
            Site.parse("schemas:Answer/args/reasons#1"): change("One reason.", "New reason."),
        }
        made = rewrite_options({"response_format": Answer}, texts)["response_format"]
        expected: dict[str, Any] = new_for_old(Answer.model_json_schema())
        expected["$defs"]["Reason"]["description"] = "New reason."
        expected["$defs"]["Reason"]["properties"]["words"]["description"] = "New quote."
        assert made.model_json_schema() == expected
        assert Answer.model_json_schema()["description"] == "Old answer."
        assert issubclass(made, Answer)
        assert (made.__name__, made.__module__) == (Answer.__name__, Answer.__module__)
        for answer in (made.model_validate({"label": "x"}), made.model_validate_json('{"label": "x"}')):
            assert type(answer) is Answer
            assert answer == Answer(label="x")

    def test_a_class_is_made_once(self):
        first, second = (rewrite_options({"response_format": Answer}, TEXTS)["response_format"] for _ in range(2))
        assert first is second

    def test_a_class_among_the_tools_is_a_tool(self):
        texts = {Site.parse("tools:Answer/args/label"): change("Old label.", "New label.")}
        (made,) = rewrite_options({"tools": [Answer]}, texts)["tools"]
        told = convert_to_openai_tool(made)["function"]
        assert told["parameters"]["properties"]["label"]["description"] == "New label."
        assert told["description"] == "Old answer."

    def test_a_class_told_to_tracers(self):
        texts = {Site.parse("tools:Answer/args/label"): change("Old label.", "New label.")}
        shown = {"ls_structured_output_format": {"kwargs": {"method": "function_calling"}, "schema": Answer}}
        made: Any = rewrite_options(shown, texts)["ls_structured_output_format"]
        assert made["schema"].model_json_schema()["properties"]["label"]["description"] == "New label."

    def test_a_class_whose_texts_are_other_ones_stays_itself(self):
        options = {"response_format": Reason, "tools": [Reason]}
        assert rewrite_options(options, TEXTS) is options

    def test_a_tool_object_that_a_model_is_given_as_it_is(self):
        @tool
        def search(query: Annotated[str, "Old query."], key: Annotated[str, InjectedToolArg]) -> str:
            """Old tool."""
            return query + key

        options = {"tools": [search]}
        (made,) = rewrite_options(options, TEXTS)["tools"]
        told = convert_to_openai_tool(made)["function"]
        assert told["description"] == "New tool, with {braces}."
        assert told["parameters"]["properties"] == {"query": {"description": "New query.", "type": "string"}}
        assert search.description == "Old tool."
        assert rewrite_options({"tools": [made]}, TEXTS)["tools"][0] is made

    def test_what_is_recorded_of_objects_is_what_is_sent(self):
        @tool
        def search(query: Annotated[str, "Old query."]) -> str:
            """Old tool."""
            return query

        options = {"tools": [search, Answer, TOOLS["openai"], print], "response_format": Answer, "temperature": 0}
        told = plain(options)
        assert told["tools"][0] == convert_to_openai_tool(search)
        assert told["tools"][1] == convert_to_openai_tool(Answer)
        assert told["tools"][2:] == [TOOLS["openai"], print]
        assert told["response_format"]["json_schema"] == {"name": "Answer", "schema": Answer.model_json_schema()}
        assert told.keys() == {"tools", "response_format"}

    def test_settings_without_descriptions_are_not_recorded(self):
        options = {"text": {"verbosity": "low"}, "format": "json", "output_config": {"effort": "low"}, "tools": "odd"}
        assert plain(options) == {"tools": "odd"}
        assert plain({"output_config": {"format": {"schema": SCHEMA}}}).keys() == {"output_config"}

    def test_a_class_without_a_json_schema_is_recorded_as_it_is(self):
        class Odd(BaseModel, arbitrary_types_allowed=True):
            thing: object = Field(default_factory=object)
            call: type(print) = print  # pyright: ignore[reportInvalidTypeForm]

        assert plain({"response_format": Odd})["response_format"] is Odd


class TestOverlays:
    def test_a_text_on_top_of_a_bound_one(self):
        site = Site.parse("tools:search/description")
        inner = {site: change("Old tool.", "Bound.")}
        for outer in (change("Old tool.", "Tried."), change("Bound.", "Tried.")):
            new = rewrite_options({"tools": [TOOLS["openai"]]}, merge(inner, {site: outer}))
            assert new["tools"][0]["function"]["description"] == "Tried."

    def test_a_description_carries_no_demonstrations(self):
        demos = (Demo((("human", "Hm?"),), "Ah."),)
        with (
            pytest.raises(TemplateError, match="carries no demonstrations"),
            overlay({Site.parse("tools:search/description"): change("Old tool.", "New.", demos=demos)}),
        ):
            pass


@pytest.mark.parametrize(
    ("site", "words", "use"),
    [
        ("tools:search/description", "description of the tool `search`", "when to call the tool"),
        ("tools:search/args/query", "argument `query` of the tool `search`", "what to put into the argument"),
        ("schemas:Answer/description", "description of the schema `Answer`", "what its reply must be"),
        ("schemas:Answer/args/a.b", "field `a.b` of the schema `Answer`", "what to put into the field"),
    ],
)
def test_what_a_description_is_called(site, words, use):
    assert is_description(Site.parse(site))
    assert (title(Site.parse(site)), purpose(Site.parse(site))) == (words, use)


def test_other_sites_are_no_descriptions():
    for site in (Site(("ask",), "system"), Site.parse("prompts:planner/text"), Site((), "human")):
        assert not is_description(site)


NAMES = st.sampled_from(["a", "b", "items", "description", "properties"])
SHAPES = st.recursive(
    st.fixed_dictionaries(
        {"type": st.just("string")}, optional={"description": st.sampled_from(["Old.", "Kept.", ""])}
    ),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "description": st.sampled_from(["Old.", "Kept."]),
            "properties": st.dictionaries(NAMES, inner, max_size=3),
            "items": inner,
            "anyOf": st.lists(inner, max_size=2),
            "default": st.just({"description": "Old."}),
        },
    ),
    max_leaves=12,
)


@given(SHAPES)
def test_each_description_met_is_replaced_and_nothing_else(shape):
    options = {"tools": [{"name": "t", "description": "Old.", "parameters": shape}]}
    before = copy.deepcopy(options)
    met = []

    def note(site, text):
        met.append((site, text))
        return text

    mapped(options, note)
    texts = {site: change("Old.", "New.") for site, _ in met}
    new = rewrite_options(options, texts)
    assert options == before
    assert rewrite_options(new, texts) is new
    again = []
    mapped(new, lambda site, text: (again.append((site, text)), text)[1])
    assert again == [(site, "New." if text == "Old." else text) for site, text in met]
    assert rewrite_options(new, {site: change("New.", "Old.") for site, _ in met}) == before
