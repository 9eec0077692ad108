"""Texts in the prompt templates of LangChain."""

from __future__ import annotations

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.prompts import (
    ChatPromptTemplate,
    FewShotChatMessagePromptTemplate,
    FewShotPromptTemplate,
    MessagesPlaceholder,
    PromptTemplate,
)

from textgrad_lg.prompt import Template
from textgrad_lg.record.prompts import message_texts, pulled_from, texts_of

RULES = "Never promise a date, never name a price."


def texts(prompt):
    return [(role, template.text, template.slots) for role, template, _ in texts_of(prompt)]


def test_messages_in_order_with_their_roles():
    prompt = ChatPromptTemplate.from_messages(
        [
            ("system", "Be {tone}."),
            SystemMessage(["Mind {this}.", {"type": "text", "text": "And that."}]),
            MessagesPlaceholder("history"),
            ("ai", "Yes?"),
            ("human", [{"type": "text", "text": "See {what}."}, {"type": "image_url", "image_url": "{picture}"}]),
            HumanMessage("Now."),
        ]
    )
    assert texts(prompt) == [
        ("system", "Be {tone}.", ("tone",)),
        ("system", "Mind {this}.", ()),
        ("system", "And that.", ()),
        ("human", "See {what}.", ("what",)),
        ("human", "Now.", ()),
    ]


def test_a_partial_instruction_is_the_authors_and_a_partial_name_stays_a_slot():
    prompt = ChatPromptTemplate.from_messages([("system", "{rules} You work for {shop} on {day}.")])
    prompt = prompt.partial(rules=RULES, shop="Spokes", day=lambda: "Monday, the first day of all")
    assert texts(prompt) == [("system", f"{RULES} You work for {{shop}} on {{day}}.", ("shop", "day"))]
    assert texts(PromptTemplate.from_template("{rules}").partial(rules=RULES)) == [(None, RULES, ())]


def test_examples_as_turns_keep_slots_that_no_example_fills():
    turns = FewShotChatMessagePromptTemplate(
        examples=[{"asked": "The chain"}, {"asked": "The lamp"}],
        example_prompt=ChatPromptTemplate.from_messages([("human", "{asked} of {who}"), ("ai", "Well")]),
    )
    assert texts(turns) == [("human", "The chain of {who}", ("who",)), ("human", "The lamp of {who}", ("who",))]


def test_examples_in_a_text():
    prompt = FewShotPromptTemplate(
        examples=[{"a": "1"}, {"a": "2"}],
        example_prompt=PromptTemplate.from_template("Take {a}."),
        suffix="Now {b}.",
        example_separator=" ",
    )
    assert texts(prompt) == [(None, "Take 1. Take 2. Now {b}.", ("b",))]
    prompt.prefix = "First {c}."
    assert texts(prompt) == [(None, "First {c}. Take 1. Take 2. Now {b}.", ("c", "b"))]


def test_what_is_not_known_makes_a_fragment():
    prompt = PromptTemplate.from_template("Hi {{#a}}you{{/a}}", template_format="mustache")
    assert [text.fragment for text in texts_of(prompt)] == [True]
    few = FewShotPromptTemplate(examples=[{}], example_prompt=prompt, suffix="Now.")
    assert [text.fragment for text in texts_of(few)] == [True]


def test_messages_of_other_roles_and_other_things_hold_no_text():
    assert list(message_texts(AIMessage("Yes?"))) == []
    assert list(message_texts(HumanMessage([{"type": "image", "base64": "AA=="}]))) == []
    assert list(texts_of(object())) == []
    assert [text.template for text in message_texts(SystemMessage("Be {tone}."))] == [Template("Be {tone}.")]


def test_where_a_prompt_was_pulled_from():
    assert pulled_from({"lc_hub_owner": "me", "lc_hub_repo": "p", "lc_hub_commit_hash": "c0ffee"}) == "me/p:c0ffee"
    assert pulled_from({"lc_hub_repo": "p", "lc_hub_owner": ""}) == "p"
    assert pulled_from({"else": 1}) == pulled_from(None) == ""
