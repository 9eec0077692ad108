"""The user's own rules, checked by code."""

from __future__ import annotations

import pytest

from textgrad_lg.optim import EditLimits, Language, Matches, MaxLines, ValidJSON, check
from textgrad_lg.optim.checks import asked
from textgrad_lg.prompt import Template

ENGLISH = "You label reviews of films, and you answer with one word only, please."


def detect(text: str) -> str:
    return "de" if "ü" in text else "en-US"


@pytest.mark.parametrize(
    ("rule", "good", "bad", "reason"),
    [
        (MaxLines(2), "\na\nb\n", "a\nb\nc", "the new text has 3 lines; the limit is 2"),
        (
            Matches(r"(?m)^Answer:$", "Ends with the line `Answer:`."),
            "x\nAnswer:",
            "Answer: x",
            "the new text does not keep the rule: Ends with the line `Answer:`.",
        ),
        (
            Matches("(?i)please", absent=True),
            "Do it.",
            "Please do it.",
            "the new text does not keep the rule: The text has no text that matches the regular expression `(?i)please`.",
        ),
        (ValidJSON(), '{"a": [1]}', '{"a": }', "the new text is not valid JSON: Expecting value"),
        (ValidJSON(), "1", "[" * 100_000, "the new text is not valid JSON: "),
        (
            ValidJSON(blocks=True),
            "No JSON here.\n```json\n{}\n```\n```\n{\n```",
            "```json\n{}\n```\n\n```json\n{1}\n```",
            "a json block of the new text is not valid JSON: Expecting property name",
        ),
        (Language("en", detect), ENGLISH, f"{ENGLISH} ü", "the new text is in the language 'de'; wanted is 'en'"),
        (Language("EN-gb", detect), "Kurz: ü.", f"{ENGLISH} ü", "the new text is in the language 'de'"),
        (Language("en", detect), f"{ENGLISH}\n```\nkeine Prüfung\n```\n```\nü\n```", f"{ENGLISH} `ü`", "language 'de'"),
    ],
)
def test_each_rule_has_two_sides(rule, good, bad, reason):
    assert rule(good) is None
    assert reason in rule(bad)
    limits = EditLimits(checks=(rule,), characters=200_000)
    assert check(Template("old"), Template(good), limits=limits) is None
    assert reason in (check(Template("old"), Template(bad), limits=limits) or "")


def test_slots_and_addresses_have_no_language():
    seen = []
    rule = Language("en", lambda text: seen.append(text) or "en")
    assert rule(f"{ENGLISH} {{gruss}} https://ü.test/ü <!-- ü -->") is None
    assert seen == [ENGLISH]


def test_any_callable_is_a_rule_and_what_it_raises_reaches_the_user():
    def no_shouting(text):
        return "it shouts" if text.isupper() else None

    def broken(text):
        raise ZeroDivisionError("mine")

    assert check(Template("a"), Template("B"), limits=EditLimits(checks=(no_shouting,))) == "it shouts"
    assert check(Template("a"), Template("b"), limits=EditLimits(checks=(no_shouting,))) is None
    with pytest.raises(ZeroDivisionError, match="mine"):
        check(Template("a"), Template("b"), limits=EditLimits(checks=(broken,)))


def test_rules_are_not_asked_about_a_text_that_stays():
    from textgrad_lg.prompt import Demo

    limits = EditLimits(checks=(MaxLines(1),))
    old = Template("a\nb")
    assert check(old, Template("a\nb", (), (Demo((("human", "x"),), "y"),)), limits=limits) is None


def test_what_the_model_is_told_of_them():
    rules = (MaxLines(3), lambda text: None, Matches("x"), ValidJSON(), ValidJSON(blocks=True), Language("en", detect))
    assert asked(rules) == [
        "The text has at most 3 lines.",
        "The text has text that matches the regular expression `x`.",
        "The whole text is valid JSON.",
        "Each fenced json block of the text is valid JSON.",
        "The text is written in the language `en`.",
    ]


def test_a_pattern_that_is_none():
    with pytest.raises(ValueError, match=r"'\[' is not a regular expression: .* write it as Python's `re` reads it"):
        Matches("[")
    with pytest.raises(ValueError, match="is not a regular expression"):
        EditLimits(frozen=("(",))
    one_text: tuple[str, ...] = "abc"  # pyright: ignore[reportAssignmentType]
    with pytest.raises(TypeError, match="put the one into a tuple"):
        EditLimits(frozen=one_text)
