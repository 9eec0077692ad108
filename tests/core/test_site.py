import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from textgrad_lg.site import Site, call_path, prompt_messages

names = st.text(alphabet="abcdefghijklmnop_-. ", min_size=1, max_size=8)
sites = st.builds(
    Site,
    path=st.lists(names, max_size=3).map(tuple),
    role=st.sampled_from(["system", "human"]),
    index=st.integers(0, 12),
    agent=st.none() | names,
)

words = st.text(alphabet="abcXYZ_012-. ", min_size=1, max_size=8)
unplaced = st.builds(
    Site,
    path=st.tuples(
        st.sampled_from(["tools:", "schemas:", "prompts:", "context:"]).flatmap(lambda kind: words.map(kind.__add__))
    ),
    role=st.sampled_from(["description", "text"]) | words.map("args/".__add__),
    index=st.integers(0, 12),
)


@given(sites | unplaced)
def test_a_printed_site_reads_back(site):
    assert Site.parse(str(site)) == site


@pytest.mark.parametrize(
    ("site", "printed"),
    [
        (Site(("planner",), "system"), "planner/system"),
        (Site((), "human"), "/human"),
        (Site(("desk", "model"), "system", 1, "writer"), "desk/model[writer]/system#1"),
        (Site(("tools:search",), "description"), "tools:search/description"),
        (Site(("tools:search",), "args/date.from_day"), "tools:search/args/date.from_day"),
        (Site(("schemas:Answer",), "args/label", 1), "schemas:Answer/args/label#1"),
        (Site(("prompts:planner",), "text"), "prompts:planner/text"),
    ],
)
def test_printed_form(site, printed):
    assert str(site) == printed


@given(sites | unplaced)
def test_only_sites_of_nodes_are_in_messages(site):
    assert site.in_message == (
        not any(str(site).startswith(kind) for kind in ("tools:", "schemas:", "prompts:", "context:"))
    )


@pytest.mark.parametrize("text", ["planner", "planner/", "", "a]b/system"])
def test_what_is_no_site_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="a site looks like 'planner/system'"):
        Site.parse(text)


@pytest.mark.parametrize(
    ("metadata", "path", "agent"),
    [
        ({"langgraph_checkpoint_ns": "plan:aa51"}, ("plan",), None),
        ({"langgraph_checkpoint_ns": "outer:4f|1|inner:7b"}, ("outer", "inner"), None),
        ({"langgraph_checkpoint_ns": "tools:1|model:2", "lc_agent_name": "r2"}, ("tools", "model"), "r2"),
        ({"checkpoint_ns": "plan:aa51"}, ("plan",), None),
        ({}, (), None),
        (None, (), None),
    ],
)
def test_path_comes_from_langgraphs_metadata(metadata, path, agent):
    assert call_path(metadata) == (path, agent)


def test_prompt_messages_are_those_the_author_wrote():
    messages = [
        SystemMessage("you plan"),
        HumanMessage("from state", id="1"),
        AIMessage("earlier"),
        ToolMessage("result", tool_call_id="t"),
        HumanMessage("now plan"),
    ]
    assert prompt_messages(messages) == [(0, "system"), (4, "human")]
