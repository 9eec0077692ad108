"""The pure rewriting of one call's messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from textgrad_lg.errors import TemplateError
from textgrad_lg.overlay import Replacement, merge, overlay, rewrite
from textgrad_lg.overlay.rewrite import check
from textgrad_lg.prompt import Demo, Template
from textgrad_lg.site import Site, prompt_messages

from .support import change

SYSTEM, HUMAN = Site(("ask",), "system"), Site(("ask",), "human")


def texts_of(messages, texts, path=("ask",), agent=None, done=()):
    return [(message.type, message.text) for message in rewrite(messages, path, agent, texts, done)]


def test_slots_keep_the_values_of_the_run():
    texts = {HUMAN: change("{a} or {b}?", "{b}, or {a}? {c}", slots=("a", "b"))}
    assert texts_of([HumanMessage("tea or {coffee}?")], texts) == [("human", "{coffee}, or tea? {c}")]


@pytest.mark.parametrize(
    ("site", "message"),
    [
        (SYSTEM, HumanMessage("Old.")),
        (HUMAN, SystemMessage("Old.")),
        (SYSTEM, AIMessage("Old.")),
        (HUMAN, HumanMessage("Old.", id="from state")),
        (SYSTEM, SystemMessage("Old. And more.")),
        (Site(("other",), "system"), SystemMessage("Old.")),
        (Site(("ask", "ask"), "system"), SystemMessage("Old.")),
        (Site(("ask",), "system", agent="clerk"), SystemMessage("Old.")),
        (SYSTEM, ToolMessage("Old.", tool_call_id="c")),
    ],
)
def test_other_messages_are_left_as_they_are(site, message):
    (same,) = rewrite([message], ("ask",), None, {site: change("Old.", "New.")})
    assert same is message


TOLD = change("Look into the matter of {x}.", "New: {x}", slots=("x",))


def test_a_human_message_from_the_state_is_rewritten_by_a_prompt_with_words_enough():
    message = HumanMessage("Look into the matter of tea.", id="from state")
    (new,) = rewrite([message], ("ask",), None, {HUMAN: TOLD})
    assert new == HumanMessage("New: tea", id="from state")
    assert message.content == "Look into the matter of tea."
    assert rewrite([new], ("ask",), None, {HUMAN: change("New: {x}", "Newer: {x}", slots=("x",))}) == [new]


def test_a_human_message_from_the_state_is_rewritten_once():
    again = {HUMAN: change("Look into the matter of {x}.", "Look into the matter of {x}. Soon.", slots=("x",))}
    message = HumanMessage("Look into the matter of tea.", id="from state")
    once = rewrite([message], ("ask",), None, again)
    assert [at.text for at in once] == ["Look into the matter of tea. Soon."]
    assert rewrite(once, ("ask",), None, again, done=once) == once


def test_texts_on_top_of_short_ones_leave_the_state_alone():
    below = change("Go: {x}", "Look into the matter of {x}.", slots=("x",))
    texts = merge({HUMAN: below}, {HUMAN: TOLD})
    assert texts_of([HumanMessage("Go: tea")], texts) == [("human", "New: tea")]
    assert texts_of([HumanMessage("Go: tea", id="a")], texts) == [("human", "Go: tea")]
    above = merge({HUMAN: TOLD}, {HUMAN: change("Go: {x}", "No: {x}", slots=("x",))})
    assert texts_of([HumanMessage("Go: tea")], above) == [("human", "No: tea")]
    assert texts_of([HumanMessage("Go: tea", id="a")], above) == [("human", "Go: tea")]


@given(st.text())
def test_what_a_user_typed_stays_unless_it_is_the_prompt_word_for_word(text):
    message = HumanMessage(text, id="from state")
    (same,) = rewrite([message], ("ask",), None, {HUMAN: TOLD})
    assert (same is message) == (TOLD.old.match(text) is None)


def test_two_agents_on_one_path_are_told_apart():
    texts = {
        Site(("ask",), "system", agent="a"): change("Old.", "A."),
        Site(("ask",), "system", agent="b"): change("Old.", "B."),
    }
    assert texts_of([SystemMessage("Old.")], texts, agent="b") == [("system", "B.")]


def test_name_and_other_fields_stay():
    message = SystemMessage("Old.", name="boss", additional_kwargs={"__openai_role__": "developer"})
    (new,) = rewrite([message], ("ask",), None, {SYSTEM: change("Old.", "New.")})
    assert new == SystemMessage("New.", name="boss", additional_kwargs={"__openai_role__": "developer"})
    assert new.id is None
    assert message.text == "Old."


def test_a_system_message_of_the_state_is_rewritten_and_keeps_its_id():
    (new,) = rewrite([SystemMessage("Old.", id="1")], ("ask",), None, {SYSTEM: change("Old.", "New.")})
    assert (new.text, new.id) == ("New.", "1")


def test_each_block_that_matches_is_rewritten():
    cached = {"type": "text", "text": "Old.", "cache_control": {"type": "ephemeral"}}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    message = SystemMessage(["First.", image, cached, {"type": "text", "text": "Old."}])
    (new,) = rewrite([message], ("ask",), None, {SYSTEM: change("Old.", "New.")})
    assert new.content == ["First.", image, {**cached, "text": "New."}, {"type": "text", "text": "New."}]
    (new,) = rewrite([SystemMessage(["Old.", image])], ("ask",), None, {SYSTEM: change("Old.", "New.")})
    assert new.content == ["New.", image]


def test_blocks_of_one_message_may_belong_to_several_sites():
    demo = Demo((("human", "Why?"),), "Because.")
    texts = {
        SYSTEM: change("Old.", "New."),
        Site(("ask",), "system", 1): change("Be {x}.", "Stay {x}.", slots=("x",), demos=(demo,)),
    }
    messages = [SystemMessage(["Old.", {"type": "text", "text": "Be calm."}, "else"]), HumanMessage("hi", id="1")]
    new = rewrite(messages, ("ask",), None, texts)
    assert [message.content for message in new] == [
        ["New.", {"type": "text", "text": "Stay calm."}, "else"],
        "Why?",
        "Because.",
        "hi",
    ]
    assert rewrite(new, ("ask",), None, texts, done=new) == new


def test_the_text_with_more_constant_words_wins_over_a_bare_slot():
    texts = {
        HUMAN: change("{q}", "1: {q}", slots=("q",)),
        Site(("ask",), "human", 1): change("Sum up: {q}", "2: {q}", slots=("q",)),
    }
    assert texts_of([HumanMessage("Sum up: x"), HumanMessage("y")], texts) == [("human", "2: x"), ("human", "1: y")]


def test_equal_texts_go_to_their_sites_in_order():
    texts = {Site(("ask",), "human", at): change("Go {x}", f"{at}: {{x}}", slots=("x",)) for at in (1, 0)}
    messages = [HumanMessage("Go a"), HumanMessage("Go b"), HumanMessage("Go c")]
    assert texts_of(messages, texts) == [("human", "0: a"), ("human", "1: b"), ("human", "0: c")]


def test_a_system_texts_demonstrations_go_behind_the_block_of_system_messages():
    demos = (Demo((("human", "1+1"),), "2"), Demo((("human", "2+2"),), "4"))
    texts = {SYSTEM: change("Old.", "New.", demos=demos)}
    turns = [("human", "1+1"), ("ai", "2"), ("human", "2+2"), ("ai", "4")]
    messages = [SystemMessage("Old."), SystemMessage("Second."), HumanMessage("3+3")]
    expected = [("system", "New."), ("system", "Second."), *turns, ("human", "3+3")]
    assert texts_of(messages, texts) == expected
    assert texts_of([SystemMessage("Old.")], texts) == [("system", "New."), *turns]


def test_a_human_texts_demonstrations_go_in_front_of_its_first_message():
    demos = (Demo((("q", "1+1"),), "2"),)
    texts = {HUMAN: change("Q: {q}", "Solve {q}", slots=("q",), demos=demos)}
    messages = [SystemMessage("S."), HumanMessage("Q: 3+3"), AIMessage("6"), HumanMessage("Q: 4+4")]
    assert texts_of(messages, texts) == [
        ("system", "S."),
        ("human", "Solve 1+1"),
        ("ai", "2"),
        ("human", "Solve 3+3"),
        ("ai", "6"),
        ("human", "Solve 4+4"),
    ]


def test_the_turns_of_a_demonstration_are_not_taken_for_prompts():
    demos = (Demo((("q", "1+1"),), "2"),)
    texts = {HUMAN: change("{q}", "Solve {q}", slots=("q",), demos=demos)}
    new = rewrite([HumanMessage("3+3")], ("ask",), None, texts)
    assert prompt_messages(new) == [(2, "human")]
    assert len({message.id for message in new if message.type == "human"}) == 2


@pytest.mark.parametrize(
    ("site", "bad", "message"),
    [
        (HUMAN, change("Old.", "New.", slots=()), None),
        (HUMAN, change("{q}", "{q}", slots=("q",), demos=(Demo((("x", "1"),), "2"),)), "human: a demonstration .* {q}"),
        (SYSTEM, change("Old.", "New.", demos=(Demo((("q", "1"),), "2"),)), "demonstration gives no value for {human}"),
    ],
)
def test_a_rewrite_that_cannot_be_carried_out_is_refused(site, bad, message):
    if message is None:
        check({site: bad})
        return
    with pytest.raises(TemplateError, match=message), overlay({site: bad}):
        raise AssertionError("the overlay was opened")


def test_a_new_slot_is_refused():
    with pytest.raises(TemplateError, match=r"ask/human: the new text has the slot \{q\}"):
        check({HUMAN: Replacement(Template("Old."), Template("New {q}", ("q",)))})


class TestMerge:
    def test_sites_of_either_side_stay(self):
        inner, outer = {SYSTEM: change("a", "b")}, {HUMAN: change("c", "d")}
        assert merge(inner, outer) == {**inner, **outer}

    def test_the_outer_text_for_the_graphs_own_words_replaces_the_inner_one(self):
        texts = merge({SYSTEM: change("Old.", "Inner.")}, {SYSTEM: change("Old.", "Outer.")})
        assert texts_of([SystemMessage("Old.")], texts) == [("system", "Outer.")]

    def test_the_outer_text_for_the_inner_words_goes_on_top(self):
        inner = change("Q: {q}", "Hear: {q}!", slots=("q",), demos=(Demo((("q", "1"),), "one"),))
        outer = change("Hear: {what}!", "Hear {what} out.", slots=("what",), demos=(Demo((("what", "2"),), "two"),))
        texts = merge({HUMAN: inner}, {HUMAN: outer})
        assert texts_of([HumanMessage("Q: x")], texts) == [
            ("human", "Hear: 1!"),
            ("ai", "one"),
            ("human", "Hear 2 out."),
            ("ai", "two"),
            ("human", "Hear x out."),
        ]

    def test_an_outer_text_for_other_words_leaves_the_inner_one(self):
        texts = merge({SYSTEM: change("Old.", "Inner.")}, {SYSTEM: change("Unrelated.", "Outer.")})
        assert texts_of([SystemMessage("Old.")], texts) == [("system", "Inner.")]

    def test_three_layers(self):
        first, second = {SYSTEM: change("0", "1")}, {SYSTEM: change("1", "2")}
        texts = merge(merge(first, second), {SYSTEM: change("2", "3")})
        assert texts_of([SystemMessage("0")], texts) == [("system", "3")]
        texts = merge(first, merge(second, {SYSTEM: change("2", "3")}))
        assert texts_of([SystemMessage("0")], texts) == [("system", "3")]


words = st.text("ab {x}.", max_size=6)
slotted = st.builds("{}{{x}}{}".format, words, words)
roles = st.sampled_from([SystemMessage, HumanMessage, AIMessage])
messages = st.lists(
    st.builds(lambda kind, text, own: kind(text, id=own), roles, words, st.sampled_from([None, None, "state"])),
    max_size=5,
)
demos = st.lists(
    st.builds(lambda given, reply: Demo((("human", given), ("x", given)), reply), words, words), max_size=2
)
changes = st.one_of(
    st.builds(change, words, words, demos=demos.map(tuple)),
    st.builds(change, slotted, slotted, slots=st.just(("x",)), demos=demos.map(tuple)),
)
overlays = st.dictionaries(
    st.builds(Site, st.just(("ask",)), st.sampled_from(["system", "human"]), st.integers(0, 2)), changes
)


@given(messages, overlays)
def test_rewriting_is_idempotent(given_messages, texts):
    once = rewrite(given_messages, ("ask",), None, texts)
    assert rewrite(once, ("ask",), None, texts, once) == once


@given(messages, overlays)
def test_human_messages_with_ids_and_replies_are_never_touched(given_messages, texts):
    before = [message.model_copy(deep=True) for message in given_messages]
    new = rewrite(given_messages, ("ask",), None, texts)
    kept = [message for message in given_messages if message.type == "ai" or (message.type == "human" and message.id)]
    assert [message for message in new if any(message is one for one in kept)] == kept
    assert given_messages == before


@given(messages)
def test_no_texts_no_change(given_messages):
    new = rewrite(given_messages, ("ask",), None, {})
    assert all(a is b for a, b in zip(new, given_messages, strict=True))
