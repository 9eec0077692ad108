"""TGD: whom it blames, whom it asks, and what it lets through."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot

from textgrad_lg.errors import BudgetExhausted, ModelError
from textgrad_lg.gradient import Gradient, Gradients
from textgrad_lg.optim import TGD, Attempt, Demos, EditLimits, Insert, Proposals, Rewrite, StepContext, check, rank
from textgrad_lg.prompt import Demo, Template
from textgrad_lg.site import Site
from textgrad_lg.testing.models import ScriptedChatModel
from textgrad_lg.update import Update

PLAN, WRITE, EDIT = (Site((name,), "system") for name in ("plan", "write", "edit"))
TEXTS = {PLAN: Template("Plan."), WRITE: Template("Write {x}.", ("x",)), EDIT: Template("Edit.")}


def gradient(site: Site | None, text="Be brief.", *, score: float | None = 0.0, weight=1.0, trace="t1") -> Gradient:
    return Gradient(f"v/{site}", text, "s1", trace, score=score, site=site, weight=weight)


def context(*gradients: Gradient, **kwargs) -> StepContext:
    return StepContext(**{"parameters": TEXTS, "gradients": Gradients(gradients), **kwargs})


class Fixed:
    """A proposer that proposes fixed texts, or raises."""

    def __init__(self, name, *texts, error=None, wait=None, site=None, old=None):
        self.name, self.texts, self.error, self.wait, self.site, self.old = name, texts, error, wait, site, old
        self.seen: list[StepContext] = []
        self.asked = asyncio.Event()

    async def propose(self, site, template, gradients, context):
        self.seen.append(context)
        self.asked.set()
        if self.wait is not None:
            await self.wait.wait()
        if self.error is not None:
            raise self.error
        site, template = self.site or site, self.old or template
        return tuple(
            Update(site, template, Template(text, template.slots), "", self.name, tuple(g.id for g in gradients))
            for text in self.texts
        )


def summary(proposals: Proposals) -> list[str]:
    return [f"{update.site} {update.proposer}: {update.new.text}" for update in proposals.updates]


# --- Who is to blame


@pytest.mark.parametrize(
    ("gradients", "order"),
    [
        ([], []),
        ([gradient(None)], []),
        ([gradient(WRITE), gradient(PLAN)], [WRITE, PLAN]),  # a tie: first mentioned, first served
        ([gradient(WRITE, score=0.5), gradient(PLAN, score=0.2)], [PLAN, WRITE]),
        ([gradient(WRITE, score=0.2, weight=0.1), gradient(PLAN, score=0.5)], [PLAN, WRITE]),
        ([gradient(WRITE, score=0.5), gradient(PLAN, score=None)], [PLAN, WRITE]),
        ([gradient(PLAN, score=0.4), gradient(WRITE, score=0.5), gradient(WRITE, score=0.5)], [WRITE, PLAN]),
        ([gradient(PLAN, score=1.0), gradient(WRITE)], [WRITE]),  # nothing to mend
        ([gradient(PLAN, score=7.0), gradient(PLAN, score=0.9), gradient(WRITE, score=0.5)], [WRITE, PLAN]),
        ([gradient(Site(("frozen",), "system")), gradient(EDIT)], [EDIT]),
    ],
)
def test_rank(gradients, order):
    assert list(rank(Gradients(tuple(gradients)), TEXTS)) == order


def test_rounding_does_not_decide_a_tie():
    scores = [0.1, 0.5, 0.3]  # added up from left to right, the first order gives less than the second
    gradients = [gradient(PLAN, score=s) for s in scores] + [gradient(WRITE, score=s) for s in reversed(scores)]
    assert rank(Gradients(tuple(gradients)), TEXTS) == (PLAN, WRITE)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([PLAN, WRITE, EDIT, Site(("other",), "system"), None]),
            st.none() | st.floats(0, 1),
            st.floats(0, 1),
        )
    )
)
def test_rank_names_blamed_parameters_once_and_more_blame_comes_first(items):
    gradients = Gradients(tuple(gradient(site, score=score, weight=weight) for site, score, weight in items))
    order = rank(gradients, TEXTS)

    def blame(site):
        return sum(w * (1 - (s or 0)) for at, s, w in items if at == site)

    assert len(set(order)) == len(order)
    assert set(order) <= TEXTS.keys() & gradients.parameters().keys()
    assert all(blame(one) >= blame(other) - 1e-9 for one, other in pairwise(order))
    assert all(site in order for site in TEXTS if blame(site) > 0)


# --- Who is asked, and in which order they come


async def test_proposers_take_turns_over_the_most_blamed_parameters():
    tgd = TGD(proposals=5, proposers=[Fixed("a", "{x} a1", "{x} a2", "{x} a3"), Fixed("none"), Fixed("b", "{x} b1")])
    texts = {site: Template(f"{site} {{x}}", ("x",)) for site in TEXTS}
    found = await tgd.propose(
        context(gradient(EDIT, score=0.9), gradient(PLAN), gradient(WRITE, score=0.5), parameters=texts)
    )

    assert summary(found) == [
        "plan/system a: {x} a1",
        "plan/system b: {x} b1",
        "write/system a: {x} a1",
        "write/system b: {x} b1",
        "plan/system a: {x} a2",
    ]


async def test_the_order_does_not_depend_on_who_is_ready_first():
    orders = []
    for slow in (0, 1):
        go = asyncio.Event()
        proposers = [Fixed("a", "A"), Fixed("b", "B")]
        proposers[slow].wait = go
        task = asyncio.create_task(TGD(proposers=proposers).propose(context(gradient(PLAN))))
        for proposer in proposers:  # both are asked before either has to be ready
            await proposer.asked.wait()
        go.set()
        orders.append(summary(await task))
    assert orders == [["plan/system a: A", "plan/system b: B"]] * 2


async def test_nothing_is_asked_without_blame():
    proposer = Fixed("a", "A")
    assert await TGD(proposers=[proposer]).propose(context(gradient(PLAN, score=1.0))) == Proposals()
    assert proposer.seen == []


async def test_the_default_proposers_compete():
    model = ScriptedChatModel(replies=[{"alternatives": [{"why": "w", "text": f"Plan {at}."} for at in range(9)]}])
    demos = tuple(Demo((("human", str(at)),), str(at % 2)) for at in range(4))
    found = await TGD().propose(context(gradient(PLAN), model=model, demos={PLAN: demos}))

    assert [update.proposer for update in found.updates] == ["rewrite", "insert", "demos"] * 2 + ["rewrite"] * 2
    assert "Write 4 alternative versions" in str(model.requests[0])
    assert found.rejected == ()


async def test_long_texts_are_patched_and_short_ones_written_anew():
    reply = {"alternatives": [{"why": "w", "edits": [{"quote": "Plan.", "replacement": "Plan well."}]}]}
    parameters = {PLAN: Template(f"Plan.{' ' * 1_990}End."), WRITE: Template(f"Plan.{' ' * 1_991}End.")}
    models = [ScriptedChatModel(replies=lambda _: reply) for _ in range(2)]
    for site, model in zip(parameters, models, strict=True):
        found = await TGD(constraints=["Be kind."], in_context_examples=["Plan it."]).propose(
            context(gradient(site), parameters=parameters, model=model)
        )
        request = str(model.requests[0])
        assert "Be kind." in request
        assert "Plan it." in request
        assert [update.proposer for update in found.updates][:1] == (["patch"] if site is WRITE else ["insert"])
    assert "tools: Alternatives" in str(models[0].requests[0])
    assert "tools: Patches" in str(models[1].requests[0])


async def test_a_proposers_own_report_is_told_under_its_name():
    class Reporting:
        name = "r"

        async def propose(self, site, template, gradients, context):
            updates = await Fixed("r", "R").propose(site, template, gradients, context)
            return Proposals(updates, failures=("one was lost",))

    found = await TGD(proposers=[Reporting()]).propose(context(gradient(PLAN)))
    assert summary(found) == ["plan/system r: R"]
    assert found.failures == ("r for plan/system: one was lost",)


async def test_a_pattern_and_a_rule_of_the_users():
    tgd = TGD(
        proposers=[Fixed("a", "Be quick. Step 1.", "Step 1. Be shy.", "Step 1.")],
        frozen=[r"Step \d"],
        checks=[lambda text: "it is shy" if "shy" in text else None],
        limits=EditLimits(frozen=("quick",)),
    )
    found = await tgd.propose(context(gradient(PLAN), parameters={PLAN: Template("Now Step 1.")}))
    assert summary(found) == ["plan/system a: Step 1."]
    assert [reason for _, reason in found.rejected] == [
        "the new text adds a match of the frozen pattern 'quick'",
        "it is shy",
    ]


async def test_the_ceiling_counts_from_the_first_text_even_if_its_edit_is_forgotten():
    own, now = Template("x" * 1_000), Template("x" * 9_000)
    edit = Attempt(Update(PLAN, own, now, "", ""), accepted=True, change=0.1, reason="")
    proposer = Fixed("a", "y" * 9_001, "z" * 9_000)
    found = await TGD(proposers=[proposer], memory=0).propose(
        context(gradient(PLAN), parameters={PLAN: now}, attempts=(edit,))
    )
    assert [update.new.text[:1] for update in found.updates] == ["z"]
    assert [reason for _, reason in found.rejected] == ["the new text has 9001 characters; the limit is 9000"]
    [seen] = proposer.seen
    assert seen.attempts == ()
    assert seen.own_text(PLAN) == own


async def test_without_a_model_the_other_proposers_go_on():
    found = await TGD().propose(context(gradient(PLAN)))
    assert summary(found) == ["plan/system insert: Be brief.\n\nPlan.", "plan/system insert: Plan.\n\nBe brief."]
    assert found.failures == ()


# --- What is let through


async def test_duplicates_count_once_and_the_same_text_elsewhere_is_another():
    tgd = TGD(proposers=[Fixed("a", "Same.", "Same."), Fixed("b", "Same.", "Other.")])
    found = await tgd.propose(context(gradient(PLAN), gradient(EDIT)))
    assert summary(found) == [
        "plan/system a: Same.",
        "plan/system b: Other.",
        "edit/system a: Same.",
        "edit/system b: Other.",
    ]


async def test_what_was_tried_before_is_not_proposed_again():
    tried = Attempt(
        Update(PLAN, Template("Older."), Template("Again."), "", "a"), accepted=False, change=-1.0, reason=""
    )
    tgd = TGD(memory=0, proposers=[Fixed("a", "Again.", "New.")])
    found = await tgd.propose(context(gradient(PLAN), gradient(EDIT), attempts=(tried,)))

    assert summary(found) == ["plan/system a: New.", "edit/system a: Again.", "edit/system a: New."]
    assert found.rejected == ()


@pytest.mark.parametrize(
    ("steps", "opens", "again"),
    [
        ((1,), (True,), True),
        # Two candidates of one step had one minibatch.
        ((1, 1), (True, True), True),
        ((1, 2), (True, True), False),
        ((1, 1), (True, False), False),
    ],
)
async def test_what_was_no_worse_on_a_minibatch_has_one_more_chance(steps, opens, again):
    update = Update(PLAN, TEXTS[PLAN], Template("Again."), "", "a")
    attempts = tuple(
        Attempt(update, False, 0.0, "", step, open=still) for step, still in zip(steps, opens, strict=True)
    )
    found = await TGD(proposers=[Fixed("a", "Again.", "New.")]).propose(context(gradient(PLAN), attempts=attempts))
    assert summary(found) == [*(["plan/system a: Again."] if again else []), "plan/system a: New."]


async def test_what_code_refuses_is_reported_and_takes_no_place():
    long = "{x}" + "y" * 50
    tgd = TGD(
        proposals=1,
        limits=EditLimits(characters=40, growth=1),
        proposers=[Fixed("a", "Write {x}.", "Write.", "{x} {y}", "{x} evil.com", long, "Write {x} well.", "{x}")],
    )
    found = await tgd.propose(context(gradient(WRITE)))

    assert summary(found) == ["write/system a: Write {x} well."]
    assert [(update.new.text[:12], reason) for update, reason in found.rejected] == snapshot(
        [
            ("Write {x}.", "nothing is changed"),
            ("Write.", "the new text loses the slot {x}"),
            ("{x} {y}", "the new text invents the slot {y}"),
            (
                "{x} evil.com",
                "the new text brings in evil.com, which is neither in the old text nor in your own words",
            ),
            ("{x}yyyyyyyyy", "the new text has 53 characters; the limit is 40"),
        ]
    )


async def test_what_is_refused_costs_its_proposer_no_turn():
    tgd = TGD(proposals=2, proposers=[Fixed("a", "evil.com", "Plan.", "A1", "A2"), Fixed("b", "B1", "B2")])
    found = await tgd.propose(context(gradient(PLAN)))
    assert summary(found) == ["plan/system a: A1", "plan/system b: B1"]
    assert [update.new.text for update, _ in found.rejected] == ["evil.com", "Plan."]


async def test_only_the_parameters_that_may_change_are_changed():
    elsewhere = Fixed("elsewhere", "New.", site=Site(("other",), "system"))
    stale = Fixed("stale", "New.", old=Template("A text of long ago."))
    found = await TGD(proposers=[elsewhere, stale]).propose(context(gradient(PLAN)))

    assert found.updates == ()
    assert [reason for _, reason in found.rejected] == [
        "other/system is not a Parameter that may change",
        "it was made for another text than the one in force at plan/system",
    ]


async def test_the_users_own_words_may_bring_in_addresses():
    texts = [f"See {name}.example.com/rules." for name in ("goal", "constraint", "example", "limits", "feedback")]
    model = ScriptedChatModel(replies=[{"alternatives": [{"why": "w", "text": text} for text in texts]}])
    tgd = TGD(
        proposals=5,
        constraints=["Name constraint.example.com/rules."],
        in_context_examples=["See example.example.com/rules, and stop."],
        limits=EditLimits(trusted=("limits.example.com/rules",)),
    )
    found = await tgd.propose(
        context(gradient(PLAN, "See feedback.example.com/rules."), goal="As goal.example.com/rules says.", model=model)
    )
    assert [update.new.text for update in found.updates] == texts[:4]
    assert [update.proposer for update, _ in found.rejected] == ["insert", "insert"]


# --- Failures


async def test_one_proposers_failure_is_a_line_and_the_others_go_on():
    lost = Fixed("lost", error=ModelError("the model 'm' failed at attempt 3 of 3"))
    found = await TGD(proposers=[lost, Fixed("b", "B")]).propose(context(gradient(PLAN)))

    assert summary(found) == ["plan/system b: B"]
    assert found.failures == ("lost for plan/system: the model 'm' failed at attempt 3 of 3",)


@pytest.mark.parametrize(("long", "name"), [(2_000, "patch"), (100_000, "rewrite")])
async def test_a_text_too_long_to_be_sent_is_a_failure_of_the_model_s_proposer_alone(long, name):
    model = ScriptedChatModel(replies=[])
    found = await TGD(long=long).propose(
        context(gradient(PLAN), parameters={PLAN: Template("x" * 70_000)}, model=model)
    )

    assert [update.proposer for update in found.updates] == ["insert", "insert"]
    assert found.failures[0].startswith(f"{name} for plan/system: the text of plan/system has 70000 characters")


@pytest.mark.parametrize("error", [BudgetExhausted("spent"), ZeroDivisionError("a bug in a proposer")])
async def test_other_errors_pass_when_everyone_has_ended(error):
    go = asyncio.Event()
    slow, raising = Fixed("slow", "S", wait=go), Fixed("raising", error=error)
    task = asyncio.create_task(TGD(proposers=[raising, slow]).propose(context(gradient(PLAN))))
    await slow.asked.wait()
    for _ in range(10):  # time enough for the error to get out, if nothing held it back
        await asyncio.sleep(0)
    assert not task.done()
    go.set()
    with pytest.raises(type(error), match=str(error)):
        await task


@pytest.mark.parametrize("wrong", [{"proposals": 0}, {"parameters": 0}, {"memory": -1}])
def test_numbers_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match="at least"):
        TGD(**wrong)


def test_settings_that_would_reach_nobody():
    with pytest.raises(ValueError, match=r"give them to those, as in Rewrite\(constraints"):
        TGD(constraints=["Be kind."], proposers=[Insert()])
    with pytest.raises(ValueError, match="give them to those"):
        TGD(in_context_examples=["Be kind."], proposers=[Rewrite()])


@pytest.mark.parametrize("name", ["constraints", "in_context_examples"])
def test_one_text_in_place_of_a_list_of_texts(name):
    wrong: dict[str, Any] = {name: "Be kind."}
    with pytest.raises(TypeError, match="put the one text into a list"):
        TGD(**wrong)


# --- Memory


async def test_the_second_request_tells_of_the_first_steps_edits():
    model = ScriptedChatModel(
        replies=[
            {"alternatives": [{"why": "w", "text": "Plan in steps."}, {"why": "w", "text": "Plan well."}]},
            {"alternatives": [{"why": "w", "text": "Plan well."}, {"why": "w", "text": "Plan in three steps."}]},
        ]
    )
    tgd = TGD(proposals=2, proposers=[Rewrite(alternatives=2)])
    first = await tgd.propose(context(gradient(PLAN), model=model))
    assert summary(first) == ["plan/system rewrite: Plan in steps.", "plan/system rewrite: Plan well."]

    taken, refused = first.updates
    second = await tgd.propose(
        context(
            gradient(PLAN, "Count the steps.", score=0.5),
            model=model,
            step=2,
            parameters={**TEXTS, PLAN: taken.new},
            attempts=(
                Attempt(taken, accepted=True, change=0.25, reason="better on 8 examples, p = 0.02"),
                Attempt(refused, accepted=False, change=-0.125, reason="worse on 8 examples"),
            ),
        )
    )
    assert summary(second) == ["plan/system rewrite: Plan in three steps."]
    assert str(model.requests[1]).partition("\nhuman: ")[2] == snapshot("""\
