"""Bad input gets a clear error that names cause and cure, and nothing is lost."""

from __future__ import annotations

import math

import pytest
from inline_snapshot import snapshot
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from tests.run import worlds
from textgrad_lg import TGD, Budget, Evals, MemoryRegistry, Price, Settings, Strategy, optimize
from textgrad_lg.errors import (
    BudgetTooSmall,
    DataError,
    GraphError,
    NoPromptFound,
    UnknownParameter,
    UnknownPrice,
    UnknownVersion,
    VersionConflict,
)
from textgrad_lg.events import ExampleScored, RunFinished, StepFinished, Warned
from textgrad_lg.llm import ask
from textgrad_lg.optim import Rewrite
from textgrad_lg.testing import Rule, ScriptedChatModel, SimulatedChatModel
from textgrad_lg.types import Phase

ONE = Settings(steps=1, batch=6, concurrency=4, strategy=Strategy.STRUCTURAL)
CHAIN = Settings(steps=2, batch=6, concurrency=4, strategy=Strategy.CHAIN)


def told(outputs, reference_outputs):
    return outputs["page"] == reference_outputs["page"], worlds.WANTED


def run(graph=None, evals=None, **options):
    events = []
    options = {"settings": ONE, "registry": MemoryRegistry(), "callbacks": [events.append]} | options
    graph = graph or worlds.three_nodes(worlds.review_model())
    return optimize(graph, evals or Evals(worlds.reviews(), [told]), **options), events


def one_node(node, state=worlds.State):
    graph = StateGraph(state)
    graph.add_node("judge", node)
    graph.add_edge(START, "judge")
    return graph.compile(name="one")


def judge_alone(model, broken=lambda review: None):
    """One node whose prompt is at fault, and that raises what `broken` raises once the model has replied."""

    def judge(state: worlds.State):
        reply = model.invoke([SystemMessage(worlds.JUDGE), HumanMessage(state["review"])]).text
        broken(state["review"])
        return {"page": f"<p>{reply}</p>"}

    return one_node(judge)


# The graph


def test_a_graph_that_is_not_compiled_or_none_at_all():
    with pytest.raises(GraphError, match=r"pass graph\.compile\(\)"):
        run(StateGraph(worlds.State))
    with pytest.raises(GraphError, match="a str is not a LangGraph graph"):
        run("graph")


def test_a_graph_without_a_prompt():
    with pytest.raises(NoPromptFound) as error:
        run(one_node(lambda state: {"page": "nothing"}))
    assert str(error.value) == snapshot(
        "no prompt was found in 18 recorded runs, 1 nodes (judge), 0 model calls: no model call was seen: models that are called through another package than langchain-core, or in threads that do not carry the context, cannot be recorded; call them through a LangChain chat model."
    )


def test_optimize_only_of_what_does_not_exist_names_what_is_near():
    with pytest.raises(UnknownParameter) as error:
        run(optimize_only=["juge"])
    assert "juge" in str(error.value)
    assert "judge" in str(error.value)


def test_a_graph_that_raises_on_some_examples():
    class BrokenError(Exception):
        pass

    def broken(review):
        if review.endswith("7"):
            raise BrokenError(f"no {review}")

    result, _ = run(judge_alone(worlds.review_model(), broken))
    assert result.improved
    assert {type(error) for error in result.errors.values()} == {BrokenError}
    assert all(error.__traceback__ is not None for error in result.errors.values())
    # LangGraph names the task in a note; nothing of ours is added.
    assert not any("textgrad" in note for error in result.errors.values() for note in error.__notes__)
    assert result.raised.keys() == result.errors.keys()
    (first, words), *_ = result.raised.items()
    assert words.startswith("BrokenError: no ")
    raised = f"the graph raised on {len(result.errors)} examples, first on {first}: {words}"
    assert raised in result.summary().splitlines()
    scores = {name: after for name, _, after in (*result.test.per_example, *result.validation.per_example)}
    assert {scores[name] for name in result.raised if name in scores} <= {0.0}


