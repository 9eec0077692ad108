"""What `diagnose` says of small worlds whose truth is known, what it costs, and that it may be stopped."""

from __future__ import annotations

import re
import threading
from collections import Counter
from typing import Any

import pytest
from inline_snapshot import snapshot
from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph

from tests.run import worlds
from textgrad_lg import Budget, Evals, Settings, TextLoss, adiagnose, diagnose, optimize
from textgrad_lg.errors import BudgetTooSmall, DataError, JournalError, NoPromptFound, UnknownParameter, UnknownPrice
from textgrad_lg.evals import split
from textgrad_lg.events import Discovered, ExampleScored, RunFinished, RunStarted, Warned
from textgrad_lg.overlay import Replacement, bind
from textgrad_lg.prompt import Template
from textgrad_lg.registry import MemoryRegistry
from textgrad_lg.run.diagnosis import Trial
from textgrad_lg.site import Site
from textgrad_lg.testing import ScriptedChatModel, SimulatedChatModel
from textgrad_lg.types import Phase, Tools

SURE = "Say what you think."
JUDGE = f"{worlds.JUDGE} {worlds.WANTED}"


def film(text):
    return int(re.search(r"\d+", text)[0])


def judge_model(hard=lambda at: at % 5 == 0, **options):
    """Follows the instruction of `judge`, but not on hard films; the other nodes do without their prompts."""

    def answer(messages):
        system, given = messages[0].text, messages[-1].text
        if "<label>" in given:
            return f"<p>{given.removeprefix('<label>')}</p>"
        if "facts" not in given:
            return "facts: " + given
        word = "positive" if "good" in given else "negative"
        easy = worlds.WANTED in system and not hard(film(given))
        return f"<label>{word}" if easy else f"<label>I think this is {word}."

    return SimulatedChatModel(answer=answer, **options)


def desk(model, judge_prompt=JUDGE, **options):
    """extract -> judge -> publish, where only the words of the middle one matter."""

    def extract(state: worlds.State):
        return {"facts": model.invoke([SystemMessage("You extract the facts."), HumanMessage(state["review"])]).text}

    def judge(state: worlds.State):
        return {"label": model.invoke([SystemMessage(judge_prompt), HumanMessage(state["facts"])]).text}

    def publish(state: worlds.State):
        return {"page": model.invoke([SystemMessage("You write the page."), HumanMessage(state["label"])]).text}

    graph = StateGraph(worlds.State)
    for node in (extract, judge, publish):
        graph.add_node(node.__name__, node)
    graph.add_edge(START, "extract")
    graph.add_edge("extract", "judge")
    graph.add_edge("judge", "publish")
    return graph.compile(name="pages", **options)


def paraphraser():
    """Says the same in other words, and keeps what the judge's prompt asks for."""

    def reply(messages):
        text = re.search(r"<<<DATA the text now [0-9a-f]+>>>\n(.*?)\n<<<END", messages[-1].text, re.DOTALL)[1]
        return {"alternatives": [{"why": "other words", "text": f"In other words: {text}"}]}

    return ScriptedChatModel(replies=reply, model_name="critic")


def run(graph=None, evals=None, **chosen):
    """A diagnosis, smaller than by default, and its events."""
    events = []
    options: dict[str, Any] = {"examples": 6, "repeats": 2} | chosen
    found = diagnose(graph or desk(judge_model()), evals or worlds.page_evals(), callbacks=[events.append], **options)
    return found, events


def by_site(found):
    return {str(each.site): each for each in found.parameters}


