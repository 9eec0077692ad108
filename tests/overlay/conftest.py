"""Fixtures of the overlay's tests."""

from __future__ import annotations

import pytest
from langchain_core.language_models import BaseChatModel

NAMES = ("generate", "agenerate", "stream", "astream", "_chat_model_stream_v3", "_achat_model_stream_v3")


@pytest.fixture(autouse=True)
def originals():
    """The six methods as they were before the test; after it, the class must have them back."""
    before = {name: BaseChatModel.__dict__[name] for name in NAMES}
    yield before
    assert {name: BaseChatModel.__dict__[name] for name in NAMES} == before
