"""OpenTelemetry spans of textgrad_lg's optimisation runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textgrad_lg_tracing.configure import Configured, configure
from textgrad_lg_tracing.content import Redactor
from textgrad_lg_tracing.exporter import Detail, OTelCallback

if TYPE_CHECKING:
    from textgrad_lg.events import Callback

__all__ = ["Configured", "Detail", "OTelCallback", "Redactor", "configure", "default_callback"]


def default_callback() -> Callback | None:
    """A callback that writes to the tracer provider and the meter provider set for this process, or None where neither is.

    `optimize` finds it by the entry point `textgrad_lg.callbacks`: who has set up OpenTelemetry sees its runs there.
    """
    from opentelemetry import trace

    from textgrad_lg_tracing.metrics import set_provider

    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider) and set_provider() is None:
        return None
    return OTelCallback()
