from textgrad_lg.example import Example
from textgrad_lg.prompt import Demo, Template
from textgrad_lg.run.demonstrations import demonstrations
from textgrad_lg.site import Site
from textgrad_lg.testing import TraceBuilder
from textgrad_lg.trace import CANDIDATE

HUMAN, SYSTEM = Site(("label",), "human"), Site(("label",), "system")
PARAMETERS = {SYSTEM: Template("You label."), HUMAN: Template("Label: {review}", ("review",))}


def run(review, reply, expected, *, passed, said=None, weight=1.0):
    build = TraceBuilder(example=review)
    given = build.input("review", review)
    prompts = {"label/system": "You label.", "label/human": f"Label: {review}"}
    out = build.llm("label", reads=[given], prompts=prompts, reply={"role": "assistant", "content": reply})
    out = build.node("clean", value=reply if said is None else said, reads=[out], weight=weight)
    return Example(review, {"review": review}, {"label": expected}), build.finish({"label": out}), passed


def test_a_passing_run_shows_its_own_replies():
    found = demonstrations([run("good", "positive", "positive", passed=True)], PARAMETERS)
    assert found == {
        SYSTEM: (Demo((("human", "Label: good"),), "positive"),),
        HUMAN: (Demo((("review", "good"),), "positive"),),
    }


def test_a_failing_run_shows_the_reference_where_its_reply_is_the_field():
    found = demonstrations([run("bad", "It is bad.", "negative", passed=False)], PARAMETERS)
    assert found[HUMAN] == (Demo((("review", "bad"),), "negative"),)


def test_a_reply_that_is_not_the_field_is_not_corrected():
    assert demonstrations([run("bad", "It is bad.", "negative", passed=False, said="other")], PARAMETERS) == {}
    assert demonstrations([run("bad", "It is bad.", "negative", passed=False, weight=CANDIDATE)], PARAMETERS) == {}


def test_passing_runs_come_first_and_none_comes_twice():
    runs = [
        run("bad", "It is bad.", "negative", passed=False),
        run("good", "positive", "positive", passed=True),
        run("good", "positive", "positive", passed=True),
    ]
    assert [demo.output for demo in demonstrations(runs, PARAMETERS)[HUMAN]] == ["positive", "negative"]


def test_a_parameter_that_may_not_change_is_left_out():
    assert list(demonstrations([run("good", "positive", "positive", passed=True)], {HUMAN: PARAMETERS[HUMAN]})) == [
        HUMAN
    ]


def test_a_call_of_a_tool_is_no_demonstration():
    build = TraceBuilder()
    reply = {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "args": {}}]}
    out = build.llm("label", prompts={"label/system": "You label."}, reply=reply)
    assert demonstrations([(Example("1", {}), build.finish({"label": out}), True)], PARAMETERS) == {}
