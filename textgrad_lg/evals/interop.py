"""LangSmith's own Run and Example, for the evaluators that ask for them, and its data sets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, cast
from uuid import NAMESPACE_URL, UUID, uuid5

from textgrad_lg.errors import DataError
from textgrad_lg.evals.reads import unshared

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langsmith import schemas

    from textgrad_lg.example import Example
    from textgrad_lg.trace import Trace

OUTPUT = "output"
"""The field under which LangSmith puts an output that is not a mapping."""
_INPUT = "input"


class DatasetExample(Protocol):
    """The part of `langsmith.schemas.Example` that is used."""

    @property
    def id(self) -> Any:
        """A UUID."""
        ...

    @property
    def inputs(self) -> Any:
        """The inputs."""
        ...

    @property
    def outputs(self) -> Any:
        """What was wanted."""
        ...

    @property
    def metadata(self) -> Any:
        """The metadata, LangSmith's splits under `dataset_split` included; or None."""
        ...


class DatasetClient(Protocol):
    """The part of `langsmith.Client` that is used."""

    def list_examples(self, *, dataset_name: str, as_of: datetime | str | None = None) -> Iterable[DatasetExample]:
        """The examples of a data set, at a tag or a time."""
        ...


def as_example(example: Example) -> schemas.Example:
    """LangSmith's Example. Its id is the Example's where that is a UUID, else a UUID made from it: always the same one."""
    from langsmith import schemas

    return schemas.Example(
        id=_uuid(example.id),
        inputs=_mapping(example.inputs),
        outputs=unshared(example.reference_outputs),
        metadata=unshared(example.metadata),
    )


def as_run(example: Example, outputs: dict[str, Any], trace: Trace | None) -> schemas.Run:
    """LangSmith's Run of the whole graph: inputs, outputs, name and times. It has no child runs."""
    from langsmith import schemas

    start = datetime.fromtimestamp(trace.started if trace else 0.0, tz=UTC)
    seconds = trace.spans[0].end if trace and trace.spans else 0.0
    run = schemas.Run(
        id=_uuid(trace.id if trace else f"run of {example.id}"),
        name=trace.name if trace else "graph",
        run_type="chain",
        start_time=start,
        end_time=start + timedelta(seconds=seconds),
        inputs=_mapping(example.inputs),
        reference_example_id=_uuid(example.id),
    )
    run.outputs = outputs  # set afterwards: validation would put a plain dict in place of one that notes what is read
    return run


def dataset(name: str, client: DatasetClient | None, as_of: datetime | str | None) -> list[DatasetExample]:
    """The examples of a LangSmith data set, as LangSmith's Examples.

    Raises:
        DataError: LangSmith could not be asked, or has no such data set.
    """
    try:
        if client is None:
            from langsmith import Client

            client = cast("DatasetClient", Client())
        return list(client.list_examples(dataset_name=name, as_of=as_of))
    except Exception as error:
        raise DataError(
            f"the LangSmith data set {name!r} could not be read: {type(error).__name__}: {error}. A file is meant where "
            "the text ends in .jsonl or .json; LangSmith needs LANGSMITH_API_KEY"
        ) from error


def _mapping(inputs: Any) -> dict[str, Any]:
    copied = unshared(inputs)
    return cast("dict[str, Any]", copied) if isinstance(copied, dict) else {_INPUT: copied}


def _uuid(name: str) -> UUID:
    try:
        return UUID(name)
    except ValueError:
        return uuid5(NAMESPACE_URL, f"textgrad_lg:{name}")
