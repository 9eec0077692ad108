"""OpenInference, which traces the graph meanwhile: on our provider its tree goes below our `forward` spans."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import TracerProvider


@contextmanager
def openinference(provider: TracerProvider) -> Iterator[None]:
    """Have LangChain traced by OpenInference until the end of the block."""
    from openinference.instrumentation.langchain import LangChainInstrumentor

    instrumentor = LangChainInstrumentor()
    instrumentor.instrument(tracer_provider=provider, skip_dep_check=True)
    try:
        with warnings.catch_warnings():
            # It calls what langchain_core has made a property.
            warnings.simplefilter("ignore")
            yield
    finally:
        instrumentor.uninstrument()
