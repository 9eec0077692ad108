"""Test doubles and conformance suites, for the tests of those who build on textgrad_lg."""

from textgrad_lg.testing.models import Request, Rule, ScriptedChatModel, SimulatedChatModel
from textgrad_lg.testing.traces import TraceBuilder

__all__ = ["Request", "Rule", "ScriptedChatModel", "SimulatedChatModel", "TraceBuilder"]
