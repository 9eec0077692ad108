"""Settings in what really leaves the process: the bodies that OpenAI's two APIs and Anthropic's are sent."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tests.overlay.test_tools_wire import server, stub  # noqa: F401  fixtures
from textgrad_lg.overlay import Replacement, Watch, overlay
from textgrad_lg.prompt import Template
from textgrad_lg.site import Site

pytestmark = pytest.mark.loopback


def model(url, api, **options):
    shared = {"api_key": SecretStr("none"), "max_retries": 0, "temperature": 0.7, "max_tokens": 99, **options}
    if api == "anthropic":
        fields: dict[str, Any] = {"model": "small", "base_url": url, **shared}
        return ChatAnthropic(**fields)
    return ChatOpenAI(model="small", base_url=f"{url}/v1", use_responses_api=api == "responses", **shared)


def texts(**changes):
    return {Site.setting((), name): Replacement(Template(old), Template(new)) for name, (old, new) in changes.items()}


CHANGES = texts(
    temperature=("0.7", "0.0"), model=('"small"', '"large"'), max_tokens=("99", "50"), top_p=("null", "0.5")
)


def sent(body):
    limits = ("max_tokens", "max_completion_tokens", "max_output_tokens")
    return [body["model"], body["temperature"], next(body[name] for name in limits if name in body), body.get("top_p")]


def call(runnable, way):
    question = [HumanMessage("Any good?")]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Pydantic serializer warnings", category=UserWarning)
        if way == "sync":
            runnable.invoke(question)
        else:
            asyncio.run(runnable.ainvoke(question))


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("api", ["completions", "responses", "anthropic"])
def test_the_new_values_are_in_the_body(stub, api, way):  # noqa: F811
    url, bodies = stub
    chat, watch = model(url, api), Watch(frozenset(CHANGES))
    with overlay(CHANGES, watch=watch):
        call(chat, way)
    call(chat, way)
    assert [sent(body) for body in bodies] == [["large", 0.0, 50, 0.5], ["small", 0.7, 99, None]]
    assert not watch.notes


def test_a_stream(stub):  # noqa: F811
    url, bodies = stub
    with overlay(CHANGES):
        list(model(url, "completions").stream([HumanMessage("Any good?")]))
    assert sent(bodies[0]) == ["large", 0.0, 50, 0.5]


def test_one_that_is_bound_to_the_model(stub):  # noqa: F811
    url, bodies = stub
    with overlay(CHANGES):
        call(model(url, "completions").bind(temperature=0.3), "sync")
        call(model(url, "completions", temperature=0.3).bind(temperature=0.7), "sync")
    assert [body["temperature"] for body in bodies] == [0.3, 0.0]
