"""The overlay: texts laid over a graph as it runs, and graphs with their texts built in."""

from textgrad_lg.overlay.bound import bind, unbind
from textgrad_lg.overlay.context import overlay
from textgrad_lg.overlay.rewrite import Replacement, Texts, merge, rewrite

__all__ = ["Replacement", "Texts", "bind", "merge", "overlay", "rewrite", "unbind"]
