"""MemoryRegistry keeps the rules that every registry must keep."""

from __future__ import annotations

import pytest

from textgrad_lg.prompt import Template
from textgrad_lg.registry import MemoryRegistry, NewVersion
from textgrad_lg.testing.registry_conformance import RegistryConformance


class TestMemoryRegistry(RegistryConformance):
    @pytest.fixture
    def registry(self):
        return MemoryRegistry()


def test_the_clock_dates_versions_and_moves():
    registry = MemoryRegistry(clock=iter([5.0, 7.0]).__next__)
    (version,) = registry.commit([NewVersion("p", Template("x"))], label="l", expect={"p": None})
    registry.rollback("l", ["p"])
    assert version.created == 5.0
    assert [move.created for move in registry.moves("p", "l")] == [5.0, 7.0]