def test_a_graph_that_raises_on_all_examples_can_still_be_learnt_from():
    """What it raises is feedback: the reply could not be read, and an instruction mends that."""
    model = SimulatedChatModel(answer=lambda m: "Well, yes.", rules=[Rule(worlds.WANTED, lambda r, m: "positive")])

    def judge(state: worlds.State):
        reply = model.invoke([SystemMessage(worlds.JUDGE), HumanMessage(state["review"])]).text
        if reply != "positive":
            raise ValueError(f"{reply!r} is no label. {worlds.WANTED}")
        return {"page": reply}

    result, _ = run(one_node(judge), Evals(worlds.reviews(), [lambda outputs: outputs["page"] == "positive"]))
    assert len(result.raised) >= 18
    assert result.improved
    assert worlds.WANTED in result.prompts["judge/system"]


def test_a_graph_that_never_gets_as_far_as_a_prompt():
    def node(state: worlds.State):
        raise RuntimeError("the database is down")

    result, events = run(one_node(node))
    assert result.reason == snapshot(
        "the graph raised on every example before a prompt was seen, first: RuntimeError: the database is down; no edit passed the gates, so the test set was not read; graph unchanged"
    )
    assert len(result.errors) == 18
    assert (result.improved, result.texts, result.parameters, result.diff()) == (False, {}, {}, "")
    assert "first on" in result.summary()
    assert isinstance(events[-1], RunFinished)
    assert events[-1].error is None


def test_where_the_prompt_may_be_hidden_by_what_was_raised_the_error_says_so():
    def node(state: worlds.State):
        if "good" in state["review"]:
            raise RuntimeError("no good")
        return {"page": ""}

    with pytest.raises(NoPromptFound) as error:
        run(one_node(node))
    assert "the graph raised on 9 of the 18 examples it was run on, first: RuntimeError: no good" in "\n".join(
        error.value.__notes__
    )


def test_a_graph_with_a_checkpointer_remembers_nothing_between_runs():
    model = worlds.review_model()
    seen = []

    def judge(state: MessagesState):
        seen.append(len(state["messages"]))
        return {"messages": [model.invoke([SystemMessage(worlds.JUDGE), *state["messages"]])]}

    graph = StateGraph(MessagesState)
    graph.add_node("judge", judge)
    graph.add_edge(START, "judge")
    data = [{"inputs": {"messages": [("human", f"good film {at}")]}} for at in range(30)]
    evals = Evals(data, [lambda outputs: (outputs["messages"][-1].content == "positive", worlds.WANTED)])
    result, _ = run(graph.compile(checkpointer=InMemorySaver()), evals)
    assert set(seen) == {1}
    assert result.improved


def test_an_agent_as_the_whole_graph_is_judged_by_its_last_message():
    def reply(messages):
        return "Yes, we are open." if worlds.WANTED in messages[0].text else "Well, let me think about it."

    agent = create_agent(SimulatedChatModel(answer=reply), tools=[], system_prompt="You answer the phone.", name="desk")
    outputs_seen = []

    def short(outputs):
        outputs_seen.append(outputs)
        return outputs["messages"][-1].content.startswith("Yes"), worlds.WANTED

    data = [{"inputs": {"messages": [{"role": "user", "content": f"Are you open on day {at}?"}]}} for at in range(30)]
    result, _ = run(agent, Evals(data, [short]))
    assert result.improved
    assert all(isinstance(outputs["messages"][-1], AIMessage) for outputs in outputs_seen)
    assert result.graph.invoke(data[0]["inputs"])["messages"][-1].content == "Yes, we are open."


def test_a_graph_that_can_only_be_awaited():
    model = worlds.review_model()

    async def judge(state: worlds.State):
        reply = await model.ainvoke([SystemMessage(worlds.JUDGE), HumanMessage(state["review"])])
        return {"page": f"<p>{reply.text}</p>"}

    result, _ = run(one_node(judge))
    assert result.improved


# The data


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "example"),
        ([{"id": "a", "inputs": {"x": 1}}, {"id": "a", "inputs": {"x": 2}}], "'a'"),
        (worlds.reviews(2), "no example is left for"),
        ([{"inputs": {"review": f"{at}"}, "metadata": {"split": "train"}} for at in range(9)], "validation, test"),
    ],
)
def test_data_that_cannot_be_used(data, words, home):
    model = worlds.review_model()
    with pytest.raises(DataError, match=words):
        run(worlds.three_nodes(model), Evals(data, [told]))
    assert model.requests == []
    assert not (home / "runs").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0},
        {"batch": 0},
        {"concurrency": -1},
        {"alpha": 0},
        {"alpha": 1.0},
        {"strategy": "magic"},
        {"tools": "sometimes"},
        {"tools": "replay", "replay": False},
        {"pure_tools": "search"},
    ],
)
def test_settings_that_cannot_be_used(settings):
    with pytest.raises(DataError, match=f"{next(iter(settings))}="):
        Settings(**settings)


