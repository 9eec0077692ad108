"""Merging many Gradients into one bounded text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot

from textgrad_lg.autograd import distinct, reduce
from textgrad_lg.gradient import Gradient
from textgrad_lg.templates import tokens_in


def gradient(text: str, score: float | None = 0.0, example: str | None = "e1"):
    return Gradient("v", text, "s", "t", example, score)


def test_identical_texts_are_counted_once_by_how_many_examples_said_them():
    said = [
        gradient("Be brief.", 0.5, "e1"),
        gradient("Use a label.", 0.0, "e2"),
        gradient("Name the city.", 0.0, "e3"),
        gradient("Name  the\ncity.", 0.0, "e4"),
        gradient("Name the city.", 0.0, "e4"),
        gradient("Unknown score.", None, None),
        gradient("   ", 0.0, "e5"),
    ]
    assert reduce(said) == snapshot("""\
- Name the city. (score 0, 2 examples)
- Use a label. (score 0, 1 example)
- Unknown score. (1 example)
- Be brief. (score 0.5, 1 example)\
""")
    assert distinct(said) == ("Name the city.", "Use a label.", "Unknown score.", "Be brief.")


def test_the_worst_score_of_a_text_counts():
    assert distinct([gradient("a", 0.5), gradient("b", 0.75), gradient("b", 0.25)]) == ("b", "a")
    assert reduce([gradient("a", 0.5), gradient("a", None)]) == "- a (1 example)"


def test_nothing_reduces_to_nothing():
    assert reduce([]) == ""
    assert distinct([]) == ()


def test_what_does_not_fit_is_counted():
    assert reduce([gradient("word " * 10 + str(at)) for at in range(9)], tokens=60) == snapshot("""\
- word word word word word word word word word word 0 (score 0, 1 example)
- word word word word word word word word word word 1 (score 0, 1 example)
(and 7 more)\
""")
    assert reduce([gradient("a" * 200), gradient("b")], tokens=40) == snapshot("""\
- aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
[... 148 characters cut ...]
aaaa (score 0, 1 example)
(and 1 more)\
""")


GRADIENTS = st.lists(
    st.builds(
        gradient,
        st.text(max_size=60),
        st.sampled_from([None, 0.0, 0.5, 1.0]),
        st.sampled_from([None, "e1", "e2"]),
    ),
    max_size=20,
)


@given(GRADIENTS, st.integers(1, 120))
def test_the_cap_is_hard_and_the_ranking_is_total(gradients, tokens):
    assert tokens_in(reduce(gradients, tokens=tokens)) <= tokens
    texts = distinct(gradients)
    assert len({" ".join(text.split()) for text in texts}) == len(texts)
    assert bool(texts) == any(gradient.text.strip() for gradient in gradients)
    assert distinct([*gradients, *gradients]) == texts
