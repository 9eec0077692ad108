"""TextGrad's tasks: the data sets have to be downloaded from a hub, which this library does not do."""

from __future__ import annotations

from typing import Any, NoReturn

from textgrad_lg.eager.errors import NoDataset
from textgrad_lg.eager.tasks.base import DataLoader, Dataset

__all__ = ["DataLoader", "Dataset", "load_instance_task", "load_task"]


def load_task(task_name: str, *_: Any, **__: Any) -> NoReturn:
    """Say how to do without.

    Raises:
        NoDataset: Always.
    """
    raise NoDataset(
        f"the task {task_name!r} would be downloaded from a hub, and this library downloads no data sets. Load it with the "
        "`datasets` package, put its examples into lists, and give them to DataLoader; any function can judge them, as a "
        "StringBasedFunction"
    )


def load_instance_task(task_name: str, *_: Any, **__: Any) -> NoReturn:
    """Say how to do without.

    Raises:
        NoDataset: Always.
    """
    load_task(task_name)
