"""Every optimizer of the library passes the suite that others can inherit."""

from __future__ import annotations

from textgrad_lg.optim import TGD, Carry, Joint, JustRewrite, Momentum, Paraphrase, Patch
from textgrad_lg.testing.optimizer_conformance import OWN, OptimizerConformance


def alternatives(texts):
    return {"alternatives": [{"why": "w", "text": text} for text in texts]}


class TestTGD(OptimizerConformance):
    def make(self, *, proposals=8, frozen=()):
        return TGD(proposals=proposals, frozen=frozen)

    def reply(self, texts):
        return alternatives(texts)


class TestTGDWithPatches(OptimizerConformance):
    def make(self, *, proposals=8, frozen=()):
        return TGD(proposals=proposals, frozen=frozen, long=1)

    def reply(self, texts):
        """Each text as edits of its own sections, of which the second and the third may differ only if they are there."""
        return {"alternatives": [{"why": "w", "edits": edits(text)} for text in texts]}


def edits(text):
    old, new = OWN.text.split("\n\n"), text.split("\n\n")
    changed = [
        {"section": f"S{at}", "replacement": part}
        for at, (part, before) in enumerate(zip(new, old, strict=False), start=1)
        if part != before
    ]
    added = [{"section": "S3", "action": "insert_after", "replacement": part} for part in new[len(old) :]]
    return [*changed, *added]


class TestMomentum(OptimizerConformance):
    def make(self, *, proposals=8, frozen=()):
        return Momentum(proposals=proposals, frozen=frozen)

    def reply(self, texts):
        return alternatives(texts)


class TestJoint(OptimizerConformance):
    def make(self, *, proposals=8, frozen=()):
        return Joint(proposals=proposals, frozen=frozen, plans=proposals)

    def reply(self, texts):
        return {
            "plans": [{"why": "w", "edits": [{"parameter": "P1", "quote": "", "replacement": text}]} for text in texts]
        }


class TestParaphrase(OptimizerConformance):
    blind = True

    def make(self, *, proposals=8, frozen=()):
        return Paraphrase(proposals=proposals, frozen=frozen)

    def reply(self, texts):
        return alternatives(texts)


class TestJustRewrite(OptimizerConformance):
    blind = True

    def make(self, *, proposals=8, frozen=()):
        return JustRewrite(proposals=proposals, frozen=frozen)

    def reply(self, texts):
        return alternatives(texts)


def test_the_proposers_have_the_names_that_the_journal_knows():
    assert [proposer.name for proposer in (Patch(), Carry())] == ["patch", "momentum"]
