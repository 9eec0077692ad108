"""What a run would spend, said before anything is spent; and what it then spent, beside it."""

from __future__ import annotations

import pytest
from inline_snapshot import snapshot
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import START, StateGraph

from tests.run import worlds
from textgrad_lg import (
    TGD,
    Budget,
    Evals,
    MemoryRegistry,
    Price,
    Settings,
    Strategy,
    TextLoss,
    diagnose,
    optimize,
)
from textgrad_lg.errors import BudgetTooSmall, UnknownPrice
from textgrad_lg.events import BackwardFinished, Forecast
from textgrad_lg.optim import Proposals
from textgrad_lg.testing import ScriptedChatModel, SimulatedChatModel
from textgrad_lg.types import Phase, Usage

PRICES = {"worker": Price(1, 2), "critic": Price(3, 5)}
SETTINGS = Settings(steps=2, batch=6, concurrency=2, strategy=Strategy.CHAIN)


def graph():
    return worlds.three_nodes(worlds.review_model(model_name="worker"))


def critic():
    return worlds.critic("I think this is", worlds.WANTED)


def run(evals=None, *, of=None, **options):
    options = {
        "model": critic(),
        "settings": SETTINGS,
        "optimizer": TGD(),
        "prices": PRICES,
        "registry": MemoryRegistry(),
    } | options
    return optimize(of or graph(), evals or worlds.page_evals(), **options)


# The prediction


def test_calls_tokens_and_money_are_predicted_by_phase_and_nothing_is_called():
    model = worlds.review_model(model_name="worker")
    asked = critic()
    plan = run(of=worlds.three_nodes(model), model=asked, dry_run=True)
    assert (model.requests, asked.requests) == ([], [])
    assert "\n".join(str(plan).splitlines()[-12:]) == snapshot("""\
examples: 16 train, 12 validation, 12 test
about 54 to 616 model calls, about $0.00 to $0.18:
from the graph as it is on a minibatch and the validation set, to every step with every proposal
at most, by phase, with replies of 15 tokens:
              rollouts  calls  tokens in  tokens out  US dollars
  rollout          108    324      7,452       4,860      0.0172
  gradient           0     36     37,368       3,600      0.1301
  proposal           0      4      6,496         768      0.0233
  validation        60    180      4,140       2,700      0.0095
  test              24     72      1,656       1,080      0.0038
  total            192    616     57,112      13,008      0.1840
the budget is 1000 calls; nothing is spent beyond it\
""")
    assert plan.calls == {phase: usage.calls for phase, usage in plan.predicted.phases.items()}
    assert plan.usd == plan.predicted.total.usd
    assert plan.budget == Budget(calls=1000)


def test_the_graphs_calls_have_the_price_of_the_models_in_its_code():
    """Which are found without running it: no critic is given, and one node calls a dearer model."""
    cheap, dear = (worlds.review_model(model_name=name) for name in ("worker", "critic"))

    def first(state: worlds.State):
        return {"label": cheap.invoke([SystemMessage("You judge."), HumanMessage(state["review"])]).text}

    def second(state: worlds.State):
        return {"page": dear.invoke([SystemMessage("You judge."), HumanMessage(state["label"])]).text}

    def built(nodes):
        builder = StateGraph(worlds.State)
        for node in nodes:
            builder.add_node(node).add_edge(START, node.__name__)
        return builder.compile(name="pages")

    alone, both = (run(of=built(nodes), model=None, dry_run=True) for nodes in ([first], [first, second]))
    assert alone.predicted.unpriced == both.predicted.unpriced == ()
    one, two = (plan.predicted.phases[Phase.TEST] for plan in (alone, both))
    sent, received = one.input_tokens, one.output_tokens
    assert one.usd == pytest.approx((sent * 1 + received * 2) / 1e6)
    more = two.input_tokens - sent, two.output_tokens - received
    assert two.usd - one.usd == pytest.approx((more[0] * 3 + more[1] * 5) / 1e6)


