"""What a run does with candidates: joint ones, a pool, merges, a front, minibatches ahead, and what people said."""

from __future__ import annotations

from typing import TypedDict

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph

from tests.run import worlds
from textgrad_lg import TGD, Evals, MemoryRegistry, Settings, Strategy, Template, optimize
from textgrad_lg.errors import DataError
from textgrad_lg.events import BackwardFinished, Committed, ExampleScored, Gated, OptimizerChosen, StepFinished
from textgrad_lg.optim import Pareto, Proposals
from textgrad_lg.overlay import overlay
from textgrad_lg.testing import Rule, SimulatedChatModel
from textgrad_lg.types import Phase
from textgrad_lg.update import Update

WORDS = {"first": "Do A.", "second": "Do B."}


class State(TypedDict, total=False):
    question: str
    half: str
    answer: str


def two_nodes():
    """The first node settles "a?" if it is told to, the second one "b?"."""
    model = SimulatedChatModel(
        answer=lambda messages: messages[-1].text,
        rules=[
            Rule(WORDS["first"], lambda reply, _: reply.replace("a?", "a!")),
            Rule(WORDS["second"], lambda reply, _: reply.replace("b?", "b!")),
        ],
    )

    def first(state: State):
        return {"half": model.invoke([SystemMessage("You are the first."), HumanMessage(state["question"])]).text}

    def second(state: State):
        return {"answer": model.invoke([SystemMessage("You are the second."), HumanMessage(state["half"])]).text}

    graph = StateGraph(State)
    graph.add_node("first", first)
    graph.add_node("second", second)
    graph.add_edge(START, "first")
    graph.add_edge("first", "second")
    graph.add_edge("second", END)
    return graph.compile(name="two"), model


def examples(validation="aaaabbbb....", train="ab.ab.ab.ab.", test="aaaaabbbbb.."):
    kinds = {"train": train, "validation": validation, "test": test}
    return [
        {
            "id": f"{split} {at}",
            "inputs": {"question": f"{split} {at} {'ok' if kind == '.' else kind + '?'}"},
            "reference_outputs": {},
            "split": split,
        }
        for split, every in kinds.items()
        for at, kind in enumerate(every)
    ]


def settled(outputs, reference_outputs):
    return "?" not in outputs["answer"], f"something is left open in {outputs['answer']!r}"


class Offer:
    """Offers each node's words, or all at once; what was tried before is not offered again."""

    def __init__(self, *, joint=False, alone=True, useless=0):
        self.proposals = 4
        self.joint, self.alone, self.useless = joint, alone, useless

    async def propose(self, context):
        tried = {(attempt.update.site, attempt.update.old, attempt.update.new) for attempt in context.attempts}

        def told(site, words):
            old = context.parameters[site]
            return Update(site, old, Template(f"{old.text} {words}"), f"it lacks {words}", "offer")

        wanted = [
            told(site, WORDS[site.path[0]])
            for site, template in context.parameters.items()
            if WORDS[site.path[0]] not in template.text
        ]
        alone = [update for update in wanted if (update.site, update.old, update.new) not in tried]
        site = next(iter(context.parameters))
        useless = [told(site, f"Be {at}.") for at in range(self.useless)]
        return Proposals(
            (*(alone if self.alone else ()), *useless), joint=(tuple(wanted),) if self.joint and len(wanted) > 1 else ()
        )


def run(optimizer=None, evals=None, **options):
    events = []
    graph, model = two_nodes()
    settings = Settings(**{"steps": 4, "batch": 3, "strategy": Strategy.STRUCTURAL, **options.pop("settings", {})})
    result = optimize(
        graph,
        evals or Evals(examples(), [settled]),
        optimizer=optimizer,
        settings=settings,
        registry=options.pop("registry", MemoryRegistry()),
        callbacks=[events.append],
        **options,
    )
    return result, events, model


def gates(events, gate):
    return [event for event in events if isinstance(event, Gated) and event.gate == gate]