# The evaluators


def raises(outputs, reference_outputs):
    if "good" in outputs["page"]:
        return True
    raise LookupError("no such thing")


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (raises, "LookupError: no such thing"),
        (lambda outputs: math.nan, "nan"),
        (lambda outputs: None, "returned nothing"),
        (lambda outputs: "great", "great"),
    ],
)
def test_an_evaluator_that_cannot_judge_an_example(broken, words):
    def evaluator(outputs, reference_outputs):
        if reference_outputs["page"] == "<p>positive</p>":
            return told(outputs, reference_outputs)
        return broken(outputs) if broken is not raises else raises(outputs, reference_outputs)

    result, _ = run(evals=Evals(worlds.reviews(60), [evaluator]))
    assert result.improved
    assert result.test.n == 9
    assert result.test.missing == 9
    assert all(words in why for why in result.unjudged.values())
    summary = result.summary()
    assert f"{len(result.unjudged)} examples could not be judged, first example " in summary
    assert "9 not judged" in summary


def test_an_evaluator_that_can_judge_nothing_ends_the_run_before_anything_else_is_paid_for():
    def broken(outputs):
        raise TypeError("I am broken")

    model = worlds.review_model()
    result, _ = run(worlds.three_nodes(model), Evals(worlds.reviews(), [broken]))
    assert result.reason.startswith("no example could be judged, first example ")
    assert "broken: TypeError: I am broken" in result.reason
    assert len(model.requests) == 3 * 18
    assert not result.improved


def test_a_test_set_that_cannot_be_judged_publishes_nothing():
    splits = ["train"] * 8 + ["validation"] * 8 + ["test"] * 8
    data = [{**each, "metadata": {"split": split}} for each, split in zip(worlds.reviews(24), splits, strict=True)]

    def evaluator(example, outputs, reference_outputs):
        if example.metadata["split"] == "test":
            raise ValueError("not this one")
        return told(outputs, reference_outputs)

    result, _ = run(evals=Evals(data, [evaluator]))
    assert result.reason.endswith("no example of the test set could be judged; graph unchanged")
    assert result.texts
    assert result.published == {}


# The budget


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (
            "10 calls",
            snapshot(
                "a budget of 10 calls cannot pay for one evaluation: a minibatch, the validation set and the test set twice are 42 runs of 1 calls; raise it to well above 42 calls, or use fewer examples"
            ),
        ),
        (
            "100 calls",
            snapshot(
                "a budget of 100 calls cannot pay for one evaluation: a minibatch, the validation set and the test set twice are 42 runs of 3 calls; raise it to well above 126 calls, or use fewer examples"
            ),
        ),
    ],
)
def test_a_budget_that_does_not_pay_for_one_evaluation(budget, message):
    model = worlds.review_model()
    with pytest.raises(BudgetTooSmall) as error:
        run(worlds.three_nodes(model), budget=budget)
    assert str(error.value) == message
    assert len(model.requests) == (0 if budget == "10 calls" else 3 * 6)


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (Budget(tokens=10_000), "10,000 tokens"),
        (Budget(tokens=100), "100 tokens"),
        (Budget(usd=0.02), r"\$0\.02"),
    ],
)
def test_a_budget_in_tokens_or_money_is_refused_before_the_validation_set_at_the_latest(budget, words):
    model = worlds.review_model(model_name="priced")
    with pytest.raises(BudgetTooSmall, match=words) as error:
        run(
            worlds.three_nodes(model),
            budget=budget,
            prices={"priced": Price(1, 4)},
            evals=Evals(worlds.reviews(2000), [told]),
        )
    assert "raise it" in str(error.value)
    assert len(model.requests) <= 3 * 6


