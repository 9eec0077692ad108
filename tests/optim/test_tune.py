"""Tune: which values of a setting are tried, in which order; and what a model may name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot

from textgrad_lg.domain import Choice, Real, Whole
from textgrad_lg.gradient import Gradient, Gradients
from textgrad_lg.optim import TGD, Attempt, Joint, JustRewrite, Momentum, StepContext, Tune, Value, check
from textgrad_lg.prompt import Demo, Template
from textgrad_lg.site import Site
from textgrad_lg.testing.models import ScriptedChatModel
from textgrad_lg.update import Update

WARM, PROMPT, K = Site.parse("settings:ask/temperature"), Site(("ask",), "system"), Site.parse("settings:find/k")


def gradient(site, text="Be right.") -> Gradient:
    return Gradient(f"v/{site}", text, "s1", "t1", score=0.0, site=site)


def attempt(old, new, change, *, site=WARM, accepted=False):
    return Attempt(Update(site, Template(old), Template(new), "", "tune"), accepted, change, "")


def context(texts=None, domains=None, **options: Any) -> StepContext:
    parameters = {Site.parse(site): Template(text) for site, text in (texts or {str(WARM): "0.7"}).items()}
    gradients = Gradients(tuple(gradient(site) for site in options.pop("blamed", parameters)))
    return StepContext(parameters, gradients, domains=domains or {WARM: Real(0, 1)}, **options)


async def values(within: StepContext, site=WARM, most=20):
    text = within.parameters[site]
    return [update.new.text for update in await Tune(most).propose(site, text, (gradient(site),), within)]


class TestTune:
    async def test_the_neighbours_of_the_value_in_force(self):
        assert await values(context()) == ["0.8", "0.6", "0.0", "1.0", "0.9", "0.5", "0.3"]
        assert await values(context(), most=2) == ["0.8", "0.6"]

    async def test_what_was_tried_is_not_tried_again(self):
        tried = (attempt("0.7", "0.8", 0.0), attempt("0.5", "0.6", None))
        assert await values(context(attempts=tried)) == ["0.0", "1.0", "0.9", "0.5", "0.3"]
        elsewhere = (attempt("0.7", "0.8", 0.0, site=K),)
        assert "0.8" in await values(context(attempts=elsewhere))

    async def test_the_direction_that_helped_comes_first(self):
        down = (attempt("0.7", "0.8", -0.2), attempt("0.7", "0.6", 0.3))
        assert await values(context(attempts=down)) == ["0.0", "0.5", "0.3", "1.0", "0.9"]
        up = (attempt("0.7", "0.8", 0.1), attempt("0.7", "0.6", 0.05))
        assert (await values(context(attempts=up)))[:2] == ["1.0", "0.9"]

    async def test_one_that_is_not_set(self):
        assert await values(context({str(WARM): "null"})) == ["0.0", "1.0", "0.5"]
        assert await values(context({str(WARM): "null"}, attempts=(attempt("null", "0.0", 0.5),))) == ["1.0", "0.5"]

    async def test_a_choice_has_no_direction(self):
        domains = {WARM: Choice(["a", "b", "c", "d"])}
        tried = (attempt('"a"', '"d"', -0.9),)
        assert await values(context({str(WARM): '"a"'}, domains, attempts=tried)) == ['"b"', '"c"']

    async def test_why_and_for_whom(self):
        (update,) = await Tune(1).propose(WARM, Template("0.7"), (gradient(WARM),), context())
        assert (update.why, update.proposer) == ("temperature 0.8 in place of 0.7.", "tune")
        assert update.gradients == (gradient(WARM).id,)

    async def test_a_prompt_is_none_of_its_business(self):
        assert await Tune().propose(PROMPT, Template("Be."), (gradient(PROMPT),), context()) == ()

    @given(st.sampled_from([Real(0, 1), Whole(1, 30), Real(0.001, 10, log=True)]), st.data())
    async def test_every_proposal_is_let_through(self, domain: Any, data):
        value = data.draw(st.sampled_from(domain.neighbours(None)))
        within = context({str(WARM): domain.text(value)}, {WARM: domain})
        for update in await Tune(50).propose(WARM, within.parameters[WARM], (), within):
            assert check(update.old, update.new, domain=domain) is None


class TestChecks:
    @pytest.mark.parametrize(
        ("new", "reason"),
        [
            (Template("0.7"), "nothing is changed"),
            (Template("1.2"), "'1.2' is not a number from 0 to 1"),
            (Template("Be colder."), "'Be colder.' is not a number from 0 to 1"),
            (Template("0.50"), "'0.50' has to be written as 0.5"),
            (Template("0.5", demos=(Demo((("human", "x"),), "y"),)), "a setting has a value"),
        ],
    )
    def test_what_is_refused_before_it_is_run(self, new, reason):
        assert reason in (check(Template("0.7"), new, domain=Real(0, 1)) or "")

    def test_nothing_else_is_asked_of_a_value(self):
        names = Choice(["https://models.example.com/a", "https://models.example.com/b"])
        assert check(Template(names.text(names.values[0])), Template(names.text(names.values[1])), domain=names) is None


def writer(*texts):
    alternatives = [{"why": "it reads better", "text": text} for text in texts]
    return ScriptedChatModel(replies=lambda _: {"alternatives": alternatives, "plans": []})


class TestOptimizers:
    BOTH = {str(PROMPT): "Be brief and to the point.", str(WARM): "0.7"}  # noqa: RUF012

    def told(self, proposals):
        return [(str(update.site), update.proposer, update.new.text) for update in proposals.updates]

    async def test_tgd_tunes_settings_and_writes_prompts(self):
        found = await TGD(proposals=6).propose(context(self.BOTH, model=writer("0.25", "0.250", "Be colder.")))
        assert self.told(found) == snapshot(
            [
                ("settings:ask/temperature", "tune", "0.8"),
                ("settings:ask/temperature", "value", "0.25"),
                ("ask/system", "rewrite", "0.25"),
                (
                    "ask/system",
                    "insert",
                    """\
