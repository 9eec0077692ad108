"""Masking and alignment: the texts of several runs as Templates."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from textgrad_lg.prompt import Template
from textgrad_lg.record.align import Observed, align, mask, pick
from textgrad_lg.record.mask import Slot, build, constants, has_words, hits, template_of, unique, weight


def texts_of(templates):
    return [template.text for template in templates]


class TestMask:
    def test_a_value_of_the_state_becomes_a_slot_named_after_its_field(self):
        template = mask("Sort this review: a fine film.\nOne word.", [("review", "a fine film")])
        assert template == Template("Sort this review: {review}.\nOne word.", ("review",))

    def test_without_values_the_text_is_constant(self):
        assert mask("Be brief.", []) == Template("Be brief.")

    def test_the_longest_value_is_found_first(self):
        template = mask("On: a fine film from France", [("country", "France"), ("review", "a fine film from France")])
        assert template.text == "On: {review}"

    def test_a_value_is_never_found_inside_a_word(self):
        assert mask("The category is cats.", [("animal", "cat")]).text == "The category is cats."
        assert mask("The cat sat; concatenate.", [("animal", "cat")]).text == "The {animal} sat; concatenate."

    def test_in_scripts_without_spaces_neighbours_are_not_the_same_word(self):
        assert mask("请翻译电影评论吧", [("review", "电影评论")]).text == "请翻译{review}吧"

    def test_a_value_that_starts_and_ends_with_punctuation_may_touch_words(self):
        assert mask("x(a, b)y", [("pair", "(a, b)")]).text == "x{pair}y"

    @pytest.mark.parametrize(
        ("text", "masked"),
        [("no", "{label}"), ("Label:\nno\nWhy?", "Label:\n{label}\nWhy?"), ("Is it no or yes?", "Is it no or yes?")],
    )
    def test_a_value_of_two_characters_is_found_only_where_it_fills_a_line(self, text, masked):
        assert mask(text, [("label", "no")]).text == masked

    def test_values_without_a_letter_or_digit_are_no_values(self):
        assert mask("a --- b", [("rule", "---"), ("empty", ""), ("blank", "   ")]).text == "a --- b"

    def test_a_value_that_was_stripped_is_found(self):
        assert mask("Text: hello there!", [("text", "  hello there!\n")]).text == "Text: {text}"

    def test_a_long_value_that_was_cut_short_is_found_up_to_the_cut(self):
        long = "The first half of it is shown here, and the second is not."
        assert mask(f"Text: {long[:40]} (cut)", [("text", long)]).text == "Text: {text} (cut)"
        assert mask(f"Text: {long[:40]}", [("text", long)]).text == "Text: {text}"

    def test_the_start_of_a_long_value_inside_a_word_is_not_found(self):
        assert mask("xxaaaaaaaaaaaaaaaaaaaaaaaaaa b", [("text", "a" * 26 + " c")]).slots == ()

    def test_equal_values_of_a_field_share_a_slot_and_different_ones_have_their_own(self):
        template = mask("ann, then bob wrote; again ann", [("name", "ann"), ("other", "bob")])
        assert template.text == "{name}, then {other} wrote; again {name}"
        template = mask("from ann wrote to bob", [("name", "ann"), ("name", "bob")])
        assert template == Template("from {name} wrote to {name_2}", ("name", "name_2"))

    def test_of_equal_values_the_first_names_the_slot(self):
        assert mask("Say hello", [("greeting", "hello"), ("copy", "hello")]).text == "Say {greeting}"

    def test_a_list_of_values_becomes_one_slot(self):
        values = [("notes", "one fact"), ("notes", "two facts"), ("notes", "three facts")]
        assert mask("Notes:\n- one fact\n- two facts\n- three facts\nGo.", values).text == "Notes:\n- {notes}\nGo."
        assert mask("1. one fact\n2. two facts", values).text == "1. {notes}"

    def test_slots_never_share_a_name_with_a_literal_in_braces(self):
        template = mask('Fill {"label": {label}} for good film', [("label", "good film")])
        assert template.slots == ("label_2",)
        assert template.match('Fill {"label": {label}} for bad film') == {"label_2": "bad film"}

    @pytest.mark.parametrize(
        ("field", "slot"),
        [("user.name", "user_name"), ("2nd", "_2nd"), ("größe", "gr_e"), ("__", "value"), ("", "value")],
    )
    def test_slot_names_are_identifiers(self, field, slot):
        assert mask("x value here", [(field, "value here")]).slots == (slot,)


class TestPieces:
    def test_hits_do_not_overlap_and_are_in_order(self):
        found = hits("abc def abc", [("a", "abc def"), ("b", "def abc"), ("c", "abc")])
        assert [(hit.start, hit.end, hit.name) for hit in found] == [(0, 7, "a"), (8, 11, "c")]

    def test_build_leaves_out_empty_pieces(self):
        assert build("abc", hits("abc", [("a", "abc")])) == [Slot("a")]
        assert build("", []) == []

    def test_constants_and_weight_count_what_is_not_a_slot(self):
        template = Template("A {x} B\n{y}", ("x", "y"))
        assert constants(template) == ["A ", " B\n"]
        assert weight(template) == len("A  B\n")

    def test_letters_outside_of_slots_make_words(self):
        assert has_words(Template("Q: {q}", ("q",)))
        assert not has_words(Template("{q}:\n - {r} 12", ("q", "r")))
        assert has_words(Template("{q}"))

    def test_unique_counts_from_two(self):
        assert unique("a", {"a", "a_2"}) == "a_3"

    def test_a_repeated_slot_is_named_once(self):
        assert template_of([Slot("a"), " and ", Slot("a")]) == Template("{a} and {a}", ("a",))


class TestAlign:
    def test_nothing_gives_nothing(self):
        assert align([]) == []

    def test_texts_equal_after_masking_are_one_template(self):
        templates = align([Observed(f"Sort: {review}", (("review", review),)) for review in ("good film", "bad one")])
        assert texts_of(templates) == ["Sort: {review}", "Sort: {review}"]

    def test_what_differs_between_similar_texts_becomes_a_slot(self):
        templates = align([Observed(f"You are in turn {turn} of this game, ok.") for turn in (1, 2, 3)])
        assert texts_of(templates) == ["You are in turn {v0} of this game, ok."] * 3

    def test_two_places_that_differ_are_two_slots(self):
        first = Observed("Dear Ann, your bill of 12 is due on the first day.")
        second = Observed("Dear Bob Smith, your bill of 44 is due on the first day.")
        assert texts_of(align([first, second])) == ["Dear {v0}, your bill of {v1} is due on the first day."] * 2

    def test_words_shared_by_chance_do_not_split_a_slot(self):
        first = Observed("Summarise the following text for a busy reader in one line: we liked the food very much")
        second = Observed("Summarise the following text for a busy reader in one line: nobody ate the cake")
        assert texts_of(align([first, second]))[0].endswith("in one line: {v0}")

    def test_white_space_that_both_end_with_stays(self):
        first, second = "Tell me of the first one \nfor the record.", "Tell me of Ann\nfor the record."
        assert texts_of(align([Observed(first), Observed(second)]))[0] == "Tell me of {v0}\nfor the record."

    def test_a_label_between_two_differences_stays(self):
        first, second = "Describe this person now.\nName: Ann\nAge: 3", "Describe this person now.\nName: Bob\nAge: 44"
        assert texts_of(align([Observed(first), Observed(second)]))[0] == (
            "Describe this person now.\nName: {v0}\nAge: {v1}"
        )

    def test_dissimilar_texts_stay_apart_in_the_order_they_came(self):
        texts = ["Answer in French.", "Write a long and happy poem about the sea.", "Answer in French."]
        assert texts_of(align([Observed(text) for text in texts])) == texts

    def test_a_slot_found_by_alignment_is_named_after_the_field_that_had_its_value(self):
        observed = [
            Observed(f"This is attempt number {count} of the writer.", (("tries", str(count)), ("always", "9")))
            for count in (1, 2, 3)
        ]
        assert align(observed)[0].slots == ("tries",)

    def test_without_such_a_field_the_slot_is_numbered(self):
        observed = [
            Observed(f"This is attempt number {count} of the writer.", (("tries", "1"),)) for count in (1, 2, 3)
        ]
        assert align(observed)[0].slots == ("v0",)

    def test_a_number_that_stands_in_the_text_as_a_literal_is_not_taken(self):
        observed = [Observed(f"Fill in {{v0}} for number {count} of the list.") for count in (1, 2)]
        assert align(observed)[0] == Template("Fill in {v0} for number {v1} of the list.", ("v1",))

    def test_names_that_agree_only_by_chance_are_corrected(self):
        # In the first run the category happens to equal the label; over both runs only the label explains the text.
        observed = [
            Observed("Explain why it is called spam by us.", (("category", "spam"), ("label", "spam"))),
            Observed("Explain why it is called work by us.", (("category", "mail"), ("label", "work"))),
        ]
        assert align(observed) == [Template("Explain why it is called {label} by us.", ("label",))] * 2

    def test_an_exact_repetition_costs_nothing_and_changes_nothing(self):
        one = Observed("Sort: x of it", (("a", "x"),))
        assert align([one, one]) == align([one]) * 2

    def test_a_value_that_is_masked_in_one_run_only_keeps_its_slot(self):
        observed = [
            Observed("Translate the following words for me: good film", (("words", "good film"),)),
            Observed("Translate the following words for me: GOT IT", (("words", "got it"),)),
        ]
        assert texts_of(align(observed)) == ["Translate the following words for me: {words}"] * 2

    def test_a_slot_used_twice_is_split_if_its_uses_differ_in_some_run(self):
        observed = [
            Observed("Compare the film ann with the book ann for us today", (("a", "ann"),)),
            Observed("Compare the film bob with the book cid for us today", (("a", "bob"),)),
        ]
        templates = align(observed)
        assert templates[0] == templates[1]
        assert len(templates[0].slots) == 2

    def test_texts_with_too_many_differences_stay_apart(self):
        def text(word):
            return " ".join(f"line number{at}: value is {word}{at};" for at in range(20))

        templates = align([Observed(text("a")), Observed(text("b"))])
        assert [template.slots for template in templates] == [(), ()]

    def test_very_long_texts_are_compared_by_their_beginning_and_end(self):
        middles = [" ".join(f"{letter}{at}" for at in range(1100)) for letter in "xy"]
        head = " ".join(f"word{at}" for at in range(2500))
        templates = align([Observed(f"{head} {middle} the end") for middle in middles])
        assert templates[0] == templates[1] == Template(f"{head} {{v0}} the end", ("v0",))

    def test_in_a_place_with_many_different_texts_merging_stops(self):
        texts = [f"{chr(97 + at % 26) * 9} {chr(97 + at // 26) * 7} {at}" for at in range(40)]
        assert texts_of(align([Observed(text) for text in texts])) == texts


class TestCoincidence:
    """A value of the state that also stands in the constant part of the text."""

    CHOICE = "Answer positive or negative.\nReview: {}"

    def observed(self, *runs):
        return [Observed(self.CHOICE.format(review), (("review", review), ("label", label))) for review, label in runs]

    def test_words_that_stay_while_the_value_changes_are_constant(self):
        observed = self.observed(("good film", "positive"), ("bad film", "negative"), ("a dull one", "negative"))
        assert set(align(observed)) == {Template("Answer positive or negative.\nReview: {review}", ("review",))}

    def test_one_run_alone_cannot_tell_and_masks(self):
        assert align(self.observed(("good film", "positive")))[0].slots == ("label", "review")

    def test_equal_texts_with_different_values_are_constant(self):
        observed = [Observed("Say positive now.", (("label", label),)) for label in ("positive", "negative")]
        assert align(observed) == [Template("Say positive now.")] * 2

    def test_a_whole_text_that_stays_while_its_value_changes_is_constant(self):
        observed = [Observed("Be very brief", (("hint", hint),)) for hint in ("Be very brief", "Be long")]
        assert align(observed) == [Template("Be very brief")] * 2

    def test_a_value_that_is_part_of_another_runs_value_is_still_a_slot(self):
        observed = [
            Observed(f"Rate this film for me: {review}", (("review", review),))
            for review in ("fine", "fine and dandy", "fine too")
        ]
        assert align(observed)[0] == Template("Rate this film for me: {review}", ("review",))

    def test_runs_in_which_the_field_is_missing_say_nothing(self):
        observed = [
            Observed("Explain why it is called spam by us.", (("label", "spam"),)),
            Observed("Explain why it is called work by us.", ()),
        ]
        assert align(observed)[0] == Template("Explain why it is called {label} by us.", ("label",))


class TestPick:
    def test_a_long_text_that_does_not_match_is_refused_at_once(self):
        template = Template("{a} {b} {c} {d} {e}: tell", ("a", "b", "c", "d", "e"))
        assert pick("word " * 4000, [template]) is None
        assert pick("word " * 4000 + ": tell", [template]) is template

    def test_the_template_with_most_constant_text_is_picked_and_the_first_of_equals(self):
        wide, narrow, same = Template("{a}", ("a",)), Template("Say {a}", ("a",)), Template("Say {b}", ("b",))
        assert pick("Say hello", [wide, narrow, same]) is narrow
        assert pick("hello", [wide, narrow]) is wide

    def test_none_is_picked_if_none_matches(self):
        assert pick("hello", [Template("bye")]) is None


WORDS = st.sampled_from(
    [
        "positive",
        "negative",
        "film",
        "{review}",
        "{v0}",
        "the",
        "a",
        "no",
        "Answer:",
        "\n",
        "12",
        "é",
        "{",
        "}",
        "of",
        "-",
    ]
)
TEXTS = st.lists(WORDS, max_size=12).map(" ".join) | st.text(max_size=30)
VALUES = st.lists(st.tuples(st.sampled_from(["review", "label", "v0", "a.b"]), TEXTS), max_size=4)


@settings(deadline=None)
@given(TEXTS, VALUES)
@example("", [("a", "")])
@example("{a} x", [("a", "{a}")])
def test_a_masked_text_matches_its_template_and_is_given_back(text, values):
    template = mask(text, values)
    found = template.match(text)
    assert found is not None
    assert template.render(found) == text


@settings(max_examples=200, deadline=None)
@given(st.lists(st.builds(Observed, TEXTS, VALUES.map(tuple)), max_size=6))
def test_every_text_matches_the_template_it_was_grouped_into_and_is_given_back(observed):
    templates = align(observed)
    assert len(templates) == len(observed)
    for item, template in zip(observed, templates, strict=True):
        found = template.match(item.text)
        assert found is not None
        assert template.render(found) == item.text
        assert pick(item.text, templates) == template


@settings(deadline=None)
@given(
    st.lists(
        st.text("abcdefgh ", min_size=3, max_size=20).filter(lambda text: len(text.strip()) > 2), min_size=1, max_size=5
    )
)
def test_the_template_of_a_format_string_is_found_again(values):
    observed = [Observed(f"Now sort this:\n<<{value}>>\nThanks.", (("item", value),)) for value in values]
    assert {
        template.match(item.text) is not None for item, template in zip(observed, align(observed), strict=True)
    } == {True}
    assert align(observed) == align(observed)
    assert len(set(align(observed))) == 1