def test_a_model_that_is_not_found_has_no_price():
    def page(state: worlds.State):
        return {"page": state["review"]}

    def said(state: worlds.State):
        return {"label": SystemMessage("You write the page of a review.").text}

    builder = StateGraph(worlds.State).add_node(page).add_edge(START, "page")
    builder.add_node("said", said).add_edge("page", "said")
    plan = run(of=builder.compile(), model=None, dry_run=True)
    assert plan.usd is None
    assert plan.predicted.unpriced == ("the model that the graph calls",)
    assert "no price known" in str(plan)


@pytest.mark.parametrize(
    ("strategy", "requests"),
    [(Strategy.STRUCTURAL, 0), (Strategy.FUSED, 12), (Strategy.AUTO, 12), (Strategy.CHAIN, 36)],
)
def test_requests_of_the_reverse_pass_go_by_the_strategy(strategy, requests):
    plan = run(dry_run=True, settings=Settings(steps=2, batch=6, strategy=strategy))
    assert plan.calls.get(Phase.GRADIENT, 0) == requests


def test_longer_texts_inputs_and_repeats_cost_more():
    plan = run(dry_run=True)
    reviews = [{"inputs": {"review": f"{at} {'good' * 300}"}} for at in range(40)]
    long = run(Evals(reviews, [worlds.right_page]), dry_run=True)
    assert long.predicted.phases[Phase.TEST].input_tokens > 1.5 * plan.predicted.phases[Phase.TEST].input_tokens
    settings = Settings(steps=2, batch=6, strategy=Strategy.CHAIN, repeats=2)
    twice = run(dry_run=True, settings=settings)
    assert twice.calls[Phase.TEST] == 2 * plan.calls[Phase.TEST]
    assert twice.calls[Phase.VALIDATION] == 2 * plan.calls[Phase.VALIDATION]
    assert twice.calls[Phase.ROLLOUT] == plan.calls[Phase.ROLLOUT]


def test_judges_that_ask_a_model_are_predicted():
    own = ScriptedChatModel(replies=["x"], model_name="unpriced-judge")
    evals = Evals(worlds.reviews(), [worlds.right_page, TextLoss("It is a page."), TextLoss("It is a page.", own)])
    plan, plain = run(evals, dry_run=True), run(dry_run=True)
    runs = plain.predicted.phases
    assert plan.calls[Phase.JUDGE] == 2 * (runs[Phase.ROLLOUT].rollouts + runs[Phase.VALIDATION].rollouts)
    assert plan.calls[Phase.TEST] == plain.calls[Phase.TEST] + 2 * runs[Phase.TEST].rollouts
    assert plan.predicted.unpriced == ("unpriced-judge",)
    with_name = run(Evals(worlds.reviews(), [TextLoss("It is a page.", "nobody:knows")]), dry_run=True)
    assert with_name.calls[Phase.JUDGE] == plan.calls[Phase.JUDGE] // 2


def test_tools_are_warned_of():
    plan = run(worlds.shop_evals(), of=worlds.shop(worlds.shop_model()), dry_run=True)
    assert any("calls tools" in warning for warning in plan.warnings)


def test_a_dry_run_says_that_a_budget_in_money_would_be_refused():
    plan = run(dry_run=True, budget="$1", prices={"worker": Price(1, 2)})
    assert [warning for warning in plan.warnings if "the price of 'critic' is not known" in warning]
    assert run(dry_run=True, budget="$1").warnings == ()


# Beside what was spent


def test_prediction_and_spend_stand_side_by_side():
    predicted = run(dry_run=True).predicted
    result = run()
    assert result.predicted == predicted
    for phase, (before, after) in result.costs.phases.items():
        assert before == predicted.phases.get(phase, Usage())
        assert after == result.spend.phases.get(phase, Usage())
        assert after.calls <= before.calls
        assert after.rollouts <= before.rollouts
        assert after.input_tokens + after.output_tokens <= before.input_tokens + before.output_tokens
        assert after.usd <= before.usd
    assert str(result) == f"{result.summary()}\n{result.costs}"
    assert str(result).splitlines()[-1].startswith("total ")


