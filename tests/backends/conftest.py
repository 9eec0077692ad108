"""Real backends, started by the tests and ended by them: `make test-backends` installs them and says so."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.backends.backends import Backend, Jaeger, MLflow, Phoenix, Seen
from tests.backends.run import Sent, send
from tests.backends.servers import until

# A server takes up to a minute to start, so the default suite goes without.
collect_ignore_glob = [] if os.environ.get("TEXTGRAD_LG_BACKENDS") else ["test_*.py"]


@dataclass(frozen=True)
class Shown:
    """A run that was sent to a backend, and all its spans as the backend gives them back."""

    backend: Any
    sent: Sent
    spans: list[Seen]


@pytest.fixture(scope="session")
def jaeger(tmp_path_factory):
    with installed(Jaeger).start(tmp_path_factory.mktemp("jaeger")) as server:
        yield server


@pytest.fixture(scope="session")
def phoenix(tmp_path_factory):
    with installed(Phoenix).start(tmp_path_factory.mktemp("phoenix")) as server:
        yield server


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory):
    with installed(MLflow).start(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture(scope="session", params=["jaeger", "phoenix", "mlflow"])
def backend(request):
    """Each backend in turn, for all tests that ask for it."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def shown(backend, tmp_path_factory):
    """A run with content."""
    return show(backend, tmp_path_factory.mktemp("run"), content=True)


@pytest.fixture(scope="session")
def bare(backend, tmp_path_factory):
    """A run without content."""
    return show(backend, tmp_path_factory.mktemp("run"))


def installed(found: Any) -> Any:
    """The backend, if it is installed; where tests must run, it has to be."""
    if not found.program.exists():
        why = f"{found.__name__} is not installed: `make test-backends` does it; Jaeger needs Go"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
    return found


def show(backend: Backend, folder: Path, **options: Any) -> Shown:
    """Send a run, and wait until all of it is there."""
    sent = send(backend.url, folder, backend.headers, **options)
    seen: list[Seen] = []

    def arrived() -> bool:
        seen[:] = backend.spans(sent.run)
        return len(seen) >= len(sent.spans)

    until(arrived, lambda: f"{len(seen)} of {len(sent.spans)} spans are there")
    return Shown(backend, sent, seen)
