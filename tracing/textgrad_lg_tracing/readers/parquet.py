"""Parquet: runs of a LangSmith bulk export, in batches of rows.

Columns are those of a run; inputs, outputs and the like hold JSON text.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyarrow ships no complete stubs.
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from textgrad_lg_tracing.readers.extra import needed

BATCH = 512
"""Rows a batch."""


class Unreadable(ValueError):  # noqa: N818  reads as the condition it names
    """This is no Parquet file, it is damaged, or it has not the columns of a run."""


def batches(
    path: Path, columns: list[str] | None = None, group: int | None = None
) -> Iterator[tuple[int, int, list[Any]]]:
    """Row group, number of the batch in it, and its rows.

    Args:
        path: The file.
        columns: Only these.
        group: Only this row group.

    Raises:
        Unreadable: The file cannot be read, or not any further.
    """
    with needed("reading Parquet"):
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            names = set(cast("list[str]", file.schema_arrow.names))
            if not {"id", "trace_id", "start_time"} <= names:
                raise Unreadable(
                    "there are no columns id, trace_id and start_time, as LangSmith's bulk export has them"
                )
            for number in range(file.num_row_groups) if group is None else (group,):
                for index, batch in enumerate(file.iter_batches(BATCH, row_groups=[number], columns=columns)):
                    yield number, index, cast("list[Any]", batch.to_pylist())
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise Unreadable(f"Parquet cannot be read here ({type(error).__name__}: {error})") from error
