"""Engines: any LangChain chat model, a name of one, or a function."""

from textgrad_lg.eager.engine.base import EngineLM
from textgrad_lg.eager.engine.cache import ReplyCache
from textgrad_lg.eager.engine.chat import CalledModel, ChatEngine, FunctionEngine, chat_model
from textgrad_lg.eager.engine.names import chat_name, get_engine

__all__ = [
    "CalledModel",
    "ChatEngine",
    "EngineLM",
    "FunctionEngine",
    "ReplyCache",
    "chat_model",
    "chat_name",
    "get_engine",
]
