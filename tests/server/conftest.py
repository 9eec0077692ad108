"""A real LangGraph Server on loopback, started by the tests and ended by them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from langgraph_sdk import get_sync_client

# What is needed is installed by `make test-server`, apart from the other tests: the server asks for an older protobuf.
collect_ignore_glob = [] if find_spec("langgraph_api") else ["test_*.py"]
APP = Path(__file__).parent / "app"
_READY = 120
"""Seconds that the server may take to start."""


@dataclass
class Running:
    """The server.

    Attributes:
        url: Its address.
        home: Its state folder, in which its default prompt registry is.
    """

    url: str
    home: Path


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The server with the graphs of `app`, for the whole session; its log is shown where a test fails."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copytree(APP, folder / "app")
    home, log = folder / "home", folder / "server.log"
    port = _free_port()
    quiet = {
        "LANGGRAPH_CLI_NO_ANALYTICS": "1",
        "LANGGRAPH_NO_VERSION_CHECK": "true",
        "LANGSMITH_TRACING": "false",
        "LANGCHAIN_TRACING_V2": "false",
        "TEXTGRAD_LG_HOME": str(home),
    }
    # Nothing of this machine's settings: no key, no endpoint.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LANG", "OPENAI_", "LS_"))}
    command = [
        str(Path(sys.executable).parent / "langgraph"),
        "dev",
        "--no-browser",
        "--no-reload",
        "--host=127.0.0.1",
        f"--port={port}",
        "--n-jobs-per-worker=4",
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder / "app", env=kept | quiet, stdout=out, stderr=out)
    running = Running(f"http://127.0.0.1:{port}", home)
    try:
        _wait(running.url, process, log)
        yield running
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def client(server):
    with get_sync_client(url=server.url, api_key=None) as client:
        yield client


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _READY
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/ok", timeout=5) as reply:
                if reply.status == 200:
                    return
        except (OSError, urllib.error.URLError):
            pass
        time.sleep(0.2)
    pytest.fail(f"the server did not start:\n{log.read_text(errors='replace')[-4000:]}")