def effects(found, trial):
    return {
        site: next((effect for effect in each.effects if effect.trial is trial), None)
        for site, each in by_site(found).items()
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A diagnosis of the usual size with a model that paraphrases, its events, and all that was sent."""
    model, critic = judge_model(), paraphraser()
    folder = tmp_path_factory.mktemp("whole")
    found, events = run(desk(model), model=critic, run_dir=folder, examples=12, repeats=3)
    return found, events, model, critic


# What it says


def test_the_one_parameter_that_the_score_depends_on_is_found(whole):
    found, events, _, critic = whole
    assert found.optimize_only == ("judge/system",)
    assert str(found.parameters[0].site) == "judge/system"
    ablated, moved = effects(found, Trial.ABLATE), effects(found, Trial.PERTURB)
    assert {site for site, effect in ablated.items() if effect.seen} == {"judge/system"}
    before = found.headroom.score
    assert (ablated["judge/system"].comparison.before, ablated["judge/system"].comparison.after) == (before, 0.0)
    assert ablated["judge/system"].text.text == "Do your task."
    assert moved["judge/system"].text.text == f"In other words: {JUDGE}"
    assert moved["judge/system"].how == "paraphrased by the model"
    # Said otherwise it does as well, so nothing is seen, and nothing is claimed either.
    assert not any(effect.seen for effect in moved.values())
    assert "no effect seen (n=12)" in str(moved["judge/system"])
    assert not re.search(r"no effect(?! seen)", str(found))
    assert len(critic.requests) == 3
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunFinished)
    assert events[-1].summary == str(found)
    assert sum(isinstance(event, Discovered) for event in events) == 1


def test_the_page_says_what_was_found_and_what_to_do(whole):
    assert str(whole[0]) == snapshot("""\
score now: 0.83, 95 % interval [0.55, 0.95], on 12 examples, 3 runs of each
  6 of 36 judged runs fail (17%): 2 examples in all their runs, 0 in some
  best of 3 runs of each example: 0.83, which luck alone reaches
  6 of 6 failing outputs hold every word that was expected
  said of 2 failing examples: "expected …, got …"

Parameters, those that the score depends on most first
  judge/system  reached by 12 of 12 examples, feedback leads to it from 2 failing examples
      its words taken away: effect seen, 0.83 -> 0.00, difference -0.83, 95 % interval [-1.00, -0.41], p = 0.002, n = 12; output changed on 10 of 12
      paraphrased by the model: no effect seen (n=12), difference +0.00, 95 % interval [-0.20, +0.20]; output changed on 0 of 12
  extract/system  reached by 12 of 12 examples, feedback leads to it from 2 failing examples
      its words taken away: no effect seen (n=12), difference +0.00, 95 % interval [-0.20, +0.20]; output changed on 0 of 12
      paraphrased by the model: no effect seen (n=12), difference +0.00, 95 % interval [-0.20, +0.20]; output changed on 0 of 12
  publish/system  reached by 12 of 12 examples, feedback leads to it from 2 failing examples
      its words taken away: no effect seen (n=12), difference +0.00, 95 % interval [-0.20, +0.20]; output changed on 0 of 12
      paraphrased by the model: no effect seen (n=12), difference +0.00, 95 % interval [-0.20, +0.20]; output changed on 0 of 12

noise and numbers
  variance of an example's score from run to run: 0.000 (graph 0.000, evaluator 0.000); the output of 0 of 12 examples differs from run to run
  examples: 16 train, 12 validation, 12 test
  with a chance of 80 %, 12 test examples show gains from 0.54 on, of 0.17 that are left to gain; it takes 155 for a gain of 0.05, 77 for a gain of 0.10, 37 for a gain of 0.20

what to do next
  1. look at the form first: most failing outputs hold what was expected among other words, so asking for the exact form in the prompt that writes them may be all it takes
  2. optimize(..., optimizer=Joint(), optimize_only=['judge/system']), strategy auto
  3. why Joint: 17% of the examples fail, the calls left pay for about 4 steps, and one call a step plans for all 3 Parameters.
  4. the test set is too small to prove any gain that is left; to prove a gain of 0.10, bring 65 more test examples, which is 217 more in all at the present shares

spent: 193 calls, 4,463 tokens, price not known\
""")


def test_of_several_trials_one_small_p_value_is_not_enough():
    options = {"graph": desk(judge_model(hard=lambda at: False)), "model": paraphraser(), "repeats": 1}
    several, _ = run(**options)
    alone, _ = run(**options, optimize_only=["judge"])
    ablated = [effects(found, Trial.ABLATE)["judge/system"] for found in (several, alone)]
    assert [effect.comparison.p_value for effect in ablated] == [2 * 0.5**6] * 2
    assert [effect.seen for effect in ablated] == [False, True]


def test_a_score_at_the_floor_is_told_by_the_output_that_changes():
    # Nothing passes, so no text can be seen to matter by the score alone.
    found, _ = run(worlds.three_nodes(worlds.review_model()))
    assert found.headroom.score == 0.0
    assert found.headroom.share == 1.0
    assert not any(each.seen for each in found.parameters)
    assert {site: each.changed for site, each in by_site(found).items()} == {
        "judge/system": 6,
        "extract/system": 0,
        "judge/human": 0,
        "publish/system": 0,
    }
    assert found.optimize_only == ("judge/system",)
    assert all(each.blamed == 6 for each in found.parameters)
    assert "taking words away cannot make it worse" in str(found)


def test_failing_outputs_that_hold_what_was_expected_fail_by_their_form(whole):
    found = whole[0]
    assert found.headroom.failing == found.headroom.worded > 0
    assert found.headroom.comments == (("expected …, got …", found.headroom.always),)
    assert any("look at the form first" in line for line in found.next)

    wrong = Evals(worlds.reviews(), [lambda outputs, reference_outputs: "fresh" in outputs["page"]])
    other, _ = run(evals=wrong)
    assert other.headroom.silent == other.headroom.failing == 12
    assert any("return (score, why)" in line for line in other.next)


def test_where_nothing_fails_it_says_not_to_optimise():
    found, _ = run(desk(judge_model(hard=lambda at: False)), model=paraphraser(), examples=12)
    assert (found.headroom.score, found.headroom.failing, found.headroom.best) == (1.0, 0, 1.0)
    assert found.headroom.low == pytest.approx(0.7575, abs=1e-4)  # Wilson's interval of 12 of 12
    assert found.headroom.high == 1.0
    assert found.choice is None
    assert found.next[0].startswith("do not optimise yet: nothing failed")
    # The score depends on the judge all the same.
    assert effects(found, Trial.ABLATE)["judge/system"].seen


def test_prompts_that_no_example_reached_are_named():
    found, _ = run(worlds.branches(worlds.review_model()), Evals(worlds.reviews(), [lambda outputs: "page" in outputs]))
    assert list(by_site(found)) == ["judge/system"]
    assert len(found.unreached) == 1
    assert "publish" in found.unreached[0]
    assert f"add examples that reach {found.unreached[0]}" in str(found)
    assert any("no recorded run sent the text" in warning for warning in found.warnings)


def test_a_parameter_that_only_some_examples_reach():
    model = judge_model()

    def judge(state: worlds.State):
        return {"page": model.invoke([SystemMessage(JUDGE), HumanMessage(f"facts: {state['review']}")]).text}

    def apologise(state: worlds.State):
        model.invoke([SystemMessage("You apologise for films."), HumanMessage(f"facts: {state['review']}")])
        return {}

    graph = StateGraph(worlds.State)
    graph.add_node("judge", judge)
    graph.add_node("apologise", apologise)
    graph.add_edge(START, "judge")
    graph.add_conditional_edges("judge", lambda state: "apologise" if film(state["review"]) < 8 else END)
    evals = Evals(worlds.reviews(), [lambda outputs: 0.5])
    found, _ = run(graph.compile(name="some"), evals, model=paraphraser(), examples=12, repeats=1)
    reached = {site: each.reached for site, each in by_site(found).items()}
    assert reached["judge/system"] == 12
    run_on: list[Any] = [example for example in evals.examples if example.id in found.examples]
    assert reached["apologise/system"] == sum(film(example.inputs["review"]) < 8 for example in run_on)
    assert 0 < reached["apologise/system"] < 12
    # Runs that never reach it are not run again, and cost nothing.
    assert effects(found, Trial.ABLATE)["apologise/system"].changed == 0


class Wobble:
    """Something that goes wrong on each other call for the same thing, whatever the order of different things."""

    def __init__(self):
        self.seen, self.lock = Counter(), threading.Lock()

    def __call__(self, what):
        with self.lock:
            self.seen[what] += 1
            return self.seen[what] % 2 == 0


def test_a_graph_that_varies_is_told_from_an_evaluator_that_does(whole):
    wobble = Wobble()

    def answer(messages):
        return "wrong" if wobble(messages[-1].text) else "right"

    def judge(state: worlds.State):
        return {"page": model.invoke([SystemMessage(JUDGE), HumanMessage(state["review"])]).text}

    model = SimulatedChatModel(answer=answer)
    graph = StateGraph(worlds.State)
    graph.add_node("judge", judge)
    graph.add_edge(START, "judge")
    evals = Evals(worlds.reviews(), [lambda outputs: outputs["page"] == "right"])
    found, _ = run(graph.compile(name="noisy"), evals, repeats=3)
    # right, wrong, right: a variance of 1/3 within each example, all of it the graph's
    assert found.noise.within == pytest.approx(1 / 3)
    assert (found.noise.evaluator, found.noise.moved) == (0.0, 6)
    assert found.noise.graph == pytest.approx(1 / 3)
    assert (found.headroom.sometimes, found.headroom.always) == (6, 0)
    assert (found.headroom.score, found.headroom.best) == (pytest.approx(2 / 3), 1.0)
    steady = whole[0]
    assert steady.noise.within == 0.0
    assert found.needed[0.1] > 3 * steady.needed[0.1]
    assert found.detectable is None or found.detectable > steady.detectable


def test_an_evaluator_that_contradicts_itself():
    wobble = Wobble()
    found, _ = run(evals=Evals(worlds.reviews(), [lambda example: not wobble(example.id)]), repeats=2)
    # The first output is judged twice, right and wrong; the second run's once, right: the graph itself adds nothing.
    assert found.noise.evaluator == pytest.approx(0.5)
    assert found.noise.graph == 0.0
    assert found.noise.moved == 0


def test_most_of_the_noise_is_the_evaluators():
    wobble = Wobble()
    found, _ = run(evals=Evals(worlds.reviews(), [lambda example: not wobble(example.id)]), repeats=4)
    assert found.noise.within > 0
    assert any("make the evaluator steadier" in line for line in found.next)


def test_an_evaluator_that_cannot_judge_is_what_to_repair_first():
    model = judge_model()

    def broken(outputs):
        return outputs["pages"] == "x"

    found, _ = run(desk(model), Evals(worlds.reviews(), [broken]))
    assert len(model.requests) == 3 * 6  # one run of each example, and nothing was tried
    assert found.headroom.score is None
    assert found.headroom.judged == 0
    times, words = found.headroom.errors["broken"]
    assert (times, "KeyError: 'pages'" in words) == (6, True)
    assert found.needed is None
    assert found.next[0].startswith("repair the evaluator 'broken'")
    assert "no run could be judged" in str(found)
    assert all((each.effects, each.reached) == ((), 6) for each in found.parameters)
    assert "add examples" not in str(found)


def test_an_evaluator_that_is_broken_beside_one_that_is_not():
    def broken(outputs):
        raise ValueError("no rubric")

    found, _ = run(evals=Evals(worlds.reviews(), [worlds.right_page, broken]), examples=12, repeats=1)
    assert found.headroom.score is not None
    assert found.headroom.errors["broken"][1].startswith("ValueError: no rubric")
    assert any(each.seen for each in found.parameters)


def test_a_graph_that_raises():
    def judge(state: worlds.State):
        model.invoke([SystemMessage(JUDGE), HumanMessage(state["review"])])
        raise RuntimeError("no paper")

    model = judge_model()
    graph = StateGraph(worlds.State)
    graph.add_node("judge", judge)
    graph.add_edge(START, "judge")
    found, _ = run(graph.compile(name="raises"))
    assert len(model.requests) == 6
    assert set(found.headroom.raised.values()) == {"RuntimeError: no paper"}
    assert "the graph raised on 6 examples" in str(found)
    assert found.next[0].startswith("look at what the graph raises on")


def test_a_graph_that_raises_before_it_sends_anything():
    def judge(state: worlds.State):
        raise RuntimeError("no paper")

    graph = StateGraph(worlds.State)
    graph.add_node("judge", judge)
    graph.add_edge(START, "judge")
    found, _ = run(graph.compile(name="raises"))
    assert found.parameters == ()
    assert len(found.headroom.raised) == 6
    assert found.choice is None


def test_scores_that_are_not_between_0_and_1():
    found, _ = run(evals=Evals(worlds.reviews(), [lambda outputs: -float(len(outputs["page"]))]))
    assert (found.needed, found.detectable) == (None, None)
    assert "scores are not between 0 and 1" in str(found)


def test_one_graded_example_has_no_interval():
    found, _ = run(evals=Evals(worlds.reviews(), [lambda outputs: 0.4]), examples=1, repeats=1)
    assert (found.headroom.score, found.headroom.low) == (0.4, None)
    assert str(found).startswith("score now: 0.40, on 1 examples\n")


def test_a_text_that_does_harm():
    worse = f"{JUDGE} {SURE}"

    def answer(messages):
        return "long" if SURE in messages[0].text else "short"

    def judge(state: worlds.State):
        return {"page": model.invoke([SystemMessage(worse), HumanMessage(state["review"])]).text}

    model = SimulatedChatModel(answer=answer)
    graph = StateGraph(worlds.State)
    graph.add_node("judge", judge)
    graph.add_edge(START, "judge")
    found, _ = run(
        graph.compile(name="worse"), Evals(worlds.reviews(), [lambda outputs: outputs["page"] == "short"]), repeats=1
    )
    effect = effects(found, Trial.ABLATE)["judge/system"]
    assert (effect.comparison.before, effect.comparison.after, effect.seen) == (0.0, 1.0, True)
    assert any("the score rose when judge/system was replaced" in line for line in found.next)


def test_optimize_only_says_which_parameters_to_look_at():
    found, _ = run(optimize_only=["extract"])
    assert list(by_site(found)) == ["extract/system"]
    assert {str(site) for site in found.frozen} == {"judge/system", "publish/system"}
    assert "left out by optimize_only: judge/system, publish/system" in str(found)
    with pytest.raises(UnknownParameter):
        run(optimize_only=["planner"])


def test_descriptions_of_tools_are_tried_where_they_are_named():
    found, _ = run(worlds.shop(worlds.shop_model()), worlds.shop_evals(), optimize_only=["tools:*"], repeats=1)
    described = effects(found, Trial.ABLATE)["tools:price_of/description"]
    assert described.text.text == "A tool."
    assert by_site(found)["tools:price_of/description"].reached == 6
    assert found.noise.within is None
    assert "was not measured" in str(found)


def test_a_bound_graph_is_diagnosed_with_the_texts_it_has():
    site = Site(("judge",), "system")
    own = Template("You judge things, somehow.")
    graph = bind(desk(judge_model(), own.text), lambda: {site: Replacement(own, Template(JUDGE))})
    found, _ = run(graph, repeats=1)
    assert found.headroom.score >= 0.5
    assert by_site(found)["judge/system"].text.text == JUDGE
    assert effects(found, Trial.ABLATE)["judge/system"].comparison.after == 0.0


# How a text is said otherwise


def test_without_a_usable_paraphrase_code_moves_the_text():
    found, events = run()  # the graph's own model knows nothing of paraphrases
    moved = effects(found, Trial.PERTURB)
    assert moved["judge/system"].how == "its sentences in another order"
    assert moved["judge/system"].text.text == f"{worlds.WANTED} {worlds.JUDGE}"
    assert moved["extract/system"].how == "its first half"
    told = [event.message for event in events if isinstance(event, Warned)]
    assert sum("not paraphrased by the model" in message for message in told) == 1


# What it costs


def test_a_dry_run_calls_no_model_and_bounds_what_is_spent(whole):
    model, critic = judge_model(), paraphraser()
    plan = diagnose(desk(model), worlds.page_evals(), model=critic, dry_run=True)
    assert (model.requests, critic.requests) == ([], [])
    assert str(plan) == snapshot("""\
12 examples, 3 Parameters: extract/system, judge/system, publish/system
at most about 333 model calls, no price known:
  baseline: 36
  repeats: 72
  ablate: 108
  perturb: 108
  paraphrase: 9
and 132 judgings, which cost as much as your evaluators call models\
""")
    found, _, model, critic = whole
    assert found.spend.total.calls == len(model.requests) + len(critic.requests) <= sum(plan.calls.values())
    assert found.spend.phases[Phase.PROPOSAL].calls == len(critic.requests) <= plan.calls["paraphrase"]


def test_a_dry_run_counts_what_the_settings_leave_out():
    plan = diagnose(desk(judge_model()), worlds.page_evals(), dry_run=True, settings=Settings(tools=Tools.RECORD))
    assert plan.calls["repeats"] == 0


def test_an_evaluator_that_asks_a_model_is_paid_for_out_of_the_same_budget():
    judge = ScriptedChatModel(replies=lambda messages: {"reasoning": "so so", "score": 0.5}, model_name="judge")
    model = judge_model()
    loss = TextLoss("Is the page good?")
    plan = diagnose(desk(model), Evals(worlds.reviews(), [loss]), model=judge, dry_run=True)
    found, _ = run(desk(model), Evals(worlds.reviews(), [loss]), model=judge, optimize_only=["judge"])
    assert found.spend.phases[Phase.JUDGE].calls >= 6 * (2 + 1)
    assert found.spend.phases[Phase.JUDGE].calls <= plan.judgings
    assert found.spend.total.calls == len(model.requests) + len(judge.requests)


@pytest.mark.parametrize("calls", [18, 20, 35, 36, 40, 50])
def test_the_budget_is_never_exceeded_and_what_was_measured_is_told(calls):
    model, critic = judge_model(), paraphraser()
    found, _ = run(desk(model), model=critic, budget=Budget(calls=calls))
    assert found.spend.total.calls == len(model.requests) + len(critic.requests) <= calls
    assert found.headroom.score is not None
    assert "not finished:" in str(found)
    assert "run_dir=" in found.next[-1]
    assert found.unfinished is not None
    assert all(each.reached == 6 for each in found.parameters)


def test_a_budget_that_cannot_pay_for_one_run_of_each_example():
    model = judge_model()
    with pytest.raises(BudgetTooSmall, match="a budget of 5 calls cannot pay for one run of each of 6 examples"):
        run(desk(model), budget="5 calls")
    assert model.requests == []
    with pytest.raises(BudgetTooSmall, match="does not pay for one run of each of 6 examples"):
        run(desk(model), budget="17 calls")
    assert len(model.requests) <= 17
    with pytest.raises(UnknownPrice):
        run(budget="$1")


def test_the_test_set_is_not_read_and_nothing_is_published(home):
    evals = worlds.page_evals()
    found, events = run(evals=evals)
    seen = {event.example for event in events if isinstance(event, ExampleScored)}
    assert seen == set(found.examples)
    assert seen.isdisjoint(example.id for example in split(evals.examples, seed=0).test)
    assert [path.name for path in home.iterdir()] == ["runs"]


def test_tools_that_are_not_to_run_again_are_not():
    found, _ = run(settings=Settings(tools=Tools.RECORD))
    assert found.noise.within is None
    assert any("the runs were not repeated" in warning for warning in found.warnings)
    assert found.noise.evaluator == 0.0


# Stopping and going on


class Stop(BaseException):
    """Ends a diagnosis as a kill would."""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small diagnosis that nothing stopped."""
    return run(model=paraphraser(), examples=4, run_dir=tmp_path_factory.mktemp("small"))[0]


@pytest.mark.parametrize("at", [2, 5, 8, 12, 20, 28])
def test_stopped_anywhere_it_goes_on_to_the_same_end_and_pays_for_nothing_twice(at, small, tmp_path):
    model, critic, seen = judge_model(), paraphraser(), []

    def stop(event):
        seen.append(event)
        if len(seen) == at:
            raise Stop

    options = {"model": critic, "examples": 4, "repeats": 2, "run_dir": tmp_path / "run"}
    one = Settings(concurrency=1)
    with pytest.raises(Stop) as stopped:
        diagnose(desk(model), worlds.page_evals(), callbacks=[stop], settings=one, **options)
    assert f"run_dir={str(tmp_path / 'run')!r}" in stopped.value.__notes__[-1]
    found, _ = run(desk(model), **options)
    assert (found.headroom, found.noise, found.parameters) == (small.headroom, small.noise, small.parameters)
    assert len(model.requests) + len(critic.requests) == small.spend.total.calls == found.spend.total.calls


def test_after_its_end_it_is_read_back_for_nothing(tmp_path):
    first, _ = run(model=paraphraser(), examples=4, run_dir=tmp_path)
    model, critic = judge_model(), paraphraser()
    again, _ = run(desk(model), model=critic, examples=4, run_dir=tmp_path)
    assert (model.requests, critic.requests) == ([], [])
    assert (again.headroom, again.noise, again.parameters, again.run) == (
        first.headroom,
        first.noise,
        first.parameters,
        first.run,
    )
    assert again.spend.phases == first.spend.phases


def test_a_diagnosis_without_a_model_goes_on_too(tmp_path):
    first, _ = run(run_dir=tmp_path, examples=3)
    model = judge_model()
    second, _ = run(desk(model), run_dir=tmp_path, examples=3)
    assert second.parameters == first.parameters
    assert model.requests == []


def test_a_budget_that_ended_before_the_paraphrases_without_a_model_of_its_own(tmp_path):
    model = judge_model()
    early, _ = run(desk(model), examples=2, repeats=1, budget="14 calls", run_dir=tmp_path)
    assert early.unfinished is not None
    assert {effect.trial for each in early.parameters for effect in each.effects} == {Trial.ABLATE}
    found, _ = run(desk(model), examples=2, repeats=1, run_dir=tmp_path)
    at_once, _ = run(examples=2, repeats=1)
    assert found.parameters == at_once.parameters
    assert found.spend.total.calls == len(model.requests) == at_once.spend.total.calls


def test_a_budget_that_ended_early_is_raised_and_nothing_is_paid_for_twice(tmp_path):
    model, critic = judge_model(), paraphraser()
    early, _ = run(desk(model), model=critic, budget="40 calls", run_dir=tmp_path)
    assert early.unfinished is not None
    found, _ = run(desk(model), model=critic, run_dir=tmp_path)
    assert found.unfinished is None
    assert found.spend.total.calls == len(model.requests) + len(critic.requests)
    at_once, _ = run(model=paraphraser())
    assert found.parameters == at_once.parameters
    assert found.spend.total.calls == at_once.spend.total.calls


def test_another_question_does_not_go_on_from_the_same_folder(tmp_path):
    run(run_dir=tmp_path, repeats=1, examples=1)
    with pytest.raises(JournalError, match="repeats was 1 and is 2"):
        run(run_dir=tmp_path, repeats=2, examples=1)
    with pytest.raises(JournalError, match="other settings"):
        optimize(desk(judge_model()), worlds.page_evals(), run_dir=tmp_path, registry=MemoryRegistry())


def test_concurrency_changes_nothing():
    one, _ = run(settings=Settings(concurrency=1), examples=4)
    many, _ = run(settings=Settings(concurrency=8), examples=4)
    assert (one.headroom, one.noise, one.parameters, one.next) == (
        many.headroom,
        many.noise,
        many.parameters,
        many.next,
    )


async def test_the_async_form_and_the_sync_one_in_a_loop():
    there = await adiagnose(desk(judge_model()), worlds.page_evals(), examples=2, repeats=1)
    here = diagnose(desk(judge_model()), worlds.page_evals(), examples=2, repeats=1)
    assert there.parameters == here.parameters


# Bad input


def test_bad_arguments():
    with pytest.raises(TypeError, match=r"diagnose\(\) has no option 'example'"):
        run(example=3)
    with pytest.raises(DataError, match=r"diagnose\(examples=0\)"):
        run(examples=0)
    with pytest.raises(DataError, match=r"diagnose\(repeats=0\)"):
        run(repeats=0)
    silent = StateGraph(worlds.State)
    silent.add_node("nothing", lambda state: {"page": "x"})
    silent.add_edge(START, "nothing")
    with pytest.raises(NoPromptFound):
        run(silent.compile())


def test_more_examples_than_there_are():
    found, _ = run(examples=100, repeats=1, budget="90 calls")
    assert len(found.examples) == 28
    assert found.sizes == (16, 12, 12)
