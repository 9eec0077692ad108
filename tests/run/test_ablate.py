"""Texts that stand in for a Parameter's: whatever the text, its slots and what is frozen in it stay."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgrad_lg.optim.edit import check, frozen_spans
from textgrad_lg.prompt import Demo, Template
from textgrad_lg.run.ablate import moved, neutral
from textgrad_lg.site import Site

SYSTEM = Site(("judge",), "system")
FROZEN = "<!-- frozen -->Never say {name}. Be kind.<!-- /frozen -->"
piece = st.sampled_from(
    [
        "You judge. ",
        "Be brief!",
        " ",
        "\n\n",
        "\n",
        "# Rules\n",
        "- one\n",
        "{name}",
        "{it}",
        FROZEN,
        "```\na. b\n```\n",
    ]
)


def test_nothing_is_left_but_slots_and_what_is_frozen():
    template = Template(
        f"Judge {{it}} well.\n{FROZEN}\nNow.", ("it", "name"), (Demo((("it", "x"), ("name", "y")), "z"),)
    )
    new = neutral(SYSTEM, template)
    assert new.text == f"{FROZEN}\n{{it}}"
    assert (new.slots, new.demos) == (template.slots, ())


@pytest.mark.parametrize(
    ("site", "words"),
    [
        ("judge/system", "Do your task."),
        ("tools:search/description", "A tool."),
        ("tools:search/args/query", "A value."),
        ("schemas:Answer/description", "A value."),
    ],
)
def test_a_text_without_slots_becomes_a_few_words(site, words):
    assert neutral(Site.parse(site), Template("Look things up on the shelf.")).text == words


def test_a_text_that_says_nothing_cannot_say_less():
    assert neutral(SYSTEM, Template("{it}", ("it",))) is None
    assert neutral(SYSTEM, Template("Do your task.")) is None


@pytest.mark.parametrize(
    ("text", "new", "how"),
    [
        ("# A\n\nFirst.\n\n- one\n- two\n", "First.\n\n- one\n\n- two\n# A\n", "its sections in another order"),
        ("One. Two! Three?", "Two! Three? One.", "its sentences in another order"),
        ("You write the page", "You write", "its first half"),
        ("Say {it} twice to me", "Say {it} twice", "its first half"),
        ("Say it twice to {it}", "Say it twice\n{it}", "its first half"),
        (f"One. {FROZEN} Two.", f"{FROZEN} Two. One.", "its sentences in another order"),
    ],
)
def test_code_says_it_otherwise(text, new, how):
    slots = tuple(slot for slot in ("it", "name") if f"{{{slot}}}" in text)
    made, words = moved(Template(text, slots))
    assert (made.text, words) == (new, how)


@pytest.mark.parametrize("text", ["Judge.", "Same.\n\nSame.", "{it}", FROZEN])
def test_code_has_no_way_to_say_it_otherwise(text):
    assert moved(Template(text, tuple(slot for slot in ("it", "name") if f"{{{slot}}}" in text)))[0] is None


@given(st.lists(piece, min_size=1, max_size=12).map("".join))
def test_whatever_is_tried_may_be_run(text):
    template = Template(text, tuple(dict.fromkeys(re.findall(r"\{(name|it)\}", text))))
    for new in (neutral(SYSTEM, template), moved(template)[0]):
        if new is not None:
            assert check(template, new) is None
            frozen = [text[start:end] for start, end in frozen_spans(text)]
            assert [new.text[start:end] for start, end in frozen_spans(new.text)] == frozen or sorted(frozen) == sorted(
                new.text[start:end] for start, end in frozen_spans(new.text)
            )


@given(st.lists(piece, min_size=1, max_size=12).map("".join))
def test_what_is_only_moved_keeps_every_letter(text):
    template = Template(text, tuple(dict.fromkeys(re.findall(r"\{(name|it)\}", text))))
    new, how = moved(template)
    if new is not None and "order" in how:
        assert sorted(new.text) == sorted(text)
