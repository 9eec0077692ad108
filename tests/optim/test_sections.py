"""Sections, and edits that code applies: what no edit names stays byte for byte."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from textgrad_lg.errors import TemplateError
from textgrad_lg.optim.edit import frozen_spans
from textgrad_lg.optim.sections import Edit, apply, sections

TEXT = """\
# Role
You label reviews.
Be fair.

Rules:
1. One word.
   In English.
2) No more.
- Or less.

```json
# not a heading

1. not an item
```
The end.
"""
LINES = st.lists(
    st.sampled_from(
        ["# A", "## B", "one", "two words", "1. x", "2) y", "- z", "  more", "", " ", "```", "{slot}", "é\r"]
    ),
    max_size=12,
).map("\n".join)
WORDS = st.text("ab #\n", max_size=6)


def shown(text, frozen=()):
    return [(part.name, part.kind, text[part.start : part.end]) for part in sections(text, frozen)]


def test_headings_items_paragraphs_and_code():
    assert shown(TEXT) == [
        ("S1", "heading", "# Role"),
        ("S2", "paragraph", "You label reviews.\nBe fair."),
        ("S3", "paragraph", "Rules:"),
        ("S4", "item", "1. One word.\n   In English."),
        ("S5", "item", "2) No more."),
        ("S6", "item", "- Or less."),
        ("S7", "paragraph", "```json\n# not a heading\n\n1. not an item\n```\nThe end."),
    ]


def test_a_frozen_span_is_not_taken_apart():
    text = "Hello. <!-- frozen -->\n# Kept\n\n1. Kept<!-- /frozen -->\nmore\n\nAfter."
    assert [part for *_, part in shown(text, frozen_spans(text))] == [text[: text.index("\n\nAfter")], "After."]


@pytest.mark.parametrize("text", ["", " \n\t\n", "\n\n"])
def test_a_text_of_white_space_has_no_sections(text):
    assert sections(text) == ()
    with pytest.raises(TemplateError, match="there is no section 'S1'; the text is empty"):
        apply(text, [Edit(section="S1", replacement="x")])


@given(LINES)
def test_between_sections_there_is_white_space_only(text):
    parts = sections(text)
    ends = [0, *(part.end for part in parts)]
    starts = [*(part.start for part in parts), len(text)]
    assert all(end <= start and not text[end:start].strip() for end, start in zip(ends, starts, strict=True))
    assert all(text[part.start : part.end].strip() for part in parts)


@pytest.mark.parametrize(
    ("edit", "old", "new"),
    [
        (Edit(section="S5", replacement="2) At most one."), "2) No more.", "2) At most one."),
        (Edit(quote="In English", replacement="In German"), "In English", "In German"),
        (Edit(section="S2", quote="Be fair.", replacement="Be kind."), "Be fair.", "Be kind."),
        (Edit(section="S6", action="insert_after", replacement="- Really."), "- Or less.", "- Or less.\n- Really."),
        (Edit(section="S3", action="insert_after", replacement="\nKeep them.\n"), "Rules:", "Rules:\n\nKeep them."),
        (Edit(quote="No more", action="insert_after", replacement=", ever"), "No more", "No more, ever"),
        (Edit(section="S4", replacement=""), "1. One word.\n   In English.\n", ""),
        (Edit(section="S7", replacement=" "), TEXT[TEXT.index("```json") :].rstrip(), " "),
        (Edit(quote="2) No more.\n", replacement=""), "2) No more.\n", ""),
        (Edit(section=" S1 ", replacement="\n# Task\n"), "# Role", "# Task"),
    ],
)
def test_one_edit(edit, old, new):
    assert TEXT.count(old) == 1
    assert apply(TEXT, [edit]) == TEXT.replace(old, new)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (Edit(replacement="x"), "it names neither a section nor a quote"),
        (Edit(section="S8", replacement="x"), "there is no section 'S8'; the text has S1 to S7"),
        (Edit(quote="One  word", replacement="x"), "its quote 'One  word' is not found in the text"),
        (Edit(section="S1", quote="Rules", replacement="x"), "its quote 'Rules' is not found in section S1"),
        (Edit(quote="not a", replacement="x"), "its quote 'not a' is found more than once in the text"),
        (Edit(section="S4", quote="n", replacement="x"), "found more than once in section S4"),
    ],
)
def test_an_edit_without_one_place_is_refused_with_the_reason(edit, reason):
    with pytest.raises(TemplateError, match="edit 2: ") as caught:
        apply(TEXT, [Edit(section="S1", replacement="# Fine"), edit])
    assert reason in str(caught.value)


def test_a_quote_that_overlaps_itself_is_found_more_than_once():
    with pytest.raises(TemplateError, match="more than once"):
        apply("aaa", [Edit(quote="aa", replacement="b")])


@pytest.mark.parametrize(
    "edits",
    [
        [Edit(section="S2", replacement="x"), Edit(quote="Be fair", replacement="y")],
        [Edit(section="S2", replacement="x"), Edit(section="S2", replacement="x")],
        [Edit(section="S2", action="insert_after", replacement="x")] * 2,
        [Edit(quote="label reviews", replacement="x"), Edit(quote="reviews.\nBe", replacement="y")],
        [Edit(section="S2", replacement="x"), Edit(quote="You", action="insert_after", replacement="y")],
    ],
)
def test_edits_that_overlap_are_refused(edits):
    for order in (edits, edits[::-1]):
        with pytest.raises(TemplateError, match="edit 2: it overlaps edit 1; make one edit of the two"):
            apply(TEXT, order)


def test_every_refusal_has_a_line():
    with pytest.raises(TemplateError) as caught:
        apply(TEXT, [Edit(replacement=""), Edit(section="S1", replacement="x"), Edit(section="S9", replacement="x")])
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == ["edit 1", "edit 3"]


def test_frozen_spans_are_out_of_reach():
    kept = "<!-- frozen -->Never lie.<!-- /frozen -->"
    text = f"Be kind. {kept} Be brief."
    frozen = frozen_spans(text)
    for edit in (
        Edit(quote="Never lie", replacement="Lie"),
        Edit(quote="kind. <!--", replacement="cruel. <!--"),
        Edit(section="S1", replacement="Be kind. Never lie. Be brief."),
        Edit(quote="Never", action="insert_after", replacement=" not"),
    ):
        with pytest.raises(TemplateError, match="it would change what is frozen: '<!-- frozen"):
            apply(text, [edit], frozen)
    for edit, new in (
        (Edit(quote="kind. ", replacement="good. "), f"Be good. {kept} Be brief."),
        (Edit(quote=kept, action="insert_after", replacement=" Ever."), f"Be kind. {kept} Ever. Be brief."),
        (Edit(section="S1", replacement=f"{kept} Be good."), f"{kept} Be good."),
    ):
        assert apply(text, [edit], frozen) == new


@st.composite
def patches(draw):
    """A text, and edits of different sections, each marked by the section it replaces."""
    text = draw(LINES)
    parts = sections(text)
    chosen = draw(st.lists(st.sampled_from(parts), unique=True)) if parts else []
    return text, [Edit(section=part.name, replacement=f"<{part.name}>{draw(WORDS)}") for part in chosen]


@given(LINES)
def test_no_edits_are_the_identity(text):
    assert apply(text, []) == text


@given(patches())
def test_untouched_sections_and_all_gaps_are_identical(patch):
    text, edits = patch
    new = apply(text, edits)
    named = {edit.section: edit.replacement.strip("\n") for edit in edits}
    parts = sections(text)
    built = text[: parts[0].start] if parts else text
    for part, nxt in pairwise([*parts, None]):
        assert part is not None
        built += named.get(part.name, text[part.start : part.end])
        built += text[part.end : nxt.start if nxt else len(text)]
    assert new == built


@given(patches(), st.randoms())
def test_patches_that_are_disjoint_commute(patch, rng):
    text, edits = patch
    shuffled = list(edits)
    rng.shuffle(shuffled)
    assert apply(text, shuffled) == apply(text, edits)


@given(st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=2), WORDS, WORDS, st.data())
def test_disjoint_patches_commute_when_applied_one_after_the_other(letters, one, other, data):
    text = "\n\n".join(f"<{letter}>" for letter in letters)
    first, second = data.draw(st.lists(st.sampled_from(letters), min_size=2, max_size=2, unique=True))
    assume("<" not in one + other)
    a, b = Edit(quote=f"<{first}>", replacement=one), Edit(quote=f"<{second}>", replacement=other)
    together = apply(text, [a, b])
    assert apply(apply(text, [a]), [b]) == apply(apply(text, [b]), [a]) == together
