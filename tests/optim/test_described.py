"""Described: two optimizers with the same options are the same one for a journal, and with others they are not."""

from __future__ import annotations

import re

import pytest

from textgrad_lg.optim import TGD, EditLimits, Insert, Joint, Language, Momentum, Pareto, Rewrite
from textgrad_lg.optim.described import described, plain


def rule(text):
    return None


def detect(text):
    return "en"


class Own:
    __slots__ = ("kept", "missing")
    kept: object

    def __init__(self, kept: object):
        self.kept = kept


@pytest.mark.parametrize(
    "make",
    [
        TGD,
        Momentum,
        Joint,
        lambda: Pareto(TGD(proposals=3)),
        lambda: TGD(constraints=["Be short."], limits=EditLimits(), checks=[rule, Language("en", detect)]),
        lambda: TGD(proposers=[Rewrite(2), Insert()]),
    ],
    ids=["tgd", "momentum", "joint", "pareto", "limited", "proposers"],
)
def test_made_again_it_is_the_same(make):
    assert described(make()) == described(make())


def test_each_option_tells_it_apart():
    every = [
        TGD(),
        TGD(proposals=3),
        TGD(constraints=["Be short."]),
        TGD(frozen=["a+"]),
        TGD(checks=[rule]),
        TGD(checks=[Language("en", detect)]),
        TGD(checks=[Language("de", detect)]),
        TGD(proposers=[Insert()]),
        Momentum(),
        Pareto(),
        Pareto(merges=2),
        Pareto(TGD(proposals=3)),
        None,
    ]
    names = [described(optimizer) for optimizer in every]
    assert len(set(names)) == len(every)
    assert names[-1] == "auto"
    assert re.fullmatch(r"TGD with options [0-9a-f]{12}", names[0])


def test_plain_values_stand_for_themselves():
    assert plain({"a": [1, 2.5, None, True], 2: ("b", {"d", "c"})}) == {
        "a": [1, 2.5, None, True],
        "2": ["b", ["c", "d"]],
    }
    assert plain(re.compile("a+")) == "a+"
    assert plain(rule) == f"{__name__}.rule"
    assert plain(Own) == f"{__name__}.Own"
    assert plain(Own(1)) == {"class": f"{__name__}.Own", "kept": 1}
    assert plain(object()) == {"class": "builtins.object"}


def test_an_object_that_holds_itself_ends():
    own = Own(None)
    own.kept = [own]
    assert plain(own) == {"class": f"{__name__}.Own", "kept": ["itself"]}
