"""Servers as processes of their own: started on free loopback ports, waited for, and ended with all they have started."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

READY = 180
"""Seconds that a server may take to start, or to have taken in what it was sent."""
_BETWEEN = 0.2


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody listens on."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@contextmanager
def running(command: Sequence[str | Path], folder: Path, ready: str, env: Mapping[str, str]) -> Iterator[None]:
    """Run a server until the end of the block; where it does not start, its log is shown.

    Args:
        command: What to run, in `folder`.
        folder: Where it may write.
        ready: The URL that answers once the server is ready.
        env: Variables of its environment, besides those of this machine that concern neither it nor OpenTelemetry.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "server.log"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PHOENIX_", "MLFLOW_"))}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env={**kept, **env},
            stdout=out,
            stderr=out,
            start_new_session=True,
        )

    def answers() -> bool:
        if process.poll() is not None:
            pytest.fail(f"{command[0]} ended:\n{log.read_text(errors='replace')[-4000:]}")
        try:
            with urllib.request.urlopen(ready, timeout=5) as reply:
                return reply.status == 200
        except (OSError, urllib.error.URLError):
            return False

    try:
        until(answers, lambda: f"{command[0]} did not start:\n{log.read_text(errors='replace')[-4000:]}")
        yield
    finally:
        _end(process)


def until(done: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    """Ask again and again until it is done; after `READY` seconds the test fails."""
    last = time.monotonic() + READY
    while not done():
        if time.monotonic() > last:
            pytest.fail(otherwise())
        time.sleep(_BETWEEN)


def ask(url: str, body: Mapping[str, Any] | None = None) -> Any:
    """The JSON that a server answers with: to GET, or to POST where there is a body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


def _end(process: subprocess.Popen[bytes]) -> None:
    # The group is the server's own: it holds the workers it has started, which do not all end with it.
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
