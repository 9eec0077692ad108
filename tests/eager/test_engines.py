"""Engines: what can be one, names, images, the one that is set, and the module paths of scripts."""

from __future__ import annotations

import asyncio
import importlib
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, Generation

import textgrad_lg.eager as tg
from textgrad_lg.eager.config import as_engine, validate_engine_or_get_default
from textgrad_lg.eager.engine import CalledModel, ChatEngine, FunctionEngine, ReplyCache, chat_model, chat_name
from textgrad_lg.eager.engine.local_model_openai_api import ChatExternalClient
from textgrad_lg.eager.engine.openai import ChatOpenAI
from textgrad_lg.eager.engine_experimental.litellm import LiteLLMEngine

from .support import fixed, model, text
from .test_variable import PNG

URL = {"type": "image", "url": "https://example.org/a.png"}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("gpt-4o", "openai:gpt-4o"),
        ("openai:gpt-4o", "openai:gpt-4o"),
        ("sonnet-3.5", "anthropic:claude-3-5-sonnet-20240620"),
        ("gemini-pro", "google_genai:gemini-pro"),
        ("command-r", "cohere:command-r"),
        ("azure-gpt-4", "azure_openai:gpt-4"),
        ("together-meta/llama", "together:meta/llama"),
        ("groq-llama", "groq:llama"),
        ("ollama-llama3", "openai:llama3"),
        ("experimental:gpt-4o-mini", "openai:gpt-4o-mini"),
        ("experimental:azure/gpt-4", "azure_openai:gpt-4"),
        ("experimental:anthropic/claude-3", "anthropic:claude-3"),
        ("o3", "o3"),
    ],
)
def test_names(name, meant):
    assert chat_name(name) == meant


def test_an_engine_by_name(monkeypatch):
    engine = tg.get_engine("ollama-test")
    assert (engine.model_string, engine.base_url) == ("test", "http://localhost:11434/v1")  # pyright: ignore[reportAttributeAccessIssue]
    for bad in ("no-such-engine", "gpt-4o", "command-r"):
        with pytest.raises(ValueError, match=bad):
            tg.get_engine(bad)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    assert repr(tg.get_engine("gpt-4o", is_multimodal=True, check_cache=False)) == "ChatEngine(gpt-4o)"
    with pytest.raises(tg.UnknownEngine, match="cache is"):
        tg.get_engine("gpt-4o", cache=[1])  # pyright: ignore[reportArgumentType]


