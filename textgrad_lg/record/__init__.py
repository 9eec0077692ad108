"""Recording: a run of a graph as a Trace, without a change to the graph; and discovery, what in it is a Parameter."""

from textgrad_lg.record.discover import Discovery, discover
from textgrad_lg.record.held import StaticText, Tool
from textgrad_lg.record.recorder import Recording, record
from textgrad_lg.record.static import static_models, static_texts, static_tools

__all__ = [
    "Discovery",
    "Recording",
    "StaticText",
    "Tool",
    "discover",
    "record",
    "static_models",
    "static_texts",
    "static_tools",
]
