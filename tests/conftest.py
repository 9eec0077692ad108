"""Fixtures and guards of the whole suite."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

import pytest

# The environment of the tests with a server has no hypothesis, and no property tests.
with suppress(ImportError):
    import hypothesis

    # How long an example takes says how busy the machine is; no test depends on it.
    hypothesis.settings.register_profile("suite", deadline=None)
    hypothesis.settings.load_profile("suite")

# Set before anything imports a LangChain module: no test may report to a service that the machine is configured for.
for _name in (
    "LANGSMITH_TRACING",
    "LANGCHAIN_TRACING_V2",
    "LANGSMITH_API_KEY",
    "LANGCHAIN_API_KEY",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
):
    os.environ.pop(_name, None)


@pytest.fixture(autouse=True)
def no_network(request, monkeypatch):
    """Refuse every connection; tests marked `loopback` may reach this machine and nothing else."""
    allowed = request.node.get_closest_marker("loopback") is not None
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def guarded(real):
        def guard(self, address):
            host = address[0] if isinstance(address, tuple) else address
            if self.family == socket.AF_UNIX or (allowed and host in ("127.0.0.1", "::1", "localhost")):
                return real(self, address)
            raise RuntimeError(f"a test tried to connect to {address!r}; tests do not use the network")

        return guard

    monkeypatch.setattr(socket.socket, "connect", guarded(connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guarded(connect_ex))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A state folder of its own for each test."""
    folder = tmp_path / "home"
    monkeypatch.setenv("TEXTGRAD_LG_HOME", str(folder))
    return folder