def test_where_replies_are_cached(monkeypatch, home, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    cache = ReplyCache(tmp_path / "mine")
    for given, path in ((True, home / "replies.sqlite"), (str(tmp_path / "a"), tmp_path / "a"), (cache, cache.path)):
        engine = tg.get_engine("gpt-4o", cache=given)
        assert isinstance(engine, ChatEngine)
        assert isinstance(engine.model.cache, ReplyCache)
        assert engine.model.cache.path == path


def test_what_is_no_chat_reply_is_not_cached(tmp_path):
    cache = ReplyCache(tmp_path / "replies")
    cache.update("p", "m", [Generation(text="x")])
    assert cache.lookup("p", "m") is None
    cache.update("p", "m", [ChatGeneration(message=AIMessage("x"))])
    assert [found.text for found in cache.lookup("p", "m") or ()] == ["x"]


def test_a_chat_model_is_an_engine():
    engine = as_engine(scripted := model(call="reply"))
    assert engine("q", system_prompt="s") == "reply"
    assert [type(m) for m in scripted.requests[0].messages] == [SystemMessage, HumanMessage]
    assert engine.generate(prompt="q") == "reply"  # pyright: ignore[reportCallIssue]  TextGrad's other name
    assert len(scripted.requests[1].messages) == 1
    assert isinstance(engine, ChatEngine)
    assert chat_model(engine) is scripted
    with pytest.raises(TypeError, match="a text, or a list"):
        engine.generate(3)


def test_images_go_to_a_chat_model_as_content_blocks():
    scripted = model(call="an ant")
    image = tg.Variable(image_url=URL["url"], requires_grad=False, role_description="image")
    call = tg.MultimodalLLMCall(scripted, fixed("Look closely."))
    assert call([image, fixed(PNG), fixed("What is it?")]).value == "an ant"
    content: Any = scripted.requests[0].messages[1].content
    assert content[0] == URL
    assert (content[1]["type"], content[1]["mime_type"]) == ("image", "image/png")
    assert content[2] == {"type": "text", "text": "What is it?"}


def test_a_function_is_an_engine():
    said = []

    def two(content, system_prompt):
        said.append((content, system_prompt))
        return "two"

    assert as_engine(two).generate("q", system_prompt="s") == "two"
    one = as_engine(lambda content: f"<{content}>")
    assert (one("q"), one("q", system_prompt="s")) == ("<q>", "<s\n\nq>")
    assert as_engine(lambda content: f"{content}")(["q"], system_prompt="s") == "['s', 'q']"
    assert as_engine(lambda *given: str(len(given)))("q") == "2"
    assert as_engine(print.__call__) is not None
    holder = SimpleNamespace(generate=lambda content, system_prompt: "held")
    assert as_engine(holder)("q") == "held"  # pyright: ignore[reportArgumentType]
    assert said == [("q", "s")]
    assert as_engine("ollama-test").model_string == "test"
    with pytest.raises(tg.UnknownEngine, match="int is no engine"):
        as_engine(3)  # pyright: ignore[reportArgumentType]


def test_a_builtin_without_a_signature_is_given_both(monkeypatch):
    monkeypatch.setattr("inspect.signature", lambda function: (_ for _ in ()).throw(ValueError))
    assert FunctionEngine(lambda *given: str(given))("q") == "('q', None)"


def test_an_engine_of_ones_own_needs_generate_alone():
    class Mine(tg.EngineLM):
        model_string = "mine"

        def generate(self, content, system_prompt=None, **kwargs):
            return f"{system_prompt}: {content}"

    chat = chat_model(Mine())
    assert isinstance(chat, CalledModel)
    assert chat.invoke([SystemMessage("s"), HumanMessage("q")]).text == "s: q"
    turns = [HumanMessage("a"), AIMessage("b"), HumanMessage("c")]
    assert chat.invoke(turns).text == "None: human:\na\n\nai:\nb\n\nhuman:\nc"
    mixed = HumanMessage([{"type": "text", "text": "what?"}, URL])
    assert chat.invoke([mixed]).text == f"None: ['what?', {URL}]"
    assert chat._get_ls_params()["ls_model_name"] == "mine"
    assert chat._llm_type == "textgrad-lg-engine"


def test_without_any_engine_the_error_says_how_to_set_one():
    with pytest.raises(tg.NoEngine, match="call set_backward_engine first"):
        tg.BlackboxLLM()
    with pytest.raises(tg.NoEngine):
        tg.TGD([text("x")])
    loss = tg.TextLoss("Judge.", model())(tg.BlackboxLLM(model(), text("p"))(fixed("q")))
    with pytest.raises(tg.NoEngine):
        loss.backward()


def test_the_engine_that_is_set():
    first, second = ChatEngine(model()), ChatEngine(model())
    tg.set_backward_engine(first)
    assert tg.SingletonBackwardEngine().get_engine() is first is tg.BlackboxLLM().engine
    with pytest.raises(tg.EngineSet, match="override=True"):
        tg.set_backward_engine(second)
    tg.set_backward_engine(second, override=True)
    assert validate_engine_or_get_default(None) is second
    assert validate_engine_or_get_default(first) is first


def test_an_engine_may_be_set_by_name(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    tg.set_backward_engine("gpt-4o", temperature=0.5)
    engine = tg.SingletonBackwardEngine().get_engine()
    assert isinstance(engine, ChatEngine)
    assert engine.model.temperature == 0.5  # pyright: ignore[reportAttributeAccessIssue]


def test_threads_see_the_scripts_engine_and_keep_their_own_to_themselves():
    script, local = ChatEngine(model()), ChatEngine(model())
    tg.set_backward_engine(script)
    barrier = threading.Barrier(2)

    def other():
        tg.set_backward_engine(local, override=True)
        barrier.wait(10)
        return validate_engine_or_get_default(None)

    def plain():
        barrier.wait(10)
        return validate_engine_or_get_default(None)

    with ThreadPoolExecutor(2) as pool:
        found = pool.submit(other), pool.submit(plain)
        assert [future.result() for future in found] == [local, script]
    assert validate_engine_or_get_default(None) is script


async def test_tasks_keep_their_engine_to_themselves():
    async def one():
        tg.set_backward_engine(engine := model(call="Wrong."), override=True)
        await asyncio.sleep(0)
        found = validate_engine_or_get_default(None)
        assert isinstance(found, ChatEngine)
        assert found.model is engine

    await asyncio.gather(one(), one(), one())
    assert tg.SingletonBackwardEngine().get_engine() is None


async def test_backward_and_step_work_inside_a_running_loop():
    tg.set_backward_engine(model(call="Wrong."))
    prompt = text("Be brief.", "prompt")
    loss = tg.TextLoss("Judge.")(tg.BlackboxLLM(system_prompt=prompt)(fixed("q")))
    loss.backward()
    tg.TGD([prompt]).step()
    assert prompt.value == "new text"
    await loss.abackward()
    assert len(prompt.gradients) == 1


@pytest.mark.loopback
def test_the_engine_classes_of_scripts(provider, monkeypatch):
    with pytest.raises(ValueError, match="could be made of"):
        ChatOpenAI()
    client = SimpleNamespace(base_url=provider.url, api_key="none")
    assert ChatExternalClient(client, "local").generate("q") == "reply"
    assert ChatOpenAI("gpt-4o", "Be kind.", base_url=provider.url, api_key="none")("q") == "reply"
    assert provider.bodies[-1]["messages"][0] == {"role": "system", "content": "Be kind."}
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
    engine = LiteLLMEngine("gpt-4o", cache=True)
    assert [engine.generate(content="q", system_prompt="s") for _ in range(2)] == ["reply"] * 2
    assert len(provider.bodies) == 3


@pytest.mark.parametrize(
    "path",
    [
        "autograd.function:Module",
        "autograd.functional:formatted_llm_call",
        "autograd.llm_ops:LLMCall_with_in_context_examples",
        "autograd.string_based_ops:BackwardContext",
        "config:set_backward_engine",
        "engine.base:EngineLM",
        "engine.openai:EngineLM",
        "engine_experimental.openai:OpenAIEngine",
        "loss:ImageQALoss",
        "model:BlackboxLLM",
        "optimizer:TextualGradientDescentwithMomentum",
        "optimizer.optimizer:Optimizer",
        "tasks.base:Dataset",
        "tasks.multimodal:load_multimodal_instance_task",
        "variable:Variable",
        "defaults:VARIABLE_OUTPUT_DEFAULT_ROLE",
    ],
)
def test_the_paths_that_scripts_import_from(path):
    module, name = path.split(":")
    assert hasattr(importlib.import_module(f"textgrad_lg.eager.{module}"), name)


def test_data_sets_of_a_hub_are_refused_with_the_way_out():
    from textgrad_lg.eager.tasks.multimodal import load_multimodal_instance_task

    for load in (tg.tasks.load_task, tg.tasks.load_instance_task, load_multimodal_instance_task):
        with pytest.raises(tg.NoDataset, match="give them to DataLoader"):
            load("GSM8K_DSPy", evaluation_api=None)


def test_a_data_loader_makes_batches():
    pairs = [(n, str(n)) for n in range(5)]
    loader = tg.tasks.DataLoader(pairs, batch_size=2, shuffle=False)
    assert list(loader) == [((0, 1), ("0", "1")), ((2, 3), ("2", "3")), ((4,), ("4",))]
    assert len(loader) == 3
    mixed = tg.tasks.DataLoader([5, 6, 7], batch_size=3, seed=1)
    orders = [next(iter(mixed)) for _ in range(9)]
    assert orders == [next(iter(again)) for again in [tg.tasks.DataLoader([5, 6, 7], 3, seed=1)] for _ in range(9)]
    assert len(set(map(tuple, orders))) > 1
    with pytest.raises(ValueError, match="at least one"):
        tg.tasks.DataLoader([], batch_size=0)