def test_a_joint_candidate_is_tested_taken_and_committed_as_one():
    registry = MemoryRegistry()
    result, events, _ = run(Offer(joint=True), registry=registry)
    (minibatch,) = gates(events, "minibatch")
    (validation,) = gates(events, "validation")
    assert validation.accepted
    assert [update.site.path[0] for update in (validation.update, *validation.together)] == ["first", "second"]
    assert minibatch.together == validation.together
    assert {str(site): change.new.text for site, change in result.texts.items()} == {
        "first/system": "You are the first. Do A.",
        "second/system": "You are the second. Do B.",
    }
    assert result.improved
    assert [event.name for event in events if isinstance(event, Committed)] == ["two:first/system", "two:second/system"]
    assert result.published == {"two:first/system": 2, "two:second/system": 2}
    assert "why: it lacks Do A. (by offer" in result.diff("first/system")
    assert "why: it lacks Do B. (by offer" in result.diff("second/system")
    result.rollback()
    assert registry.labels("two:first/system")["production"] == 1


def test_a_best_guess_that_solves_the_minibatch_spares_the_others():
    _, events, _ = run(Offer(joint=True, useless=3))
    assert len(gates(events, "minibatch")) == 1
    # Where it does not, all are run.
    _, events, _ = run(Offer(useless=2), settings={"steps": 1})
    assert len(gates(events, "minibatch")) == 4


def test_a_candidate_that_cannot_win_is_not_run_to_the_end():
    result, events, _ = run(Offer(), settings={"steps": 1, "concurrency": 2})
    first, second = gates(events, "validation")
    for verdict in (first, second):
        assert not verdict.accepted
        assert verdict.n < 12
        assert "could not have changed that" in verdict.reason
    assert not result.texts


def test_gains_too_small_to_be_proven_one_by_one_are_proven_together_with_a_pool():
    # Four gains of twelve are p = 0.0625 each.
    alone, _, _ = run(Offer())
    assert not alone.texts
    result, events, _ = run(Pareto(Offer()))
    assert result.improved
    assert result.test.after == 1.0
    taken = [event for event in gates(events, "validation") if event.accepted]
    assert len(taken) == 1
    assert len(result.texts) == 2
    # The candidates that were not taken are known, and are parents.
    assert len(result.candidates) > 2
    assert result.candidates[0] == {}


def test_complementary_candidates_are_merged():
    class Once(Offer):
        """Only ever edits the graph as it is, so that nothing but a merge has both."""

        async def propose(self, context):
            if any("Do" in template.text for template in context.parameters.values()):
                return Proposals()
            return await super().propose(context)

    result, events, _ = run(Pareto(Once()), settings={"steps": 6})
    (taken,) = [event for event in gates(events, "validation") if event.accepted]
    assert taken.update.proposer == "merge"
    assert len(taken.together) == 1
    assert result.test.after == 1.0
    assert "good at different examples" in result.diff()


def test_the_front_says_what_else_there_is_and_its_texts_run():
    result, _, _ = run(Pareto(Offer()))
    numbers = [entry.number for entry in result.front.entries]
    assert numbers[0] == len(result.candidates) - 1
    assert 0 in numbers
    best, own = result.front.entries[0].objectives, next(e for e in result.front.entries if not e.changed).objectives
    assert (best.quality, own.quality) == (1.0, pytest.approx(4 / 12))
    assert best.characters > own.characters
    assert best.calls == own.calls == 2
    assert "changes" in str(result.front)
    graph, _ = two_nodes()
    with overlay(result.candidates[numbers[0]]):
        assert graph.invoke({"question": "a? b?"})["answer"] == "a! b!"


def good_enough(outputs):
    """Passes at 0.9, and could be better: there is something to gain on the validation set."""
    return 0.9


def test_minibatches_are_run_ahead_while_nothing_fails_and_paid_for_once():
    done = Evals(examples(train="....................", validation="........", test="...."), [good_enough], pass_at=0.9)
    result, events, model = run(TGD(), done, settings={"steps": 6, "concurrency": 9})
    live = [
        (event.step, event.example)
        for event in events
        if isinstance(event, ExampleScored) and event.phase is Phase.ROLLOUT and not event.cached and event.step
    ]
    ahead = {step: sum(at == step for at, _ in live) for step in range(1, 7)}
    # The first minibatch was run before the first step; then two side by side, then three, of which one is known.
    assert ahead == {1: 0, 2: 6, 3: 6, 4: 3, 5: 0, 6: 0}
    assert len(live) == len({name for _, name in live})
    assert [event.step for event in events if isinstance(event, StepFinished)] == [1, 2, 3, 4, 5, 6]
    assert len(model.requests) == result.spend.total.calls == 2 * (18 + 8)