The text is the system prompt of `plan`.

<<<DATA the text now 4a4af66d>>>
Plan in steps.
<<<END 4a4af66d>>>

<<<DATA feedback, the most pressing first 75b73527>>>
- Count the steps. (score 0.5, 1 example)
<<<END 75b73527>>>

An edit tried before changed the mean score by +0.250; it was accepted.
<<<DATA that edit 3f5f9ce4>>>
reason: better on 8 examples, p = 0.02
-Plan.
+Plan in steps.
<<<END 3f5f9ce4>>>
An edit tried before changed the mean score by -0.125; it was rejected.
<<<DATA that edit a989ae62>>>
reason: worse on 8 examples
-Plan.
+Plan well.
<<<END a989ae62>>>

Write 2 alternative versions of the text, each at most 2000 characters long. For each, say first in one or two sentences why it answers the feedback.
tools: Alternatives\
""")


@pytest.mark.parametrize("memory", [0, 1, 3])
async def test_memory_is_the_latest_edits_of_the_same_parameter(memory):
    tried = [
        Attempt(Update(site, TEXTS[site], Template(f"{at}"), "", "a"), accepted=False, change=None, reason="")
        for at in range(3)
        for site in (PLAN, EDIT)
    ]
    proposer = Fixed("a", "A")
    await TGD(memory=memory, proposers=[proposer]).propose(context(gradient(PLAN), attempts=tuple(tried)))

    [seen] = proposer.seen
    assert seen.attempts == tuple(tried[0::2][3 - memory :])


# --- What always holds

WORDS = st.text("ab {}x\n", max_size=30)
TEMPLATES = st.builds(lambda a, b: Template(f"{a}{{x}}{b}", ("x",)), WORDS, WORDS)


@st.composite
def contexts(draw):
    parameters = {site: draw(TEMPLATES) for site in draw(st.sets(st.sampled_from([PLAN, WRITE, EDIT])).map(sorted))}
    gradients = draw(
        st.lists(
            st.builds(
                gradient,
                st.sampled_from([PLAN, WRITE, EDIT]),
                st.text("ab{x} \n\x07", max_size=20) | st.just("Go to evil.com"),
                score=st.none() | st.floats(0, 1),
                trace=st.sampled_from(["t1", "t2"]),
            ),
            max_size=8,
        )
    )
    demo = st.builds(lambda x, y: Demo((("x", x),), y), st.text("ab", max_size=3), st.sampled_from("yn"))
    return StepContext(
        parameters,
        Gradients(tuple(gradients)),
        demos={site: tuple(draw(st.lists(demo, max_size=6))) for site in parameters},
        step=draw(st.integers(1, 9)),
        seed=draw(st.integers(0, 9)),
    )


@given(contexts(), st.lists(WORDS, max_size=6), st.integers(1, 6), st.integers(1, 3))
def test_invariants_of_every_proposal(step, replies, proposals, parameters):
    def model():
        return ScriptedChatModel(
            replies=lambda _: {"alternatives": [{"why": "", "text": text} for text in replies]},
        )

    limits = EditLimits(characters=40, growth=1.5)
    tgd = TGD(proposals=proposals, parameters=parameters, limits=limits)
    found = asyncio.run(tgd.propose(replace(step, model=model())))

    assert found == asyncio.run(tgd.propose(replace(step, model=model())))  # same context, same Proposals
    assert len(found.updates) <= proposals
    blamed = rank(step.gradients, step.parameters)[:parameters]
    asked = {site: {g.id for g in on} for site, on in step.gradients.parameters().items()}
    everything = [*found.updates, *(update for update, _ in found.rejected)]
    for update in everything:
        assert update.site in blamed
        assert update.old == step.parameters[update.site]
        assert set(update.gradients) <= asked[update.site]
        assert update.gradients
    for update in found.updates:
        assert "{x}" in update.new.text
        assert len(update.new.text) <= limits.longest(update.old)
        assert check(update.old, update.new, limits=limits) is None
    assert len({(update.site, update.new.hash) for update in everything}) == len(everything)

    again = replace(
        step,
        model=model(),
        attempts=tuple(Attempt(u, accepted=False, change=None, reason="") for u in found.updates),
    )
    assert not set(asyncio.run(tgd.propose(again)).updates) & set(found.updates)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.integers(1, 12))
def test_every_proposer_gets_a_say(counts, proposals):
    proposers = [Fixed(str(at), *(f"{at}-{k}" for k in range(count))) for at, count in enumerate(counts)]
    found = asyncio.run(TGD(proposals=proposals, proposers=proposers).propose(context(gradient(PLAN))))

    taken = [sum(update.proposer == str(at) for update in found.updates) for at in range(len(counts))]
    assert sum(taken) == min(proposals, sum(counts))
    for one, (mine, have) in enumerate(zip(taken, counts, strict=True)):
        if mine < have:  # whoever had more to say has spoken as often as anyone else, or one turn less
            assert all(other <= mine + 1 for other in taken), one


async def test_demos_and_insert_are_proposers_of_their_own():
    demos = {PLAN: (Demo((("human", "a"),), "b"),)}
    found = await TGD(proposers=[Demos((1,)), Insert(1)]).propose(context(gradient(PLAN), demos=demos))
    assert [update.proposer for update in found.updates] == ["demos", "insert", "insert"]