@pytest.mark.parametrize("swallow", [True, False])
def test_a_price_that_is_not_known_is_said_even_where_the_graph_swallows_it(swallow):
    model = worlds.review_model(model_name="nobody-knows")

    def judge(state: worlds.State):
        try:
            return {"page": model.invoke([SystemMessage(worlds.JUDGE), HumanMessage(state["review"])]).text}
        except Exception:
            if not swallow:
                raise
            return {"page": "sorry"}

    with pytest.raises(UnknownPrice, match="'nobody-knows'") as error:
        run(one_node(judge), budget="$1")
    assert "prices={'nobody-knows': Price(" in str(error.value)
    assert model.requests == []


def test_a_judge_whose_price_is_not_known():
    judge = ScriptedChatModel(replies=lambda messages: {"score": 1.0}, model_name="judge-unknown")

    def judged(outputs):
        return judge.invoke("good?").text == "yes"

    graph = worlds.three_nodes(worlds.review_model(model_name="free"))
    with pytest.raises(UnknownPrice, match="judge-unknown"):
        run(graph, Evals(worlds.reviews(), [judged]), budget="$1", prices={"free": Price(0, 0)})


def test_a_budget_that_the_graph_swallows_still_stops_the_run():
    model = worlds.review_model()

    def judge(state: worlds.State):
        try:
            return {"page": f"<p>{model.invoke([SystemMessage(worlds.JUDGE), HumanMessage(state['review'])]).text}</p>"}
        except Exception:
            return {"page": "sorry"}

    result, events = run(one_node(judge), budget="60 calls")
    assert result.spend.total.calls == len(model.requests) <= 60
    assert result.reason.startswith("stopped in step 1: the budget of 60 calls does not allow this call")
    scored = [event for event in events if isinstance(event, ExampleScored)]
    assert all(event.trace.output()["page"] != "sorry" for event in scored)


def calls_until(phase, graph, evals, **options):
    """How many calls a whole run has made when the first call of `phase`, after the baseline, is due."""
    made = []

    def watch(event):
        if isinstance(event, ExampleScored) and event.phase is phase and event.candidate != "original":
            made.append(len(graph_model.requests))

    graph_model = options.pop("model_of_graph")
    run(graph, evals, callbacks=[watch], **options)
    return made[0]


@pytest.mark.parametrize("phase", [Phase.ROLLOUT, Phase.VALIDATION])
def test_a_budget_that_ends_in_a_gate_gives_a_result(phase):
    model = worlds.review_model()
    graph = judge_alone(model)
    at = calls_until(phase, graph, Evals(worlds.reviews(), [told]), model_of_graph=model)
    # What is kept for the test comes on top: 2 * 12.
    model = worlds.review_model()
    result, _ = run(judge_alone(model), budget=Budget(calls=at + 24 + 2))
    assert "stopped in step 1: the budget of" in result.reason
    assert "graph unchanged" in result.reason
    assert result.test is None
    assert result.spend.total.calls == len(model.requests) <= at + 26


def test_a_budget_that_ends_in_the_reverse_pass_gives_a_result():
    critic = worlds.critic("I think this is", worlds.WANTED)
    model = worlds.review_model()
    # Minibatch 6, validation 12, kept for the test 24: two are left for the critic.
    result, _ = run(judge_alone(model), model=critic, budget=Budget(calls=44), settings=CHAIN)
    assert result.reason.startswith("stopped in step 1: the budget of 44 calls does not allow this call")
    assert "phase gradient" in result.reason
    assert len(critic.requests) == 2


def test_what_was_accepted_before_the_budget_ended_is_tested_from_what_was_kept_back_and_published():
    critic = worlds.critic("I think this is", worlds.WANTED)

    def two_faults(outputs, reference_outputs):
        right = outputs["page"] == reference_outputs["page"]
        return (0.5 if right else 0.0), worlds.WANTED

    whole, events = run(judge_alone(worlds.review_model()), Evals(worlds.reviews(), [two_faults]), model=critic)
    after_step = 0
    for event in events:
        if isinstance(event, StepFinished):
            break
        after_step += isinstance(event, ExampleScored) and not event.cached
    asked = sum(
        whole.spend.phases[phase].calls for phase in (Phase.GRADIENT, Phase.PROPOSAL) if phase in whole.spend.phases
    )
    model = worlds.review_model()
    result, _ = run(
        judge_alone(model),
        Evals(worlds.reviews(), [two_faults]),
        model=worlds.critic("I think this is", worlds.WANTED),
        budget=Budget(calls=after_step + asked + 24 + 1),
        settings=Settings(steps=3, batch=6, concurrency=4, strategy=Strategy.STRUCTURAL),
    )
    assert result.reason.startswith("stopped in step 2: the budget of ")
    assert result.reason.endswith("improved and published")
    assert result.test.n == 12
    assert result.spend.phases[Phase.TEST].calls == 24


