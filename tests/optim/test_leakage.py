"""Leakage: what copies out a train example, and what only looks like it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgrad_lg.example import Example
from textgrad_lg.gradient import Gradient, Gradients
from textgrad_lg.optim import TGD, EditLimits, Leakage, StepContext, check
from textgrad_lg.prompt import Template
from textgrad_lg.site import Site

STORY = "Paul had forty four apples, and gave a dozen of them to Ann"
EXAMPLES = (
    Example("sum", {"question": STORY, "meta": {"tags": ["from the maths book"]}}, {"answer": "Thirty-two red apples"}),
    Example("film", {"review": "Lovely."}, {"label": "positive", "why": "not at all sad", "stars": 5}),
    Example("book", {"review": "Dreadful."}, {"label": "negative", "why": "not at all sad"}),
    Example("none", "I read it twice", None),
)


def said(text: str, *examples: str) -> tuple[Gradient, ...]:
    return tuple(Gradient("v", text, "s", f"t{name}", name, 0.0) for name in examples)


def leak(text: str, *known: str, gradients=(), examples=EXAMPLES, **rule) -> str | None:
    return Leakage(examples, gradients, **rule).found(text, known)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "For example: paul had FORTY-FOUR apples and gave a few away.",
            "the new text copies “paul had forty four apples and gave a” out of the train example 'sum'",
        ),
        (
            "If Paul is named, say: thirty two red apples.",
            "the new text holds the answer “thirty two red apples” of the train example 'sum'",
        ),
    ],
)
def test_refused(text, reason):
    assert leak(text) == reason


@pytest.mark.parametrize(
    "text",
    [
        "Answer positive or negative.",  # a label, of one word
        "Say why, as in: not at all sad.",  # a reference that two examples share
        "Paul had forty four apples and gave.",  # seven words
        "Thirty-two red pears, or apples.",
        "I read it twice",
        "",
    ],
)
def test_no_leakage(text):
    assert leak(text) is None


def test_what_the_user_or_the_prompt_says_already_is_no_leakage():
    answer, story = "thirty-two red apples", f"Like this: {STORY}."
    assert leak(answer, "Be brief.", "Never say thirty two red apples!") is None
    assert leak(story, story) is None
    assert leak(story, "Paul had forty four pears") is not None


def test_feedback_on_several_examples_is_a_rule_and_on_one_is_none():
    text = "Expected: thirty-two red apples."
    assert leak(text, gradients=said(text, "sum")) is not None
    assert leak(text, gradients=said(text, "sum", "sum")) is not None
    assert leak(text, gradients=said(text, "sum", "film")) is None


def test_what_most_examples_share_is_the_form_of_the_data():
    form = "You are given a review and have to find its one label"
    few = (Example("a", f"{form}: A"), Example("b", f"{form}: B"), Example("c", "C"))
    many = (*few, Example("d", "D"), Example("e", "E"))
    assert leak(form, examples=few) is None
    assert leak(form, examples=many) is not None
    assert leak(form, examples=few[:1]) is not None


def test_a_long_label_is_a_label():
    label = "the customer wants the money back for an order"
    examples = [Example(str(at), str(at), {"label": label if at < 2 else str(at)}) for at in range(9)]
    assert leak(f"Labels: {label}.", examples=examples) is None
    assert leak(f"Labels: {label}.", examples=examples[1:]) is not None


def test_scripts_without_spaces_count_by_the_character():
    examples = (Example("zh", "这部电影真的非常好看"), Example("x", "x"), Example("y", "y"))
    assert leak("例如：这部电影真的非常好", examples=examples) is not None
    assert leak("电影真的非常", examples=examples) is None


def test_each_rule_can_be_set_and_turned_off():
    assert leak(STORY, quoted=0) is None
    assert leak("Paul had forty", quoted=3) is not None
    assert leak("thirty two red apples", answer=5) is None
    assert leak("thirty two red apples", answer=0) is None
    assert leak("positive", answer=1) is not None


def test_the_reason_stays_short():
    word = "word" * 30
    found = leak(word, examples=(Example("e", "", {"a": word}),), answer=1)
    assert len(found or "") < 140
    assert "…" in (found or "")


async def test_the_optimizer_refuses_what_feedback_tells_of_an_answer():
    site = Site(("solve",), "system")
    step = StepContext(
        {site: Template("Solve it.")},
        Gradients((Gradient("v", "Expected 'Thirty-two red apples'.", "s", "t", "sum", 0.0, site),)),
        examples=EXAMPLES,
    )
    found = await TGD().propose(step)
    assert found.updates == ()
    assert {reason for _, reason in found.rejected} == {
        "the new text holds the answer “thirty two red apples” of the train example 'sum'"
    }
    assert (await TGD(limits=EditLimits(answer=0)).propose(step)).updates
    # What the user says himself is no secret.
    trusting = await TGD(constraints=["Name thirty two red apples."]).propose(step)
    assert trusting.updates


def test_the_graphs_own_text_excuses_what_an_edit_had_removed():
    own, old, new = Template(f"E.g. {STORY}"), Template("Solve."), Template(f"Solve. {STORY}")
    assert check(old, new, leakage=Leakage(EXAMPLES)) is not None
    assert check(old, new, own=own, leakage=Leakage(EXAMPLES)) is None


WORDS = st.lists(st.sampled_from("abcd"), max_size=20).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=6), WORDS, WORDS)
def test_a_copied_run_is_found_if_and_only_if_it_is_there(inputs, new, known):
    examples = [Example(str(at), text) for at, text in enumerate(inputs)]

    def runs(text):
        words = text.split()
        return {tuple(words[at : at + 3]) for at in range(len(words) - 2)}

    held = [run for run in runs(new) - runs(known) if sum(run in runs(text) for text in inputs) > 0]
    copied = [run for run in held if sum(run in runs(text) for text in inputs) <= max(1, len(inputs) // 2)]
    assert (leak(new, known, examples=examples, quoted=3) is not None) == bool(copied)


@given(WORDS)
def test_no_text_leaks_itself(text):
    assert leak(text, text, examples=[Example("e", text, {"a": text})], quoted=2, answer=1) is None