def test_tokens_a_call_are_predicted_within_a_factor_of_two():
    def tokens_a_call(usage):
        return (usage.input_tokens + usage.output_tokens) / usage.calls

    result = run()
    assert result.improved
    for predicted in (result.predicted, result.forecast):
        for phase in (Phase.ROLLOUT, Phase.VALIDATION, Phase.TEST):
            ratio = tokens_a_call(predicted.phases[phase]) / tokens_a_call(result.spend.phases[phase])
            # The forecast is measured; before that nobody knows how long replies are, and it errs upwards.
            assert (
                (2 / 3 if predicted is result.forecast else 1) <= ratio <= (1.5 if predicted is result.forecast else 2)
            )


def test_replies_are_as_long_as_what_is_wanted_and_no_longer_than_the_model_may_write():
    def wanted(text):
        data = [{"inputs": {"review": f"film {at}"}, "reference_outputs": {"page": text}} for at in range(40)]
        return run(Evals(data, [worlds.right_page]), dry_run=True)

    assert (wanted("yes").reply, wanted("y" * 400).reply) == (15, 100)
    unknown = run(Evals([{"inputs": {"review": f"film {at}"}} for at in range(40)], [worlds.right_page]), dry_run=True)
    assert unknown.reply == 200
    assert unknown.predicted.phases[Phase.TEST].output_tokens == 200 * unknown.calls[Phase.TEST]
    # A client that is never called.
    limited = ChatOpenAI(model="worker", api_key=lambda: "none", max_completion_tokens=30)
    plan = run(wanted_evals(), of=worlds.three_nodes(limited), dry_run=True)
    assert plan.predicted.phases[Phase.TEST].output_tokens == 30 * plan.calls[Phase.TEST]


def wanted_evals():
    return Evals([{"inputs": {"review": f"film {at}"}} for at in range(40)], [worlds.right_page])


def test_what_is_spent_in_any_case_is_one_evaluation():
    plan = run(dry_run=True)
    assert (plan.least.rollouts, plan.least.calls) == (6 + 12, 3 * (6 + 12))
    result = run(settings=Settings(steps=1, batch=6, strategy=Strategy.STRUCTURAL), model=None, optimizer=Nothing())
    assert result.spend.total.calls == plan.least.calls


class Nothing:
    """An optimizer that has no idea."""

    proposals = 1

    async def propose(self, context):
        return Proposals()


# Once the graph as it is was run


def test_the_forecast_goes_by_what_the_graph_has_cost(tmp_path):
    told = []
    result = run(callbacks=[told.append], run_dir=tmp_path / "run")
    (event,) = [event for event in told if isinstance(event, Forecast)]
    # It comes before the first step, when nothing but the graph as it is was paid for.
    assert [type(each) for each in told].index(Forecast) < [type(each) for each in told].index(BackwardFinished)
    assert event.phases == result.forecast.phases
    for phase, most in result.forecast.phases.items():
        assert result.spend.phases.get(phase, Usage()).calls <= most.calls
        assert result.spend.phases.get(phase, Usage()).rollouts <= most.rollouts
    # The same in a session that goes on, whatever was spent since.
    assert run(run_dir=tmp_path / "run").forecast == result.forecast


def test_the_forecast_knows_the_judges_and_that_there_is_no_critic(tmp_path):
    judge = ScriptedChatModel(replies=lambda _: {"comment": "It is a page.", "score": 0.5}, model_name="judge")
    evals = Evals(worlds.reviews(), [worlds.right_page, TextLoss("It is a page.", judge)])

    def result_of(graph, **options):
        settings = Settings(steps=1, batch=6, strategy=Strategy.STRUCTURAL)
        return run(evals, of=graph, model=None, settings=settings, prices={}, **options)

    result = result_of(graph())
    runs = result.forecast.phases
    assert runs[Phase.JUDGE].calls == runs[Phase.ROLLOUT].rollouts + runs[Phase.VALIDATION].rollouts
    assert runs[Phase.TEST].calls == 4 * runs[Phase.TEST].rollouts
    assert "judge" in result.forecast.unpriced
    assert " / ?" in str(result.costs)


def test_no_forecast_where_no_step_could_be_taken():
    evals = worlds.page_evals()
    result = run(evals, of=worlds.three_nodes(right_model()))
    assert result.reason.startswith("stopped before the first step")
    assert result.forecast is None
    assert str(result.costs).startswith("spent / predicted")


