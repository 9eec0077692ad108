"""The prompt registry: the versioned store of accepted texts."""

from textgrad_lg.registry.base import Move, NewVersion, PromptRegistry, PromptVersion
from textgrad_lg.registry.memory import MemoryRegistry
from textgrad_lg.registry.sql import SQLiteRegistry

__all__ = ["MemoryRegistry", "Move", "NewVersion", "PromptRegistry", "PromptVersion", "SQLiteRegistry"]
