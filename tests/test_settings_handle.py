"""`Setting`: what it gives, and what cannot be one."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from tests.overlay.test_settings import graph_of
from textgrad_lg import Choice, Real, Setting, Whole
from textgrad_lg.errors import DomainError
from textgrad_lg.overlay import Replacement, bind, overlay
from textgrad_lg.prompt import Template

K = Setting("pages/k", 4, Whole(1, 10))
NOT_JSON: Any = {4}
NO_DOMAIN: Any = (1, 10)


def laid(new, old="4", site=K.site):
    return {site: Replacement(Template(old), Template(new))}


def test_the_value_in_force():
    assert K.value == 4
    with overlay(laid("7")):
        assert K.value == 7
        with overlay({}):
            assert K.value == 4
    assert repr(K) == "Setting('pages/k', 4, Whole(low=1, high=10))"


def test_a_default_that_was_edited_since_is_the_last_word():
    with overlay(laid("7", old="5")):
        assert K.value == 4


def test_a_value_from_when_the_domain_was_wider():
    with overlay(laid("70")):
        assert K.value == 4


def test_in_a_bound_graph_inside_another():
    inner = bind(graph_of(lambda _: {"answer": K.value}, "look"), lambda: laid("9"))
    assert graph_of(inner, "outer").invoke({"question": "q"})["answer"] == 9


async def test_contexts_do_not_see_each_other():
    async def run(value):
        with overlay(laid(str(value))):
            await asyncio.sleep(0)
            return K.value

    assert await asyncio.gather(*map(run, range(1, 6))) == [1, 2, 3, 4, 5]


def test_types_of_values():
    assert Setting("a/b", 0, Real(0, 1)).own == Template("0.0")
    assert Setting("a/b", "small", Choice(["small", "large"])).value == "small"
    assert Setting("a/b", True, Choice([True, False])).value is True


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Setting("k", 4, Whole(1, 10)), "cannot be the name of a setting; give it two parts"),
        (lambda: Setting("a[b]/k", 4, Whole(1, 10)), "cannot be the name of a setting"),
        (lambda: Setting("a/k", 40, Whole(1, 10)), "has the default 40, which is not a whole number from 1 to 10"),
        (lambda: Setting("a/k", NOT_JSON, Whole(1, 10)), "has the default {4}, which is not a whole number"),
        (lambda: Setting("a/k", 4, NO_DOMAIN), "which is no domain; give it Real, Whole or Choice"),
    ],
)
def test_what_cannot_be_a_setting(make, told):
    with pytest.raises(DomainError, match=re.escape(told)):
        make()
