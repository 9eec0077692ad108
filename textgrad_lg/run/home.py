"""The folder in which textgrad_lg keeps its state."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """`$TEXTGRAD_LG_HOME` where it is set, else `.textgrad-lg` in the working folder. It is not created."""
    return Path(os.environ.get("TEXTGRAD_LG_HOME") or ".textgrad-lg")
