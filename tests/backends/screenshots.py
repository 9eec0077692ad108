"""Takes the pictures of docs/observability.md again: Phoenix and MLflow, each showing the reverse pass of one Example.

And Phoenix showing what OpenInference, which the tests need too, has put below our spans.

After `make test-backends`, with Debian's `chromium` (or the program named by CHROMIUM):

    .venv/bin/python -m tests.backends.screenshots docs/images
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.backends.backends import MLflow, Phoenix, Seen
from tests.backends.conftest import Shown, show
from tests.backends.nesting import openinference
from tests.backends.servers import ask
from textgrad_lg_tracing import attributes as at


def main(folder: Path) -> None:
    """Start both, send each a run, and take the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        with Phoenix.start(place / "phoenix") as phoenix:
            shown = show(phoenix, place / "run-phoenix", content=True)
            project = ask(f"{phoenix.url}/v1/projects")["data"][0]["id"]
            (committed,) = [
                span for span in shown.spans if span.name == "update judge/system" and at.VERSION in span.attributes
            ]
            nested = show(phoenix, place / "run-nested", content=True, beside=openinference)
            wanted = (
                ("backward", shown, judged(shown.spans)),
                ("step", shown, committed),
                ("nested", nested, traced(nested.spans)),
            )
            for name, run, span in wanted:
                node = next(it["id"] for it in all_spans(phoenix, run) if it["context"]["span_id"] == span.span)
                url = f"{phoenix.url}/projects/{project}/traces/{span.trace}?selectedSpanNodeId={node}"
                # With a profile of its own the page is loaded anew, and has come to rest when the picture is taken.
                picture(url, folder / f"phoenix-{name}.png", place / f"profile-{name}")
        with MLflow.start(place / "mlflow") as mlflow:
            span = judged(show(mlflow, place / "run-mlflow", content=True).spans)
            url = f"{mlflow.url}/#/experiments/0/traces?selectedEvaluationId=tr-{span.trace}"
            picture(url, folder / "mlflow-backward.png", place / "profile-mlflow")


def judged(spans: Iterable[Seen]) -> Seen:
    """The span in which the prompt at fault was found."""
    found = (span for span in spans if span.name.startswith("backward") and span.attributes.get(at.PARAMETERS))
    return next(span for span in found if span.name == "backward judge")


def traced(spans: Iterable[Seen]) -> Seen:
    """The span of OpenInference's for the first run of the graph, in a trace in which a prompt was found to be at fault."""
    spans = list(spans)
    trace = judged(spans).trace
    runs = (it for it in spans if it.trace == trace and it.name == "pages" and at.SCHEMA not in it.attributes)
    return min(runs, key=lambda it: it.start)


def all_spans(phoenix: Phoenix, shown: Shown) -> list[Any]:
    """The spans with Phoenix's own ids for them."""
    (found,) = phoenix.forms(shown.sent.run).values()
    return found


def picture(url: str, to: Path, profile: Path) -> None:
    """What a browser shows at an address, once the page has come to rest."""
    subprocess.run(
        [
            os.environ.get("CHROMIUM", "chromium"),
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--window-size=1500,950",
            "--force-prefers-reduced-motion",
            "--virtual-time-budget=45000",
            f"--user-data-dir={profile}",
            f"--screenshot={to}",
            url,
        ],
        check=True,
        stderr=subprocess.DEVNULL,
        timeout=180,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
