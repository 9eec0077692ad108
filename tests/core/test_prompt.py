import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgrad_lg.errors import TemplateError
from textgrad_lg.prompt import Demo, Template

SLOTS = ("review", "v0")
constants = st.text(alphabet="ab {}\n.*[\\", max_size=12).filter(
    lambda text: not any(f"{{{slot}}}" in text for slot in SLOTS)
)


@given(
    st.lists(constants, min_size=3, max_size=3),
    st.dictionaries(st.sampled_from(SLOTS), st.text(max_size=9), min_size=2),
)
def test_a_rendered_text_matches_and_renders_back(parts, values):
    text = parts[0] + "{review}" + parts[1] + "{v0}" + parts[2]
    template = Template(text, SLOTS)
    rendered = template.render(values)
    found = template.match(rendered)
    assert found is not None
    assert template.render(found) == rendered


def test_braces_that_are_no_slots_are_ordinary_text():
    template = Template('Answer as {"label": "{label}"} for {review}', ("review",))
    assert template.render({"review": "good"}) == 'Answer as {"label": "{label}"} for good'
    assert template.match('Answer as {"label": "{label}"} for good') == {"review": "good"}


def test_a_slot_used_twice_must_hold_the_same_value():
    template = Template("{q} and {q}", ("q",))
    assert template.match("a and a") == {"q": "a"}
    assert template.match("a and b") is None


def test_a_slot_value_may_span_lines():
    assert Template("Text:\n{x}\nEnd", ("x",)).match("Text:\na\nb\nEnd") == {"x": "a\nb"}


def test_a_template_without_slots_is_its_text():
    template = Template("Be {brief}.")
    assert template.render({}) == str(template) == "Be {brief}."
    assert template.match("Be {brief}.") == {}
    assert template.match("Be brief.") is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("  \n", "the new text is empty"),
        ("Classify.", "loses the slot {review}"),
        ("Classify {review} by {author}", "invents the slot {author}"),
    ],
)
def test_a_text_that_loses_or_invents_a_slot_is_refused(text, problem):
    with pytest.raises(TemplateError, match=problem):
        Template("Label {review} as {label}", ("review",)).with_text(text)


def test_a_brace_that_was_there_before_may_stay():
    old = Template("Label {review} as {label}", ("review",))
    assert old.with_text("As {label}: {review}").slots == ("review",)


def test_a_text_that_is_not_quite_unicode_has_a_hash():
    assert Template("half a \ud83d pair").hash


def test_the_hash_covers_text_slots_and_demonstrations():
    plain = Template("a {x}", ("x",))
    others = [Template("b {x}", ("x",)), Template("a {x}"), Template("a {x}", ("x",), (Demo((("x", "1"),), "2"),))]
    assert len({plain.hash, *(other.hash for other in others)}) == 4
    assert plain.hash == Template("a {x}", ("x",)).hash
