"""The exceptions of the eager API. Each is also the standard exception that a TextGrad script would expect there."""

from __future__ import annotations

from textgrad_lg.errors import ModelError, TemplateError, TextgradError


class NoEngine(TextgradError, ValueError):  # noqa: N818  reads as the condition it names
    """No engine was given, and none is set for this context."""


class EngineSet(TextgradError, ValueError):  # noqa: N818
    """A backward engine is set already."""


class UnknownEngine(ModelError, ValueError):  # noqa: N818
    """No engine could be made of what was given as one."""


class NoFeedback(TextgradError, ValueError):  # noqa: N818
    """A text is to be improved that no loss depends on."""


class StepRefused(TemplateError, ValueError):  # noqa: N818
    """The engine proposed only texts that may not take the place of the old one; nothing was changed."""


class NoDataset(TextgradError, ValueError):  # noqa: N818
    """A data set was asked for that would have to be downloaded from a hub."""
