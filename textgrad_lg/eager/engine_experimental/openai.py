"""OpenAIEngine, under the name that TextGrad's scripts import."""

from __future__ import annotations

from textgrad_lg.eager.engine.local_model_openai_api import ChatExternalClient as OpenAICompatibleEngine
from textgrad_lg.eager.engine.openai import ChatOpenAI as OpenAIEngine

__all__ = ["OpenAICompatibleEngine", "OpenAIEngine"]
