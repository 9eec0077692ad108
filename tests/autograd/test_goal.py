"""What every request carries at every hop: the goal, the score, what was expected, what was tried, and the siblings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from textgrad_lg.autograd import backward, seed
from textgrad_lg.autograd.request import MOST, VERDICTS
from textgrad_lg.example import Score
from textgrad_lg.site import Site
from textgrad_lg.templates import tokens_in
from textgrad_lg.testing import TraceBuilder
from textgrad_lg.types import JSON, SpanKind, Strategy
from textgrad_lg.variable import Variable

from .helpers import WRONG, chain, critic, wanted
from .parts import part, parts, step

CHAIN = Strategy.CHAIN
GOAL = "Answer quiz questions with the name of one city."


async def test_goal_score_and_expected_output_reach_each_of_12_hops_unchanged():
    model = critic()
    await backward(chain(12), model, strategy=CHAIN, goal=GOAL)
    assert [step(request) for request in model.requests] == [f"n{at}" for at in reversed(range(12))]
    carried = {
        (part(request, "goal"), part(request, "verdicts"), part(request, "output of the whole"))
        for request in model.requests
    }
    assert carried == {
        (
            GOAL,
            'right_label: score 0. expected \'Paris\'\nright_label: expected {"answer": "Paris"}',
            '{"answer": "reply 11 reply 11 reply 11 "}',
        )
    }
    # The input of the run is shown at every hop: as a part of its own, or, at the first call, as what it was given.
    assert all("What is the capital of France?" in request.messages[-1].text for request in model.requests)


async def test_no_hop_s_feedback_replaces_the_verdict_of_the_run():
    model = critic()
    await backward(chain(12), model, strategy=CHAIN, goal=GOAL)
    for request in model.requests[1:]:
        assert part(request, "feedback on it") == "- Say more about V1. (score 0, 1 example)"
        assert "Say more about" not in part(request, "verdicts")


async def test_a_verdict_travels_only_to_what_had_a_part_in_it():
    build = TraceBuilder("two", example="e")
    shared = build.llm("shared", prompts={"shared/system": "p"}, reply="r")
    one = build.llm("one", reads=[shared], prompts={"one/system": "p"}, reply="r1")
    two = build.llm("two", reads=[shared], prompts={"two/system": "p"}, reply="r2")
    scores = [
        Score("a", 0.5, "said a", ("one",), {"one": "A"}),
        Score("b", 0.0, "said b", ("two",), {"two": "B"}),
        Score("fine", 1.0, "perfect"),
    ]
    model = critic()
    await backward(seed(build.finish({"one": one, "two": two}), scores), model, strategy=CHAIN)
    about_a = 'a: score 0.5. said a\na: expected {"one": "A"}'
    about_b = 'b: score 0. said b\nb: expected {"two": "B"}'
    assert {step(request): part(request, "verdicts") for request in model.requests} == {
        "one": about_a,
        "two": about_b,
        "shared": f"{about_a}\n{about_b}",
    }


async def test_score_and_expected_output_survive_comments_that_are_too_long():
    build = TraceBuilder("long", example="e")
    value = build.input("q", "?")
    for at in range(3):
        value = build.llm(f"n{at}", reads=[value], prompts={f"n{at}/system": "p"}, reply=f"r{at}")
    wanted_output: dict[str, JSON] = {"answer": "Paris"}
    long = "so it goes " * 500
    scores = [
        Score("first", 0.0, f'{long} {{"answer": "Paris"}} {long}', (), wanted_output),
        Score("second", 0.25, long, (), wanted_output),
        Score("third", 0.5, "short", (), wanted_output),
    ]
    model = critic()
    await backward(seed(build.finish({"answer": value}), scores), model, strategy=CHAIN)
    for request in model.requests:
        told = part(request, "verdicts")
        assert tokens_in(told) <= VERDICTS
        for key, score in (("first", "0"), ("second", "0.25"), ("third", "0.5")):
            assert f"{key}: score {score}. " in told
            assert f'{key}: expected {{"answer": "Paris"}}' in told


async def test_what_was_tried_is_told_at_the_hop_that_it_was_tried_at():
    tried = {Site((f"n{at}",), "system"): [f"attempt at {at} (-0.10, rejected)"] for at in range(12)}
    model = critic()
    await backward(chain(12), model, strategy=CHAIN, tried=tried)
    assert [part(request, "what was tried") for request in model.requests] == [
        f"n{at}/system: attempt at {at} (-0.10, rejected)" for at in reversed(range(12))
    ]


def siblings(width: int):
    """Calls of which each reads what the call before it made, what a search found, and facts that no Parameter made."""
    build = TraceBuilder("siblings", example="e")
    question = build.input("question", "Where is Paris?")
    value = question
    for at in range(12):
        facts = build.node(f"facts{at}", value=f"fact {at}: it is not in Spain", reads=[question])
        found = [build.tool(f"search{at}.{n}", result=f"found {at}.{n}", reads=[value]) for n in range(width)]
        reads = [value, *found, facts]
        value = build.llm(f"n{at}", reads=reads, prompts={f"n{at}/system": f"Prompt {at}."}, reply=f"reply {at}")
    return seed(build.finish({"answer": value}), [WRONG])


async def test_each_of_12_hops_shows_all_the_siblings():
    model = critic()
    await backward(siblings(2), model, strategy=CHAIN, goal=GOAL)
    calls = {step(request): request for request in model.requests}
    for at in range(12):
        shown = list(parts(calls[f"n{at}"]).values())
        before = f"reply {at - 1}" if at else "Where is Paris?"
        for text in (f"Prompt {at}.", f"found {at}.0", f"found {at}.1", before):
            assert text in shown or text in part(calls[f"n{at}"], "the rest").replace("input `question`: ", "")
        assert f"fact {at}: it is not in Spain" in part(calls[f"n{at}"], "the rest of what it was given")


async def test_a_tool_is_criticised_in_sight_of_what_else_it_was_given():
    build = TraceBuilder("tool", example="e")
    town = build.input("town", "Kingston upon Hull, and the villages around it")
    query = build.llm("plan", prompts={"plan/system": "Make a query."}, reply="weather")
    found = build.tool("search", result="sun over Rome", reads=[query, town])
    model = critic()
    trace = seed(build.finish({"answer": found}), [WRONG])
    await backward(trace, model, strategy=CHAIN)
    assert (
        part(model.requests[0], "the rest of what it was given")
        == "input `town`: Kingston upon Hull, and the villages around it"
    )
    # Arguments that hold it are shown already.
    spans = [
        replace(span, attributes={"arguments": {"query": "weather", "town": trace.variable_by_id[town].value}})
        if span.kind is SpanKind.TOOL
        else span
        for span in trace.spans
    ]
    await backward(replace(trace, spans=tuple(spans)), model, strategy=CHAIN)
    assert "Kingston upon Hull" in part(model.requests[2], "tool search")
    assert not part(model.requests[2], "the rest of what it was given")


async def test_a_long_sibling_does_not_hide_the_others():
    build = TraceBuilder("long", example="e")
    facts = [build.input(f"fact{at}", f"fact {at} " + "and so on " * (5_000 if at == 0 else 1)) for at in range(9)]
    last = build.llm("n", reads=facts, prompts={"n/system": "p"}, reply="r")
    model = critic()
    await backward(seed(build.finish({"answer": last}), [WRONG]), model, strategy=CHAIN)
    rest = part(model.requests[0], "the rest of what it was given")
    assert [f"fact {at} and so on" in rest for at in range(9)] == [True] * 9


async def test_fused_carries_the_same():
    model = critic([{"feedback": []}])
    await backward(siblings(1), model, strategy=Strategy.FUSED, goal=GOAL)
    (request,) = model.requests
    assert part(request, "goal") == GOAL
    assert part(request, "verdicts").splitlines()[1] == 'right_label: expected {"answer": "Paris"}'
    assert all(f"fact {at}: it is not in Spain" in parts(request).values() for at in range(12))


# Too many texts to ask about


def agent(count: int, *, reply: JSON = "r", comment="wrong"):
    """A call with a system prompt and the descriptions of `count` tools, each with an argument."""
    build = TraceBuilder("agent", example="e")
    question = build.input("question", "?")
    prompts = {"agent/system": "You help."}
    for at in range(count):
        prompts |= {f"tools:tool_{at}/description": f"Does {at}.", f"tools:tool_{at}/args/town": "The town."}
    last = build.llm("agent", reads=[question], prompts=prompts, reply=reply)
    trace = seed(build.finish({"answer": last}), [Score("k", 0.0, comment)])
    return replace(trace, variables=tuple(described(variable) for variable in trace.variables))


def described(variable: Variable) -> Variable:
    """With the role that the recorder would give it."""
    if variable.site is None or not variable.site.path[0].startswith("tools:"):
        return variable
    tool = variable.site.path[0].removeprefix("tools:")
    argument = variable.site.role == "args/town"
    return replace(
        variable, role=f"argument `town` of the tool `{tool}`" if argument else f"description of the tool `{tool}`"
    )


async def asked(trace) -> tuple[list[str], tuple[str, ...]]:
    """The Sites that the first request asks about, and what the pass could not do."""
    model = critic()
    gradients = await backward(trace, model, strategy=CHAIN)
    return [str(site) for site in gradients.parameters()], gradients.failures


@pytest.mark.parametrize("named", [0, 7, 19])
async def test_of_too_many_parameters_those_that_the_feedback_names_are_asked_about(named):
    sites, failures = await asked(agent(20, comment=f"tool_{named} was called with the wrong town"))
    assert len(sites) == MOST
    assert {f"tools:tool_{named}/description", f"tools:tool_{named}/args/town"} <= set(sites)
    assert failures == (f"`agent` (s2): {41 - MOST} of its inputs were too many to ask about and got no feedback",)


async def test_without_a_name_in_the_feedback_the_tools_that_were_called_come_first_and_then_the_prompt():
    tool_call: JSON = {"name": "tool_3", "args": {"town": "Hull"}, "id": "c"}
    call: JSON = {"role": "assistant", "content": "", "tool_calls": [tool_call]}
    sites, _ = await asked(agent(20, reply=call))
    assert {"tools:tool_3/description", "tools:tool_3/args/town", "agent/system"} <= set(sites)
    assert sites[-2:] == ["tools:tool_19/description", "tools:tool_19/args/town"]


async def test_names_are_whole_words():
    sites, _ = await asked(agent(20, comment="the tool_1 was wrong"))
    assert "tools:tool_1/description" in sites
    assert "tools:tool_10/description" not in sites


async def test_of_too_many_inputs_those_that_the_feedback_speaks_of_are_asked_about():
    build = TraceBuilder("history", example="e")
    said = ["the refund policy allows thirty days" if at == 2 else f"turn {at} of a chat" for at in range(30)]
    reads = [build.llm(f"n{at}", prompts={f"n{at}/system": "p"}, reply=text) for at, text in enumerate(said)]
    last = build.llm("last", reads=reads, prompts={"last/system": "p"}, reply="r")
    model = critic()
    await backward(seed(build.finish({"a": last}), [Score("k", 0.0, "The refund is refused.")]), model, strategy=CHAIN)
    asked_about = [name for name in wanted(model.requests[0].messages) if name.startswith("V")]
    assert len(asked_about) == MOST
    assert part(model.requests[0], "V1:") == said[2]
    assert part(model.requests[0], f"V{MOST}:") == said[29]