def test_tokens_kept_back_pay_for_the_test_though_each_call_reserves_its_worst_case():
    model = worlds.review_model()
    settings = Settings(steps=4, batch=6, concurrency=8, strategy=Strategy.STRUCTURAL)

    def never_quite(outputs, reference_outputs):
        return (0.5 if outputs["page"] == reference_outputs["page"] else 0.0), worlds.WANTED

    free, _ = run(judge_alone(worlds.review_model()), Evals(worlds.reviews(), [never_quite]), settings=settings)
    total = free.spend.total
    limit = 4096 + 300 + (total.input_tokens + total.output_tokens) * 3 // 4
    result, _ = run(
        judge_alone(model),
        Evals(worlds.reviews(), [never_quite]),
        settings=settings,
        budget=Budget(tokens=limit + 8 * 4200),
    )
    assert result.improved
    assert result.spend.total.input_tokens + result.spend.total.output_tokens <= limit + 8 * 4200


def test_judging_the_test_set_draws_on_what_was_kept_back_for_it():
    def reply(messages):
        return {"score": 1.0 if messages[-1].text in ("<p>positive</p>", "<p>negative</p>") else 0.0}

    judge = ScriptedChatModel(replies=reply, model_name="judge")

    def judged(outputs):
        return float('"score": 1.0' in judge.invoke([HumanMessage(outputs["page"])]).text), worlds.WANTED

    result, _ = run(judge_alone(worlds.review_model()), Evals(worlds.reviews(), [judged]))
    assert result.improved
    assert result.spend.phases[Phase.TEST].calls == 48
    assert result.spend.phases[Phase.JUDGE].calls == len(judge.requests) - 24


def test_an_evaluator_that_asks_for_a_model_gets_the_graphs_own_from_the_first_example_on():
    given = []

    def asks(outputs, reference_outputs, model):
        given.append(model)
        return told(outputs, reference_outputs)

    model = worlds.review_model()
    run(worlds.three_nodes(model), Evals(worlds.reviews(), [asks]))
    assert {id(each) for each in given} == {id(model)}


# The critic


class TooManyError(Exception):
    """As a provider's client raises it; the server asks for no pause."""

    status_code = 429

    class response:  # noqa: N801
        headers = {"retry-after": "0"}  # noqa: RUF012


class TimedOutError(TooManyError, TimeoutError):
    status_code = 408


REFUSAL = AIMessage("", additional_kwargs={"refusal": "I will not criticise that."})


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("<<< garbage >>>", "gave no usable reply in 3 attempts"),
        (REFUSAL, "refused at attempt 1: I will not criticise that"),
        (TooManyError("slow down"), "failed at attempt 3 of 3: TooManyError: slow down"),
        (TimedOutError("no answer"), "failed at attempt 3 of 3: TimedOutError: no answer"),
    ],
)
@pytest.mark.parametrize("strategy", [Strategy.CHAIN, Strategy.FUSED])
def test_a_critic_that_is_of_no_use_costs_its_feedback_and_nothing_else(reply, words, strategy, tmp_path):
    critic = ScriptedChatModel(replies=lambda messages: reply, model_name="critic")
    settings = Settings(steps=2, batch=6, concurrency=4, strategy=strategy)
    options = {
        "model": critic,
        "settings": settings,
        "run_dir": tmp_path / "run",
        "optimizer": TGD(proposers=[Rewrite()]),
    }
    result, events = run(judge_alone(worlds.review_model()), **options)
    assert [type(event) for event in events].count(StepFinished) == 2
    proposer, gradient = sorted(result.warnings)
    assert words in gradient
    assert gradient.startswith("no gradient for example ")
    assert gradient.endswith("more like it)")
    assert words in proposer
    assert proposer.startswith("a proposer failed: rewrite for judge/system: ")
    assert [type(event) for event in events].count(Warned) == 2
    # What failed is journalled like what did not: to go on from here asks nothing again.
    asked = len(critic.requests)
    again, _ = run(judge_alone(worlds.review_model()), **options)
    assert len(critic.requests) == asked
    assert [gated.reason for gated in again.decisions] == [gated.reason for gated in result.decisions]
    assert again.warnings == result.warnings


