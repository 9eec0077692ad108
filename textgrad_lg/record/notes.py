"""The notes of a recording: what is kept of each run that starts or ends, in the order of arrival."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from textgrad_lg.domain import TOLD

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from textgrad_lg.record.uses import Use

PREVIOUS = "previous"
"""What an entrypoint of the functional API saves for the next run on its thread, and is given by the run before."""

REPLAYED = "textgrad_lg_replayed"
"""In the metadata of a run that a replay answered from memory: nothing left the process, and nothing was paid."""
SECONDS = "textgrad_lg_seconds"
"""Beside it: how many seconds the answer took when it was given first."""

Key = int | str
"""A run's id, as the number in it: a UUID's own hash is a call of Python code. Some callers give an id as text."""


def id_text(key: Key) -> str:
    """A run's id as LangChain prints it."""
    if isinstance(key, str):
        return key
    # As `str(UUID(int=key))`, which takes four times as long.
    digits = f"{key:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class Reply(NamedTuple):
    """What a model call gave. LangChain's own `LLMResult` is not kept: it holds the reply's text a second time.

    Attributes:
        message: The message, or for the older models the text; None where it gave nothing.
        llm_output: What the provider told about the call, if anything.
    """

    message: Any
    llm_output: Mapping[str, Any] | None


@dataclass(slots=True, eq=False)
class Fork:
    """That a run started in another thread or asyncio task than the run around it; its followers there share it.

    Attributes:
        parent: The run around it.
        place: The thread or task.
        base: The fork that this one forked from; None where it forked from the run around it.
    """

    parent: Key
    place: int
    base: Fork | None


class Said(NamedTuple):
    """A message as it was sent, where it has a text and nothing else. A message object takes ten times as much."""

    kind: type[BaseMessage]
    text: str


class Failed(NamedTuple):
    """The note of a run that raised."""

    run: Key
    outputs: Any
    end: float
    error: BaseException
    handoff: Any


class Used(NamedTuple):
    """The note of a prompt held by name that a run's own code used."""

    run: Key
    use: Use


class Previous(NamedTuple):
    """The note of what an entrypoint was given by the run before on its thread."""

    run: Key
    value: Any


START, END = 11, 3
"""How many items the notes have that are plain tuples, because making anything else takes longer: of a run that starts
`(key, key of the run around it, kind, name, metadata, tags, inputs, id of inputs, extra, time, Fork or None)`, of one that
ends `(key, outputs, time)`."""


class Log:
    """The notes of one outermost run and of all that runs inside it, in the order of arrival.

    Attributes:
        notes: Plain tuples (see `START`), `Failed`, `Used` and `Previous`. Threads append to it without a lock.
    """

    __slots__ = ("__weakref__", "notes")

    def __init__(self) -> None:
        self.notes: list[tuple[Any, ...]] = []

    @property
    def id(self) -> str:
        """The outermost run's id."""
        return id_text(self.notes[0][0])

    @property
    def kind(self) -> str:
        """The kind of the outermost run."""
        return self.notes[0][2]

    @property
    def ended(self) -> bool:
        """Whether the outermost run has ended."""
        key = self.notes[0][0]
        return any(note[0] == key and (len(note) == END or isinstance(note, Failed)) for note in reversed(self.notes))


NAMESPACE, TRIGGERS, THREAD = "langgraph_checkpoint_ns", "langgraph_triggers", "thread_id"
TASK = (NAMESPACE, "langgraph_step", "langgraph_node", "langgraph_path", TRIGGERS)
"""What is kept of the metadata of a graph's task: LangGraph makes a new dict for each, with more in it."""
CALL = (
    NAMESPACE,
    "lc_agent_name",
    "ls_provider",
    "ls_model_name",
    REPLAYED,
    SECONDS,
    "lc_hub_owner",
    "lc_hub_repo",
    "lc_hub_commit_hash",
    TOLD,
)
"""What is kept of the metadata of whatever else runs inside a task; of a chain only the first."""
