"""Domains: what is a value, what is near one, and what cannot be a domain; and the Sites of settings."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot

from textgrad_lg.domain import Choice, Real, Whole, from_json, to_json, told_in
from textgrad_lg.errors import DomainError
from textgrad_lg.site import Site

reals = st.tuples(st.floats(-1e3, 1e3), st.floats(0.01, 1e3), st.one_of(st.none(), st.floats(0.05, 500))).map(
    lambda at: Real(at[0], at[0] + at[1], at[2])
)
logs = st.tuples(st.floats(1e-5, 10), st.floats(1.5, 1e4)).map(lambda at: Real(at[0], at[0] * at[1], log=True))
wholes = st.tuples(st.integers(-100, 100), st.integers(1, 1000)).map(lambda at: Whole(at[0], at[0] + at[1]))
choices = st.lists(st.one_of(st.text(), st.booleans(), st.integers()), min_size=1, unique_by=json.dumps).map(Choice)
domains = st.one_of(reals, logs, wholes, choices)


@given(domains, st.data())
def test_every_neighbour_is_another_value_of_the_domain_and_reads_back(domain: Any, data):
    value = data.draw(st.sampled_from([None, *domain.neighbours(None)]))
    found = domain.neighbours(value)
    assert value not in found or isinstance(domain, Choice)  # True == 1
    assert len({domain.text(other) for other in found}) == len(found)
    for other in found:
        assert domain.parse(domain.text(other)) == other


@given(domains)
def test_a_search_from_anywhere_gets_to_every_place_that_is_tried(domain: Any):
    known, todo = set(), list(domain.neighbours(None))
    while todo and len(known) < 40:
        at = todo.pop()
        if domain.text(at) not in known:
            known.add(domain.text(at))
            todo += domain.neighbours(at)
    ends = [domain.text(end) for end in ((domain.low, domain.high) if hasattr(domain, "low") else domain.values)]
    assert len(known) == 40 or known >= set(ends)


@given(domains)
def test_a_domain_of_this_module_is_read_back_from_its_json(domain: Any):
    assert from_json(json.loads(json.dumps(to_json(domain)))) == domain


def test_a_domain_of_the_users_is_told_by_its_words():
    class Even:
        words = "an even number"

    assert to_json(Even()) == {"kind": "Even", "words": "an even number"}  # pyright: ignore[reportArgumentType]
    assert from_json({"kind": "Even", "words": "an even number"}) is None


def test_neighbours_are_near_then_the_ends_then_between():
    assert Real(0, 1).neighbours(0.7) == (0.8, 0.6, 0.0, 1.0, 0.9, 0.5, 0.3)
    assert Real(0, 1, step=0.25).neighbours(0.7) == (0.75, 0.5, 0.0, 1.0, 0.25)
    assert Real(0.001, 10, log=True, step=10).neighbours(0.1) == (1.0, 0.01, 0.001, 10.0)
    assert Whole(1, 10).neighbours(4) == (5, 3, 1, 10, 6, 2, 8)
    assert Choice(["a", "b", "c"]).neighbours("b") == ("a", "c")
    assert Real(0, 1).neighbours(None) == (0.0, 1.0, 0.5)
    assert Choice(["a", "b"]).neighbours(None) == ("a", "b")


def test_a_value_is_read_in_one_form():
    assert Real(0, 1).text(Real(0, 1).parse(" 0.50 ")) == "0.5"
    assert Real(0, 1).text(0) == "0.0"
    assert Whole(1, 10).parse("3.0") == 3
    assert Choice(["small", "large"]).parse("large") == Choice(["small", "large"]).parse('"large"') == "large"
    assert Choice([1, True]).parse("true") is True


@pytest.mark.parametrize(
    ("domain", "text"),
    [
        (Real(0, 1), "1.5"),
        (Real(0, 1), "NaN"),
        (Real(0, 1), "true"),
        (Real(0, 1), "warm"),
        (Real(0, 1), "null"),
        (Whole(1, 10), "2.5"),
        (Whole(1, 10), "0"),
        (Whole(1, 10), "[" * 100_000),
        (Choice(["small", "large"]), "medium"),
        (Choice([1, 2]), "true"),
    ],
)
def test_what_is_no_value_is_refused_in_words(domain, text):
    with pytest.raises(ValueError, match=r"is not (a|one of)"):
        domain.parse(text)


def test_bad_domains():
    told = []
    for make in (
        lambda: Real(1, 0),
        lambda: Real(0, 1, step=0),
        lambda: Real(0, 1, log=True),
        lambda: Real(1, 2, step=1, log=True),
        lambda: Real(float("nan"), 1),
        lambda: Whole(1, 1),
        lambda: Whole(1, 2.5),  # pyright: ignore[reportArgumentType]
        lambda: Choice([]),
        lambda: Choice("ab"),
        lambda: Choice(["a", "a"]),
        lambda: Choice([["a"]]),  # pyright: ignore[reportArgumentType]
    ):
        with pytest.raises(DomainError) as error:
            make()
        told.append(str(error.value))
    assert told == snapshot(
        [
            "Real(low=1, high=0, step=None, log=False): there is nothing between 1 and 0; low has to be less than high",
            "Real(low=0, high=1, step=0, log=False): the step has to be greater than 0",
            "Real(low=0, high=1, step=None, log=True): a logarithmic scale begins above 0; raise low, or leave log out",
            "Real(low=1, high=2, step=1, log=True): the step has to be greater than 1",
            "Real(low=nan, high=1, step=None, log=False): each end has to be a number, and nan is none",
            "Whole(low=1, high=1): there is nothing between 1 and 1; low has to be less than high",
            "Whole(low=1, high=2.5): each end has to be a whole number, and 2.5 is none",
            "Choice([]): there is nothing to choose from; name two values or more",
            "Choice('ab'): the values have to be in a list, as in Choice(['small', 'large'])",
            "Choice(values=('a', 'a')): \"a\" stands there twice",
            "Choice(values=(['a'],)): the values have to be texts, numbers or booleans",
        ]
    )


@pytest.mark.parametrize(
    ("text", "node", "name", "agent"),
    [
        ("settings:classify/temperature", ("classify",), "temperature", None),
        ("settings:desk/model[writer]/top_p", ("desk", "model"), "top_p", "writer"),
        ("settings:/temperature", (), "temperature", None),
    ],
)
def test_sites_of_settings_read_back(text, node, name, agent):
    site = Site.parse(text)
    assert (str(site), site.node, site.role, site.agent) == (text, node, name, agent)
    assert site == Site.setting(node, name, agent)
    assert site.is_setting
    assert not site.in_message


def test_a_setting_goes_with_its_node_into_another_graph():
    site = Site.parse("settings:classify/temperature")
    assert str(site.within(("desk", "inner"), "writer")) == "settings:desk/inner/classify[writer]/temperature"
    assert str(Site.parse("settings:/k").within(("desk",), None)) == "settings:desk/k"
    assert str(Site.parse("classify/system").within(("desk",), None)) == "desk/classify/system"
    assert str(Site.parse("context:style/text").within(("desk",), None)) == "context:style/text"


def test_metadata_of_another_kind_of_call_is_not_about_this_one():
    told = {"textgrad_lg_settings": '["retriever", {"settings:a/k": "3"}]'}
    assert list(told_in(told, "llm")) == []
    assert list(told_in({}, "llm")) == []
    assert list(told_in(told, "retriever")) == [(Site.parse("settings:a/k"), "3")]