# Callbacks and the registry


def test_a_callback_that_raises_changes_nothing(caplog):
    def bad(event):
        raise ZeroDivisionError("a bad callback")

    result, _ = run(callbacks=[bad])
    quiet, _ = run()
    assert result.texts == quiet.texts
    assert caplog.text.count("the run goes on") == 1


class Contested(MemoryRegistry):
    """A registry in which another writer is faster at the given write."""

    def __init__(self, label):
        super().__init__()
        self.label = label

    def commit(self, new, *, label, expect):
        if label == self.label:
            raise VersionConflict("the label 'candidate' was moved to version 7")
        return super().commit(new, label=label, expect=expect)

    def move(self, label, to, *, expect):
        if label == self.label:
            raise VersionConflict("the label 'production' was moved to version 7")
        super().move(label, to, expect=expect)


@pytest.mark.parametrize("label", ["candidate", "production"])
def test_another_writer_is_faster_and_no_edit_is_lost(label, tmp_path):
    registry = Contested(label)
    graph = worlds.three_nodes(worlds.review_model())
    result, _ = run(graph, registry=registry, run_dir=tmp_path / "run")
    assert result.improved
    assert result.published == {}
    assert [str(site) for site in result.texts] == ["judge/system"] or result.texts
    assert result.test.after == 1.0
    assert f"improved, but not published, because another writer was faster (the label {label!r} was moved" in (
        result.reason
    )
    assert f"call optimize again with run_dir={str(tmp_path / 'run')!r}" in result.reason
    assert any("not written to the registry" in warning for warning in result.warnings) == (label == "candidate")
    assert result.prompts == result.original
    assert "I think" in result.graph.invoke({"review": "a good film"})["page"]
    with pytest.raises(UnknownVersion):
        result.rollback()
    # The cure that the reason names works, and is free.
    registry.label = None
    model = worlds.review_model()
    again, _ = run(worlds.three_nodes(model), registry=registry, run_dir=tmp_path / "run")
    assert again.reason.endswith("improved and published")
    assert model.requests == []
    assert again.texts == result.texts
    assert again.graph.invoke({"review": "a good film"})["page"] == "<p>positive</p>"


def test_rollback_of_a_run_that_published_nothing_leaves_others_alone():
    registry = MemoryRegistry()
    graph = worlds.three_nodes(worlds.review_model())
    first, _ = run(graph, registry=registry)
    idle, _ = run(graph, Evals(worlds.reviews(), [lambda outputs: True]), registry=registry)
    with pytest.raises(UnknownVersion) as error:
        idle.rollback()
    assert str(error.value).startswith(
        f"run {idle.run} published nothing, so there is nothing to take back (stopped before the first step: all 12 "
    )
    assert first.graph.invoke({"review": "a good film"})["page"] == "<p>positive</p>"
    first.rollback()
    with pytest.raises(VersionConflict):
        first.rollback()


def test_the_users_exceptions_reach_the_caller_as_they_are_in_a_running_loop_too():
    class Mine(BaseException):
        pass

    mine = Mine("stop everything")

    def node(state: worlds.State):
        raise mine

    with pytest.raises(Mine) as outside:
        run(one_node(node))
    assert outside.value is mine


async def test_inside_a_running_loop_the_very_exception_comes_back():
    with pytest.raises(NoPromptFound):
        run(one_node(lambda state: {"page": "nothing"}))

    class Mine(BaseException):
        pass

    mine = Mine("stop everything")

    def node(state: worlds.State):
        raise mine

    with pytest.raises(Mine) as inside:
        run(one_node(node))
    assert inside.value is mine


async def test_asking_stays_possible_after_a_run():
    """The run leaves nothing behind that would refuse or meter later calls."""
    with pytest.raises(NoPromptFound):
        run(one_node(lambda state: {"page": "nothing"}))
    from textgrad_lg.autograd.request import Feedback

    reply = await ask(ScriptedChatModel(replies=[{"feedback": []}]), [HumanMessage("?")], Feedback)
    assert reply.value.feedback == []
