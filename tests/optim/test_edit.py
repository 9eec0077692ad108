"""What `edit.check` refuses, and what it lets through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgrad_lg.optim.edit import EditLimits, check, frozen_spans, keep_margins
from textgrad_lg.prompt import Demo, Template
from textgrad_lg.templates import fence

OLD = Template("Classify {review}. See https://docs.example.com/labels.", ("review",))


def edit(text: str, old: Template = OLD, limits: EditLimits | None = None) -> str | None:
    return check(old, Template(text, old.slots), limits=limits)


@pytest.mark.parametrize(
    "text",
    [
        "Answer with one word. Classify {review}.",
        "Classify {review}, as https://docs.example.com/labels says.",
        "(HTTPS://DOCS.EXAMPLE.COM/labels) {review}",  # the same address, written otherwise
        'Reply with JSON: {"label": "positive"}. {review}',
        "Use e.g. 1.5 or 3/4, node.js and files/names.txt; {review}",
        "Satz mit weichem Trenn\u00adstrich, \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 and 👨\u200d👩\u200d👧. {review}",
        "Tabs\tand\r\nline ends are fine: {review}",
    ],
)
def test_permits(text):
    assert edit(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (OLD.text, "nothing is changed"),
        ("  \n ", "the new text is empty"),
        ("Classify the review.", "the new text loses the slot {review}"),
        ("Classify {review} in {language}.", "the new text invents the slot {language}"),
        ("{review}" + "x" * 1_993, "the new text has 2001 characters; the limit is 2000"),
        ("{review} \x00\x1b[0m", "the new text holds control characters: U+0000, U+001B"),
        ("{review} \u202egnihtyna", "the new text holds control characters: U+202E"),
        ("{review} \U000e0041", "the new text holds control characters: U+E0041"),
        ("{review} \ud800", "the new text holds control characters: U+D800"),
        ("{review} <!-- frozen -->", "the new text adds or loses a mark of a frozen span"),
        ("{review} <!-- frozen -->all<!-- /frozen -->", "the new text adds or loses a mark of a frozen span"),
    ],
)
def test_refuses(text, reason):
    assert edit(text) == reason


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.test/a?b=c",
        "http://docs.example.com/labels",  # another scheme
        "https://docs.example.com/labels/evil",  # an address in the text with more behind it
        "https://evil.test/{review}",
        "ftp://evil.test",
        "![](https://evil.test/p.png)",
        "mailto:bob",
        "javascript:alert(1)",
        "bob@evil.test",
        "bob.smith+x@mail.evil.test",
        "www.evil.com",
        "evil.com",
        "evil.test/pay",
        "10.0.0.1",
        "ｅｖｉｌ．ｃｏｍ",
        "ev\u200dil.c\u00adom",
    ],
)
def test_refuses_an_address_that_is_neither_in_the_old_text_nor_the_users(address):
    text = f"Classify {{review}}, then ask {address} for help."

    assert "which is neither in the old text nor in your own words" in (edit(text) or "")
    assert edit(text, limits=EditLimits(trusted=("Unrelated.", f"Send doubts to {address}."))) is None


@pytest.mark.timeout(20)  # reading it once more for each letter would take far longer
@pytest.mark.parametrize("text", ["a" * 60_000, "a." * 30_000, "a@" * 30_000, "1." * 30_000, "a.b-" * 15_000])
def test_a_long_text_without_links_is_read_in_one_go(text):
    assert check(Template("x"), Template(text), limits=EditLimits(characters=100_000)) is None


def test_the_limit_grows_with_the_old_text():
    old = Template("x" * 1_000)
    assert edit("y" * 3_000, old) is None
    assert edit("y" * 3_001, old) == "the new text has 3001 characters; the limit is 3000"
    assert EditLimits(characters=10, growth=1.5).longest(Template("x" * 9)) == 13


def test_no_number_of_edits_outgrows_the_ceiling():
    own = Template("x" * 500)
    limits = EditLimits(characters=600, growth=3.0, ceiling=4.0)
    lengths, text = [], own
    for _ in range(4):
        longest = limits.longest(text, own)
        assert check(text, Template("y" * (longest + 1)), limits=limits, own=own) is not None
        lengths.append(longest)
        text = Template(text.text + "y" * (longest - len(text.text)))
    assert lengths == [1_500, 2_000, 2_000, 2_000]


def test_a_text_over_the_ceiling_may_be_shortened():
    own, old = Template("x" * 10), Template("x" * 5_000)
    assert check(old, Template("y" * 4_999), own=own) is None
    assert check(old, Template("y" * 5_001), own=own) == "the new text has 5001 characters; the limit is 5000"


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 300), st.floats(0.1, 5), st.floats(0.1, 9))
def test_the_limit_is_under_the_growth_and_under_the_ceiling(own, old, characters, growth, ceiling):
    limits = EditLimits(characters=characters, growth=growth, ceiling=ceiling)
    longest = limits.longest(Template("x" * old), Template("x" * own))
    assert longest <= max(characters, growth * old)
    assert longest <= max(characters, ceiling * own, old)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Law 1: no harm. Law 2: obey. Be brief.", None),
        ("Law 2: obey. And Law 1: no harm. Law 1: no harm.", None),
        ("Law 1: no harm. Be brief.", "changes or loses what the frozen pattern"),
        ("Law 1: some harm. Law 2: obey.", "changes or loses what the frozen pattern"),
        ("Law 1: no harm. Law 2: obey. Law 3: flee.", "adds a match of the frozen pattern"),
    ],
)
def test_what_a_pattern_matches_is_frozen(text, reason):
    old = Template("Law 1: no harm. Law 2: obey. Be kind.")
    found = edit(text, old, EditLimits(frozen=(r"Law \d: [^.]*\.",)))
    assert found is None if reason is None else reason in (found or "")


def test_frozen_spans_of_patterns_and_marks_are_merged():
    text = "ab <!-- frozen -->cd<!-- /frozen --> ef"
    assert frozen_spans(text, ("b <!", "f", "z*", "d<!-- /frozen --> e")) == ((1, 38), (38, 39))
    assert frozen_spans("abcabc", ("b", "c")) == ((1, 2), (2, 3), (4, 5), (5, 6))


def test_delimiters_of_the_librarys_own_requests_are_refused():
    opening, *_, closing = fence("feedback", "Be brief.", tokens=100).splitlines()
    for left_over in (opening, closing, f"{opening}\nBe brief.\n{closing}"):
        assert edit(f"{{review}}\n{left_over}") == "the new text holds a delimiter of this library's own requests"


def test_control_characters_that_were_there_already_may_stay():
    assert edit("\ufeffClassify it.", Template("\ufeffClassify.")) is None


def test_frozen_spans_survive_word_for_word():
    old = Template("Be kind. <!-- frozen -->Never\ngive {legal} advice.<!-- /frozen --> Be brief.", ("legal",))
    kept = "<!-- frozen -->Never\ngive {legal} advice.<!-- /frozen -->"

    assert frozen_spans(old.text) == ((9, 9 + len(kept)),)
    assert edit(f"{kept} Be very brief.", old) is None
    assert edit("Never give {legal} advice.", old) == "the new text changes or loses a frozen span"
    assert edit(kept.replace("Never", "Always"), old) == "the new text changes or loses a frozen span"
    assert edit(f"{kept} {kept}", old) == "the new text adds or loses a mark of a frozen span"


def test_two_equal_frozen_spans_are_two():
    span = "<!-- frozen -->a<!-- /frozen -->"
    assert edit(f"{span} b", Template(f"{span} {span}")) == "the new text changes or loses a frozen span"


def test_other_slots_than_declared_are_refused():
    new = Template("Classify {review} {x}", ("review", "x"))
    assert check(OLD, new) == "the new text declares other slots than the old one"


def test_demonstrations_are_a_change_and_have_a_limit():
    system, long = Demo((("human", "Lovely."),), "positive"), Demo((("review", "x" * 8_000),), "positive")

    assert check(OLD, Template(OLD.text, OLD.slots, (system,))) is None
    assert check(OLD, Template(OLD.text, OLD.slots, (long,))) == (
        "the demonstrations have 8008 characters; the limit is 8000"
    )
    assert check(OLD, Template(OLD.text, OLD.slots, (Demo((("text", "x"),), "y"),))) == (
        "a demonstration has no value for the slot {review}"
    )


def test_demonstrations_that_were_there_already_are_not_measured_again():
    demos = (Demo((("human", "x" * 9_000),), "y"),)
    assert check(Template("a", (), demos), Template("b", (), demos)) is None


@given(st.text(max_size=50), st.text(max_size=50))
def test_keep_margins_changes_nothing_but_the_margins(old, new):
    kept = keep_margins(old, new)

    assert kept.strip() == new.strip()
    if old.strip() and new.strip():
        assert kept.startswith(old[: len(old) - len(old.lstrip())])
        assert kept.endswith(old[len(old.rstrip()) :])


@given(st.text(max_size=200), st.text(max_size=200))
def test_what_is_permitted_is_short_and_different_and_not_empty(old, new):
    if check(Template(old), Template(new), limits=EditLimits(characters=20, growth=2)) is None:
        assert new != old
        assert new.strip()
        assert len(new) <= max(20, 2 * len(old))
