"""The ways in which a graph holds text: for each a graph, its inputs, and the Parameters that must be found in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from textgrad_lg.prompt import Template

from .texts import (
    agent_message,
    agent_text,
    awaited,
    before_model,
    chat_template,
    configurable,
    content_blocks,
    context_schema,
    dynamic_prompt,
    f_string_helper,
    f_string_node,
    few_shot_chat,
    few_shot_text,
    hub_prompt,
    kept_human,
    messages_placeholder,
    module_constant,
    multimodal,
    partial_template,
    react_callable,
    react_message,
    react_text,
    store,
    str_format,
    streamed,
    streamed_async,
    system_and_human,
    through_state,
    wrap_model_call,
)

PEOPLE = (("Ada Byron", "a loose chain"), ("Kurt Well", "the price of lamps"), ("Mary Ann", "where to ride"))


def fields() -> tuple[dict[str, Any], ...]:
    """Inputs of a graph whose state has fields."""
    return tuple({"customer": customer, "topic": topic} for customer, topic in PEOPLE)


def talks() -> tuple[dict[str, Any], ...]:
    """Inputs of a graph whose state has messages."""
    return tuple({"customer": customer, "messages": [("human", topic)]} for customer, topic in PEOPLE)


@dataclass(frozen=True)
class Case:
    """One way of holding text.

    Attributes:
        module: Its graph: `build(model)`.
        parameters: Printed Site to text and slots of all that must be found.
        sources: What the sources of these Parameters must name, in the same order; empty where the code does not hold it.
        inputs: Gives the inputs.
        options: What a run is given besides its input.
        unseen: The Sites that are found only with the graph at hand, not in runs alone.
        blind: The texts where only runs are at hand, where they differ: a slot of which only the code has the name.
        kept: The Sites of human messages that the state keeps.
        asynchronous: Whether its nodes cannot be run by `invoke` and `stream`.
    """

    module: ModuleType
    parameters: dict[str, Template]
    sources: tuple[str, ...]
    inputs: Callable[[], tuple[dict[str, Any], ...]] = fields
    options: dict[str, Any] = field(default_factory=dict)
    unseen: tuple[str, ...] = ()
    blind: dict[str, str] = field(default_factory=dict)
    kept: tuple[str, ...] = ()
    asynchronous: bool = False


def text(words: str, *slots: str) -> Template:
    return Template(words, slots)


def code(module: ModuleType, kind: str, function: str) -> str:
    return f"{kind} in `{module.__name__}.{function}` ({module.__file__}:"


CASES = {
    "create_agent, text": Case(
        agent_text,
        {"model[clerk]/system": text("You help customers of a bicycle shop.")},
        ("system_prompt of the agent `clerk`",),
        talks,
    ),
    "create_agent, message": Case(
        agent_message,
        {"model/system": text("You check the bills of a bicycle shop.")},
        ("system_prompt of the agent",),
        talks,
    ),
    "create_react_agent, text": Case(
        react_text,
        {"agent/system": text("You sell spare parts for bicycles.")},
        ("system_prompt of the agent",),
        talks,
    ),
    "create_react_agent, message": Case(
        react_message,
        {"agent/system": text("You rent bicycles by the hour.")},
        ("system_prompt of the agent",),
        talks,
    ),
    "create_react_agent, callable": Case(
        react_callable,
        {"agent/system": text("You write to {customer} on behalf of the workshop.", "customer")},
        (code(react_callable, "f-string", "prompt"),),
        talks,
    ),
    "template | model": Case(
        chat_template,
        {"desk/system": text("You help {customer}. Say at most two sentences.", "customer")},
        ("ChatPromptTemplate in node `desk`",),
    ),
    "system and human template": Case(
        system_and_human,
        {
            "desk/system": text('You are a patient mechanic. Return JSON such as {"fault": "chain"}.'),
            "desk/human": text("The customer {customer} asks about {topic}. Name the fault.", "customer", "topic"),
        },
        (f"ChatPromptTemplate `{system_and_human.__name__}.PROMPT`",) * 2,
    ),
    "module constant": Case(
        module_constant,
        {"desk/system": text("You answer for the bicycle shop. Never promise a date.")},
        (f"module constant `{module_constant.__name__}.HOUSE_RULES` ({module_constant.__file__}:7)",),
    ),
    "f-string in the node": Case(
        f_string_node,
        {"desk/system": text("You write to {customer}. The matter is: {topic}. Be brief.", "customer", "topic")},
        (code(f_string_node, "f-string", "build.node"),),
    ),
    "f-string in a helper of another module": Case(
        f_string_helper,
        {
            "desk/human": text(
                "Advise {customer} on the subject {subject}, and name one book on it.", "customer", "subject"
            )
        },
        (f"f-string in `{f_string_helper.briefing.__module__}.briefing` (",),
        blind={"desk/human": "Advise {customer} on the subject {v0}, and name one book on it."},
    ),
    "str.format": Case(
        str_format,
        {
            "desk/human": text(
                'Write a letter to {name}.\n\nSubject: {topic}\nClose with "Yours, the {shop}".', "name", "topic"
            )
        },
        (f"module constant `{str_format.__name__}.LETTER` (",),
        blind={"desk/human": 'Write a letter to {customer}.\n\nSubject: {topic}\nClose with "Yours, the {shop}".'},
    ),
    "partial template": Case(
        partial_template,
        {
            "desk/system": text(
                "You work for {company}. Never promise a date. Never name a price. You now talk to {customer}.",
                "company",
                "customer",
            )
        },
        ("ChatPromptTemplate in node `desk`",),
        blind={
            "desk/system": "You work for Spokes. Never promise a date. Never name a price. You now talk to {customer}."
        },
    ),
    "MessagesPlaceholder": Case(
        messages_placeholder,
        {
            "desk/system": text("You remember what {customer} said before.", "customer"),
            "desk/human": text("Now sum up the talk with {customer}.", "customer"),
        },
        (f"ChatPromptTemplate `{messages_placeholder.__name__}.PROMPT`",) * 2,
        talks,
    ),
    "few-shot turns": Case(
        few_shot_chat,
        {
            "desk/system": text("Name the part of the bicycle."),
            "desk/human": text("The chain is loose"),
            "desk/human#1": text("The lamp is dark"),
        },
        ("ChatPromptTemplate in node `desk`",) * 3,
    ),
    "few-shot text": Case(
        few_shot_text,
        {
            "desk/human": text(
                "Name the part of the bicycle that each complaint is about.\n\n"
                "Complaint: The chain is loose\nPart: drivetrain\n\n"
                "Complaint: The lamp is dark\nPart: lights\n\n"
                "Complaint: {topic}\nPart:",
                "topic",
            )
        },
        ("FewShotPromptTemplate in node `desk`",),
    ),
    "dynamic_prompt": Case(
        dynamic_prompt,
        {"model/system": text("You speak with {customer}, who has written before. Stay polite.", "customer")},
        (code(dynamic_prompt, "f-string", "greeting"),),
        talks,
    ),
    "wrap_model_call": Case(
        wrap_model_call,
        {"model/system": text("You plan visits to the shop.\n\nMind that the shop is closed on Mondays.")},
        (code(wrap_model_call, "f-string", "Closed._changed"),),
        talks,
    ),
    "before_model": Case(
        before_model,
        {
            "model/system": text("You translate letters."),
            "model/system#1": text("Answer in the language of the customer."),
        },
        ("system_prompt of the agent", code(before_model, "text", "remind")),
        talks,
        unseen=("model/system#1",),
    ),
    "configurable, set": Case(
        configurable,
        {"desk/system": text("You only ever answer in rhyme.")},
        ("",),
        options={"config": {"configurable": {"system": "You only ever answer in rhyme."}}},
    ),
    "configurable, default": Case(
        configurable,
        {"desk/system": text("You advise the customers of the shop.")},
        (code(configurable, "text", "build.node"),),
    ),
    "context_schema, default": Case(
        context_schema,
        {"desk/system": text("You are the voice of the bicycle shop. Speak of {customer} by name.", "customer")},
        ("default of `Context.system_prompt` in the graph's context_schema",),
        options={"context": context_schema.Context()},
    ),
    "context_schema, set": Case(
        context_schema,
        {"desk/system": text("You rhyme. You address {customer}.", "customer")},
        ("",),
        options={"context": context_schema.Context("You rhyme. You address {customer}.")},
    ),
    "store": Case(store, {"desk/system": text("You know every screw of a bicycle.")}, ("",)),
    "hub prompt": Case(
        hub_prompt,
        {"desk/system": text("You grade what {customer} wrote.", "customer")},
        (f"ChatPromptTemplate in node `desk`, pulled from spokes/grader:{hub_prompt.COMMIT}",),
    ),
    "content blocks": Case(
        content_blocks,
        {
            "desk/system": text("The manual says: oil the chain every month."),
            "desk/system#1": text("You help {customer} with the manual.", "customer"),
        },
        (f"module constant `{content_blocks.__name__}.MANUAL` (", code(content_blocks, "f-string", "build.node")),
    ),
    "multimodal message": Case(
        multimodal,
        {
            "desk/human": text("This picture was sent by {customer}.", "customer"),
            "desk/human#1": text("Which part of the bicycle is broken?"),
        },
        (code(multimodal, "f-string", "build.node"), code(multimodal, "text", "build.node")),
    ),
    "text made in another node": Case(
        through_state,
        {"send/system": text("You prepare a visit of {customer} to the shop.", "customer")},
        (code(through_state, "f-string", "prepare"),),
        unseen=("send/system",),
    ),
    "human message kept in the state": Case(
        kept_human,
        {
            "talk/system": text("You answer letters."),
            "talk/human": text("Here is a letter from {customer} that has to be answered.", "customer"),
            "check/human": text("Here is a letter from {customer} that has to be answered.", "customer"),
        },
        (code(kept_human, "text", "build.talk"), *(code(kept_human, "f-string", "greet"),) * 2),
        talks,
        unseen=("talk/human", "check/human"),
        kept=("talk/human", "check/human"),
    ),
    "model.ainvoke": Case(
        awaited,
        {"desk/system": text("You listen to {customer}.", "customer")},
        (code(awaited, "f-string", "build.node"),),
        asynchronous=True,
    ),
    "model.stream": Case(
        streamed,
        {"desk/system": text("You sing to {customer}.", "customer")},
        (code(streamed, "f-string", "build.node"),),
    ),
    "model.astream": Case(
        streamed_async,
        {"desk/system": text("You hum to {customer}.", "customer")},
        (code(streamed_async, "f-string", "build.node"),),
        asynchronous=True,
    ),
}