Be right.

Be brief and to the point.\
""",
                ),
                ("settings:ask/temperature", "tune", "0.6"),
                ("ask/system", "rewrite", "0.250"),
            ]
        )
        assert [(str(update.site), reason) for update, reason in found.rejected] == snapshot(
            [("settings:ask/temperature", "'Be colder.' is not a number from 0 to 1")]
        )

    async def test_a_model_is_told_what_a_value_is(self):
        model = writer("0.25")
        await TGD().propose(context(model=model))
        request = "\n".join(message.text for message in model.requests[0].messages)
        assert "The whole text is the value of a setting: a number from 0 to 1, and nothing else." in request
        assert "setting temperature of `ask`" in request

    @pytest.mark.parametrize("domain", [Choice(["0.7", "0.2"]), Whole(0, 5)])
    async def test_no_model_is_asked_where_there_are_few_values(self, domain):
        model = writer("0")
        assert (
            await Value().propose(WARM, Template("1"), (gradient(WARM),), context(domains={WARM: domain}, model=model))
            == ()
        )
        assert await Value().propose(WARM, Template("1"), (), context(model=model)) == ()
        assert model.requests == []

    @pytest.mark.parametrize("optimizer", [TGD(), Momentum(), Joint()])
    async def test_each_has_values_for_settings_and_no_texts(self, optimizer):
        found = await optimizer.propose(context(self.BOTH, model=writer("Be quick and to the point.")))
        proposers = {update.proposer for update in found.updates if update.site == WARM}
        assert proposers == {"tune"}
        assert len(found.updates) <= optimizer.proposals

    async def test_settings_that_nobody_blames_have_their_turn(self):
        texts = {**self.BOTH, str(K): "4"}
        domains = {WARM: Real(0, 1), K: Whole(1, 9)}
        sites = []
        for step in (1, 2):
            within = context(texts, domains, blamed=[PROMPT], step=step)
            found = await TGD(parameters=1, proposers=()).propose(within)
            sites.append({str(update.site) for update in found.updates})
        assert sites == [{str(WARM)}, {str(K)}]

    async def test_all_that_was_tried_of_a_setting_is_remembered(self):
        tried = [attempt("0.7", text, 0.0) for text in ("0.8", "0.6", "0.0", "1.0", "0.9")]
        found = await TGD(memory=1, proposers=()).propose(context(attempts=tuple(tried)))
        assert [update.new.text for update in found.updates] == ["0.5", "0.3"]

    async def test_a_baseline_leaves_them_alone(self):
        found = await JustRewrite().propose(context(self.BOTH, model=writer("0.1")))
        assert {str(update.site) for update in found.updates} <= {str(PROMPT)}

    async def test_the_same_context_gives_the_same_proposals(self):
        within = context(self.BOTH, attempts=(attempt("0.7", "0.8", -0.2),))
        first = await TGD().propose(within)
        assert first == await TGD().propose(within)
