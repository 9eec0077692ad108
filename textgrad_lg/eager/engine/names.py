"""get_engine: an engine by name, by LangChain's names or by TextGrad's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from textgrad_lg.eager.engine.base import EngineLM
from textgrad_lg.eager.engine.cache import ReplyCache
from textgrad_lg.eager.engine.chat import ChatEngine
from textgrad_lg.eager.errors import UnknownEngine

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

_SHORT = {
    "opus": "claude-3-opus-20240229",
    "haiku": "claude-3-haiku-20240307",
    "sonnet": "claude-3-sonnet-20240229",
    "sonnet-3.5": "claude-3-5-sonnet-20240620",
    "together-llama-3-70b": "together-meta-llama/Llama-3-70b-chat-hf",
}
_PREFIXES = {"azure-": "azure_openai", "together-": "together", "groq-": "groq"}
_OLLAMA, _OLLAMA_URL = "ollama-", "http://localhost:11434/v1"
_STARTS = {"gpt-": "openai", "claude": "anthropic", "gemini": "google_genai", "command": "cohere"}
_LITELLM = {
    "gemini": "google_genai",
    "azure": "azure_openai",
    "together_ai": "together",
    "vertex_ai": "google_vertexai",
}


def get_engine(engine_name: str, *, cache: bool | str | Path | ReplyCache = False, **kwargs: Any) -> EngineLM:
    """An engine by name.

    Args:
        engine_name: As `init_chat_model` takes it, "openai:gpt-4o"; or as TextGrad does: "gpt-4o", "azure-…", "ollama-…",
            "groq-…", "together-…", "sonnet-3.5", and litellm's names after "experimental:".
        cache: Where to keep replies: a file; True for one in the state folder (`TEXTGRAD_LG_HOME`); False for nowhere.
        kwargs: Settings of the chat model, which go to its provider: `temperature`, `seed`, `max_tokens`, `base_url`, …

    Raises:
        UnknownEngine: There is no such model; its package is not installed, or lacks its key; or `cache` is none of these.
    """
    from langchain.chat_models import init_chat_model

    name = chat_name(engine_name)
    if engine_name.startswith(_OLLAMA):
        # Ollama speaks OpenAI's protocol as well, for which no further package is needed.
        place = os.environ.get("OLLAMA_BASE_URL") or _OLLAMA_URL
        kwargs = {"base_url": place, "api_key": "ollama", **kwargs}
    if cache is not False:
        kwargs["cache"] = _cache(cache)
    for ignored in (
        "is_multimodal",
        "check_cache",
    ):  # any model may be given images; its provider says so if it takes none
        kwargs.pop(ignored, None)
    try:
        return ChatEngine(cast("BaseChatModel", init_chat_model(name, **kwargs)))
    except ImportError as error:
        raise UnknownEngine(
            f"the engine {engine_name!r} ({name}) needs a package that is not installed: {error}. Install it, or give a chat "
            "model object or a function instead of a name."
        ) from error
    except Exception as error:
        raise UnknownEngine(
            f"no engine could be made of {engine_name!r} ({name}): {type(error).__name__}: {error}. A name looks like "
            "'openai:gpt-4o' and takes its key from the environment; a chat model object or a function is taken as it is."
        ) from error


def chat_name(engine_name: str) -> str:
    """The name of an engine as `init_chat_model` takes it.

    Example:
        >>> chat_name("gpt-4o"), chat_name("experimental:anthropic/claude-3-opus-20240229")
        ('openai:gpt-4o', 'anthropic:claude-3-opus-20240229')
    """
    name = _SHORT.get(engine_name, engine_name)
    experimental = name.startswith("experimental:")
    name = name.removeprefix("experimental:")
    if experimental and "/" in name:
        provider, _, model = name.partition("/")
        return f"{_LITELLM.get(provider, provider)}:{model}"
    if name.startswith(_OLLAMA):
        return f"openai:{name.removeprefix(_OLLAMA)}"
    if ":" not in name:
        for prefix, provider in _PREFIXES.items():
            if name.startswith(prefix):
                return f"{provider}:{name.removeprefix(prefix)}"
    for start, provider in _STARTS.items():
        if name.startswith(start):
            return f"{provider}:{name}"
    return name


def _cache(cache: object) -> ReplyCache:
    if isinstance(cache, ReplyCache):
        return cache
    if cache is True:
        return ReplyCache(Path(os.environ.get("TEXTGRAD_LG_HOME") or ".textgrad-lg") / "replies.sqlite")
    if isinstance(cache, str | Path):
        return ReplyCache(cache)
    raise UnknownEngine(f"cache is {cache!r}; it can be a file, True for one in the state folder, or False for none")
