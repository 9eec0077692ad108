"""A cache of model replies in one SQLite file, for engines that were asked to have one."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from langchain_core.caches import BaseCache
from langchain_core.messages import AIMessage, message_to_dict, messages_from_dict
from langchain_core.outputs import ChatGeneration, Generation
from typing_extensions import override

_SCHEMA = "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL)"


class ReplyCache(BaseCache):
    """Replies by a hash of the whole call: the messages, and the model with its sampling parameters, tools and schema.

    Args:
        path: The file; its folder is created. Other processes may use it at the same time.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @override
    def lookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        with closing(self._open()) as db:
            row = db.execute("SELECT reply FROM replies WHERE key = ?", (_key(prompt, llm_string),)).fetchone()
        if row is None:
            return None
        return [ChatGeneration(message=message) for message in messages_from_dict(json.loads(row[0]))]

    @override
    def update(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        messages = [generation.message for generation in return_val if isinstance(generation, ChatGeneration)]
        if len(messages) < len(return_val) or not all(isinstance(message, AIMessage) for message in messages):
            return
        reply = json.dumps([message_to_dict(message) for message in messages])
        with closing(self._open()) as db, db:
            db.execute("INSERT OR REPLACE INTO replies VALUES (?, ?)", (_key(prompt, llm_string), reply))

    @override
    def clear(self, **kwargs: Any) -> None:
        with closing(self._open()) as db, db:
            db.execute("DELETE FROM replies")

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self.path, timeout=30)
        db.execute(_SCHEMA)
        return db


def _key(prompt: str, llm_string: str) -> str:
    # As JSON, so that no two pairs of texts run together into the same one.
    return hashlib.sha256(json.dumps([prompt, llm_string]).encode()).hexdigest()