def right_model():
    """Labels as it should without being told."""
    model = worlds.review_model(model_name="worker")
    return SimulatedChatModel(
        answer=lambda messages: str(model.answer(messages)).split("I think this is ")[-1].split(",")[0],
        model_name="worker",
    )


def test_where_only_runs_show_a_prompt_nothing_is_predicted_before():
    def page(state: worlds.State):
        texts = "".join(map(chr, (89, 111, 117, 32, 106, 117, 100, 103, 101, 32, 105, 116)))
        return {"page": MODELS[0].invoke([SystemMessage(texts), HumanMessage(state["review"])]).text}

    graph = StateGraph(worlds.State).add_node(page).add_edge(START, "page").compile(name="hidden")
    result = run(of=graph)
    assert result.predicted is None
    assert result.forecast is not None
    assert str(result.costs).startswith("spent / forecast  ")


MODELS = [worlds.review_model(model_name="worker")]


# Prices that are not known


@pytest.mark.parametrize("call", [optimize, diagnose])
@pytest.mark.parametrize("unknown", ["judge", "worker"])
def test_so_are_those_of_judges_and_of_the_graphs_own_models(call, unknown, tmp_path):
    model = worlds.review_model(model_name="worker")
    judge = ScriptedChatModel(replies=[], model_name="judge")
    evals = Evals(worlds.reviews(), [worlds.right_page, TextLoss("It is a page.", judge)])
    prices = {"worker": Price(1, 2), "critic": Price(3, 5), "judge": Price(7, 11)}
    del prices[unknown]
    with pytest.raises(UnknownPrice, match=f"the price of '{unknown}' is not known"):
        call(worlds.three_nodes(model), evals, model=critic(), budget="$1", prices=prices, run_dir=tmp_path / "run")
    assert (model.requests, judge.requests) == ([], [])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("call", [optimize, diagnose])
def test_the_price_of_the_critic_is_asked_for_before_anything_is_spent(call, tmp_path):
    model = worlds.review_model(model_name="worker")
    of, asked = worlds.three_nodes(model), critic()
    options = {"model": asked, "budget": "$1", "run_dir": tmp_path / "run"}
    with pytest.raises(UnknownPrice, match=r"the price of 'critic' is not known.*prices=\{'critic': Price\("):
        call(of, worlds.page_evals(), prices={"worker": Price(1, 2)}, **options)
    assert model.requests == []
    assert not (tmp_path / "run").exists()


def test_the_user_prices_it_and_the_run_goes_through():
    result = run(budget="$1")
    assert result.improved
    assert 0 < result.spend.total.usd <= 1
    assert result.spend.unpriced == ()


# Rollouts, and data that the budget does not pay for


def test_no_more_rollouts_than_the_budget_has():
    model = worlds.review_model(model_name="worker")
    result = run(of=worlds.three_nodes(model), budget=Budget(rollouts=60))
    counted = sum(usage.rollouts for usage in result.spend.phases.values())
    assert result.spend.total.rollouts == counted <= 60
    assert result.spend.phases[Phase.TEST].rollouts == 24
    with pytest.raises(BudgetTooSmall, match="a budget of 41 rollouts cannot pay for one evaluation"):
        run(budget="41 rollouts")


def test_rollouts_that_run_out_end_the_steps_and_leave_the_test_set_its_own():
    result = run(budget="45 rollouts", optimizer=TGD(proposals=4))
    assert result.reason.startswith("stopped in step 1: the budget of 45 rollouts does not allow this rollout")


def test_a_thousand_examples_and_the_default_budget():
    plan = run(worlds.page_evals(1000), dry_run=True)
    assert "the budget does not pay for all: " in str(plan)
    result = run(worlds.page_evals(1000), settings=Settings(steps=1, batch=6, strategy=Strategy.CHAIN))
    assert result.improved
    assert result.spend.total.calls <= 1000
    assert LEFT_OUT in " ".join(result.warnings)
    assert (result.validation.n, result.test.n) == plan.used


LEFT_OUT = "the budget of 1000 calls does not pay for all examples"
