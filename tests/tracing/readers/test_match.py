"""Which Parameter a text is that a production run sent, and how sure that is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tracing.readers import desk
from tests.tracing.readers.support import DATA, FILES, build_one, call, edges, inside, langsmith, trace_of
from textgrad_lg.prompt import Template
from textgrad_lg.site import Site
from textgrad_lg.trace import CANDIDATE
from textgrad_lg_tracing.readers import Match, aligned, read_traces
from textgrad_lg_tracing.readers.match import likeness, match

PLAN = Site.parse("plan/system")
OTHER = Site.parse("other/system")
TEXT = "You are a careful planner of journeys. Plan the cheapest route to {city}, and name each stop."
TEMPLATES = {PLAN: Template(TEXT, ("city",)), OTHER: Template("You repair clocks and tell nobody of it.")}


def sent(text: str, *, prompt: Any = None, path: str = "plan") -> Any:
    """A run of one node that sent one system message."""
    root = langsmith("graph", inputs={"q": "Rome"}, outputs={"a": "by train"})
    node = langsmith(path, parent=root, task=f"{path}:1", inputs={"q": "Rome"}, outputs={"a": "by train"})
    about = inside(node)
    spans = [root, node]
    if prompt is not None:
        told = {"metadata": {**about["metadata"], **prompt.pop("metadata", {})}}
        spans.append(langsmith("ChatPromptTemplate", "prompt", node, inputs={"city": "Rome"}, **told, **prompt))
    spans.append(call(node, [("system", text), ("human", "Rome")], "by train", **about))
    made = build_one(trace_of(*spans))
    assert made is not None
    return made


def system(found: tuple[Match, ...]) -> Match:
    return next(at for at in found if at.variable.endswith(".in0"))


def test_a_text_that_the_template_gives_is_the_parameter():
    trace, found = match(sent(TEXT.replace("{city}", "Rome")), TEMPLATES, {})
    assert system(found) == Match("s2.in0", PLAN, "text", 1.0, matched=True)
    variable = trace.variable_by_id["s2.in0"]
    assert (variable.site, variable.requires_grad) == (PLAN, True)
    sites = [message.get("site") for message in _messages(trace)]
    assert sites == ["plan/system", None]
    assert not trace.warnings


def test_a_text_that_was_edited_since_is_still_the_parameter_with_less_confidence():
    found = match(
        sent("You are a careful planner of journeys. Plan the fastest route to Rome, and name each stop."),
        TEMPLATES,
        {},
    )[1]
    assert system(found).site == PLAN
    assert system(found).how == "similar"
    assert 0.8 <= system(found).confidence < 1.0


def test_a_text_unlike_any_parameter_is_none_and_that_is_said():
    trace, found = match(sent("Translate what you are given into French, word for word."), TEMPLATES, {})
    assert not system(found).matched
    variable = trace.variable_by_id["s2.in0"]
    assert (variable.site, variable.requires_grad) == (None, False)
    likeliest = f"the likeliest is {system(found).site}, with a confidence of {system(found).confidence:.2f}"
    assert trace.warnings == (f"the system prompt of `plan` (s2.in0) is none of the known prompts; {likeliest}",)


def test_a_prompt_in_a_persons_name_that_is_no_longer_one_is_said_and_what_people_say_is_not():
    ask = Site.parse("plan/human")
    asked = "Plan the cheapest route to Rome, name each stop, and say what it costs to stay there for a night."
    templates = {
        **TEMPLATES,
        ask: Template("Plan the fastest route to {city}, name each stop, and say what it costs to stay.", ("city",)),
    }
    root = langsmith("graph", inputs={"q": "Rome"}, outputs={"a": "by train"})
    node = langsmith("plan", parent=root, task="plan:1", inputs={"q": "Rome"}, outputs={"a": "by train"})
    for text, said in ((asked, True), ("I have lost my umbrella on the way to work.", False)):
        spans = (
            root,
            node,
            call(node, [("system", TEXT.replace("{city}", "Rome")), ("human", text)], "by train", **inside(node)),
        )
        (found,) = read_traces(trace_of(*spans), templates=templates, threshold=0.95)
        (refused,) = [at for at in found.matches if not at.matched]
        assert refused.variable == "s2.in1"
        likeliest = f"the likeliest is plan/human, with a confidence of {refused.confidence:.2f}"
        told = f"the human prompt of `plan` (s2.in1) is none of the known prompts; {likeliest}"
        assert (told in found.reasons) == (told in found.trace.warnings) == said
        assert found.trace.variable_by_id["s2.in1"].site is None


def test_the_threshold_is_the_callers():
    text = "You are a careful planner of journeys. Plan the fastest route to Rome, and name each stop."
    assert not system(match(sent(text), TEMPLATES, {}, threshold=0.99)[1]).matched


def test_at_another_place_the_same_text_is_a_little_less_sure():
    found = match(sent(TEXT.replace("{city}", "Rome"), path="moved"), TEMPLATES, {})[1]
    assert system(found) == Match("s2.in0", PLAN, "text", 0.9, matched=True)


def test_the_hub_says_which_parameter_a_rewritten_prompt_is():
    pulled = {"metadata": {"lc_hub_owner": "acme", "lc_hub_repo": "planner", "lc_hub_commit_hash": "99ff"}}
    made = sent("Quite another text than it was.", prompt=pulled)
    found = system(match(made, TEMPLATES, {"acme/planner": PLAN})[1])
    assert found == Match("s2.in0", PLAN, "hub", 0.95, matched=True)
    assert not system(match(made, TEMPLATES, {"acme/other": PLAN})[1]).matched


def test_the_template_that_was_filled_says_which_parameter_it_is():
    prompt = {
        "lc": 1,
        "type": "constructor",
        "id": ["langchain", "prompts", "chat", "ChatPromptTemplate"],
        "kwargs": {
            "messages": [
                {
                    "lc": 1,
                    "id": ["x", "SystemMessagePromptTemplate"],
                    "kwargs": {"prompt": {"kwargs": {"template": TEXT}}},
                },
                {"lc": 1, "id": ["x", "AIMessage"], "kwargs": {"content": "no prompt"}},
                {"lc": 1, "id": ["x", "HumanMessage"], "kwargs": {"content": "a {brace}"}},
            ]
        },
    }
    found = system(match(sent(TEXT.replace("{city}", "Rome"), prompt={"serialized": prompt}), TEMPLATES, {})[1])
    assert found == Match("s2.in0", PLAN, "template", 1.0, matched=True)


def test_two_parameters_of_one_place_are_told_apart():
    second = Site.parse("plan/system#1")
    templates = {
        PLAN: Template("Always answer in English, whatever you are asked."),
        second: Template("Never name a price in your answer."),
    }
    found = match(sent("Never name a price in your answer."), templates, {})[1]
    assert system(found).site == second


def test_without_any_texts_each_is_a_parameter_of_its_place():
    trace, found = match(sent("Anything at all."), {}, {})
    assert [(str(at.site), at.how) for at in found] == [("plan/system", "place"), ("plan/human", "place")]
    assert trace.variable_by_id["s2.in0"].site == PLAN


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [(TEXT.replace("{city}", "Rome"), 1.0, 1.0), ("", 0.0, 0.0), ("Bake a cake with four eggs.", 0.0, 0.4)],
)
def test_likeness_counts_the_constant_words_in_their_order(text, least, most):
    assert least <= likeness(TEMPLATES[PLAN], text) <= most


def test_a_text_without_slots_is_unlike_one_that_holds_much_more():
    short = Template("You are a helpful assistant.")
    assert (
        likeness(short, "You are a helpful assistant. " + "But you must first do something else entirely. " * 5) < 0.3
    )


@pytest.mark.parametrize("producer", FILES)
def test_given_the_graph_its_prompts_are_found_in_production_traces(producer):
    (found,) = read_traces(DATA / FILES[producer], graph=desk.build(), report=lambda _: None)
    sites = [str(at.site) for at in found.trace.parameters]
    assert sites == ["plan/system", *["research/model/system"] * 2, *["critic/system"] * 2, "join/system"]
    assert all(at.requires_grad for at in found.trace.parameters)
    assert min(at.confidence for at in found.matches if at.matched) == 1.0


def test_given_the_graph_calls_without_nodes_get_their_place_and_its_edges():
    path = DATA / FILES["gen_ai"]
    (alone,) = read_traces(path)
    (found,) = read_traces(path, graph=desk.build())
    assert [span.path for span in found.trace.spans if span.kind == "llm"] == [
        ("plan",),
        ("research", "model"),
        ("research", "model"),
        ("critic",),
        ("critic",),
        ("join",),
    ]
    assert [span.visit for span in found.trace.spans if span.kind == "llm"] == [0, 0, 1, 0, 1, 0]
    # The plan is in no message of the researcher: that it was there first is what the graph says.
    assert edges(found.trace) - edges(alone.trace) == {("s1.out", "s2.out", "s2", CANDIDATE)}


def test_given_the_graph_what_cannot_follow_is_no_cause():
    root = langsmith("desk", inputs={"topic": "x"}, outputs={"answer": "the very end", "plan": "the plan of it"})
    late = langsmith(
        "join", parent=root, task="join:1", step=1, inputs={"topic": "x"}, outputs={"answer": "the very end"}
    )
    early = langsmith(
        "plan", parent=root, task="plan:2", step=2, inputs={"answer": "the very end"}, outputs={"plan": "a plan"}
    )
    made = build_one(trace_of(root, late, early))
    assert made is not None
    assert ("s1.out.answer", "s2.out.plan", "s2", CANDIDATE) in edges(made.trace)
    from textgrad_lg_tracing.readers.connect import Connections, connected

    trace = connected(made.trace, Connections.of(desk.build()), ())
    assert edges(made.trace) - edges(trace) == {("s1.out.answer", "s2.out.plan", "s2", CANDIDATE)}


def test_over_several_traces_the_constant_part_shows(tmp_path):
    runs = []
    for number, city in enumerate(("Rome", "Oslo", "Bern"), 1):
        name = f"{number}" * 8
        about = {"langgraph_checkpoint_ns": "plan:1", "langgraph_node": "plan", "langgraph_step": 1}
        times = {"start_time": f"2026-01-01T00:00:0{number}", "end_time": f"2026-01-01T00:00:0{number}.5"}
        trace = f"{name}-0000-0000-0000-000000000001"
        message = {"type": "system", "content": TEXT.replace("{city}", city), "additional_kwargs": {}}
        reply = {"type": "ai", "content": f"by train to {city}", "additional_kwargs": {}}
        base = {"trace_id": trace, **times}
        runs += [
            {
                **base,
                "id": trace,
                "name": "graph",
                "run_type": "chain",
                "inputs": {"city": city},
                "outputs": {"a": city},
            },
            {
                **base,
                "id": f"{name}-0000-0000-0000-000000000002",
                "parent_run_id": trace,
                "name": "plan",
                "run_type": "chain",
                "inputs": {"city": city},
                "outputs": {"a": city},
                "extra": {"metadata": about},
            },
            {
                **base,
                "id": f"{name}-0000-0000-0000-000000000003",
                "parent_run_id": f"{name}-0000-0000-0000-000000000002",
                "name": "Model",
                "run_type": "llm",
                "inputs": {"messages": [[message]]},
                "outputs": {"generations": [[{"message": reply}]]},
                "extra": {"metadata": about},
            },
        ]
    found = aligned(tuple(read_traces(runs)))
    assert len(found) == 3
    assert [str(at.site) for one in found for at in one.trace.parameters] == ["plan/system"] * 3
    assert all(at.requires_grad for one in found for at in one.trace.parameters)


def test_traces_without_any_prompt_are_left_as_they_are():
    found = tuple(read_traces([_bare()]))
    assert aligned(found) == found


def _bare() -> dict[str, Any]:
    times = {"start_time": "2026-01-01T00:00:00", "end_time": "2026-01-01T00:00:01"}
    return {
        "id": "1" * 8 + "-0000-0000-0000-000000000001",
        "name": "g",
        "run_type": "chain",
        "inputs": {"q": "x"},
        **times,
    }


def _messages(trace: Any) -> list[dict[str, Any]]:
    return next(span.attributes["messages"] for span in trace.spans if "messages" in span.attributes)


def test_a_graph_that_cannot_be_drawn_costs_no_trace(monkeypatch):
    graph = desk.build()

    def raises(**_):
        raise RuntimeError("odd")

    monkeypatch.setattr(graph, "get_graph", raises)
    said: list[str] = []
    assert len(list(read_traces(DATA / FILES["langsmith"], graph=graph, report=said.append))) == 1
    assert said == ["the graph cannot be drawn (RuntimeError): edges come from the spans alone"]