def test_when_every_train_example_passes_there_is_nothing_left_to_learn():
    done = Evals(examples(train=".......", validation="........", test="...."), [good_enough], pass_at=0.9)
    result, events, _ = run(TGD(), done, settings={"steps": 50})
    assert result.reason.startswith("stopped after step 3: all 7 train examples pass")
    assert [event.step for event in events if isinstance(event, StepFinished)] == [1, 2, 3]


def test_a_run_ends_where_no_edit_could_be_proven_any_more():
    # Solved in step 1: what comes after could not be accepted.
    result, events, _ = run(Offer(joint=True), settings={"steps": 9})
    assert result.reason.startswith("stopped after step 1: all 12 validation examples pass, so no edit could be proven")
    # Four failing examples of eight: four gains are p = 0.0625.
    few, events, _ = run(TGD(), Evals(examples(validation="aabb...."), [settled]))
    assert few.reason.startswith("stopped before the first step: only 4 of 8 validation examples do not pass yet")
    assert "give more examples, or a higher Settings(alpha=...)" in few.reason
    assert not [event for event in events if isinstance(event, StepFinished)]
    more, _, _ = run(Offer(joint=True), Evals(examples(validation="aabb...."), [settled]), settings={"alpha": 0.1})
    assert more.improved


def test_without_an_optimizer_one_is_chosen_and_the_reason_is_told():
    result, events, _ = run(None, settings={"steps": 1})
    (chosen,) = [event for event in events if isinstance(event, OptimizerChosen)]
    assert chosen.optimizer == "Pareto"
    assert chosen.reason == result.chosen
    assert "of the examples fail" in result.chosen
    assert result.chosen in result.summary()
    given, events, _ = run(TGD(), settings={"steps": 1})
    assert given.chosen == ""
    assert not [event for event in events if isinstance(event, OptimizerChosen)]


def test_the_choice_stays_with_a_run_that_is_gone_on_with(tmp_path):
    first, _, _ = run(None, run_dir=tmp_path / "run", settings={"steps": 1})
    again, _, model = run(None, run_dir=tmp_path / "run", settings={"steps": 1})
    assert again.chosen == first.chosen
    assert model.requests == []


# People


def said(feedback, **options):
    happy = Evals(worlds.reviews(), [good_enough], pass_at=0.9)
    events = []
    result = optimize(
        worlds.three_nodes(worlds.review_model()),
        happy,
        optimizer=TGD(),
        feedback=feedback,
        registry=MemoryRegistry(),
        settings=Settings(steps=2, batch=16, strategy=Strategy.STRUCTURAL),
        callbacks=[events.append],
        **options,
    )
    return result, [event for event in events if isinstance(event, BackwardFinished)]


def test_what_people_said_makes_gradients_where_the_evaluators_have_nothing_to_say():
    assert said({})[1] == []
    names = [example.id for example in worlds.page_evals().examples]
    everybody = {name: [False, "Say only the label."] for name in names}
    result, passes = said(everybody)
    assert len(passes) == 2 * 16
    texts = [gradient.text for event in passes for gradient in event.gradients]
    assert any("Say only the label." in text for text in texts)
    # What is accepted is decided by the evaluators, and they saw no gain.
    assert not result.texts
    assert said({name: [True] for name in names})[1] == []


def test_feedback_is_on_texts_that_people_saw_and_not_on_others():
    every = {f"{split} {at}": ["Settle it."] for split in ("train",) for at in range(12)}
    down = {name: [*told, False] for name, told in every.items()}
    result, events, _ = run(Offer(joint=True), feedback=down)
    first = [event for event in events if isinstance(event, BackwardFinished)]
    assert {event.step for event in first} == {1}
    assert result.improved


@pytest.mark.parametrize(
    ("feedback", "words"),
    [
        ({"nobody": ["Good."]}, "feedback on the example 'nobody', and no example has that id"),
        ({"train 0": "Good."}, "has to be a list; put the one item into a list"),
        ({"train 0": [3.5j]}, "complex is no feedback"),
    ],
)
def test_bad_feedback(feedback, words):
    with pytest.raises(DataError, match=words):
        run(TGD(), feedback=feedback)


def test_other_feedback_is_another_run(tmp_path):
    run(TGD(), run_dir=tmp_path / "run", feedback={"train 0": ["Good."]}, settings={"steps": 1})
    with pytest.raises(Exception, match="feedback"):
        run(TGD(), run_dir=tmp_path / "run", feedback={"train 0": ["Bad."]}, settings={"steps": 1})
