"""The server as the rest of this package sees it: an assistant's state, its runs, its versions."""

# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast
from uuid import UUID

from textgrad_lg.errors import GraphError
from textgrad_lg_integrations.langgraph_server.plain import entries, items

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from langgraph_sdk.client import SyncLangGraphClient

    from textgrad_lg.types import JSON

Door = Literal["context", "configurable"]
"""By which key a graph is given its fields. The server takes one of the two and refuses both together."""


@dataclass(frozen=True, slots=True)
class Found:
    """An assistant as the server had it at one moment.

    Attributes:
        id: Its id.
        graph: The id of its graph.
        version: Its version.
        door: By which key its fields are given.
        values: All its fields, by name: the whole context, because the server replaces it as a whole.
        config: Its config without its fields.
        properties: What the graph's schema says of each field, as JSON schema.
    """

    id: str
    graph: str
    version: int
    door: Door
    values: Mapping[str, JSON]
    config: Mapping[str, JSON]
    properties: Mapping[str, Mapping[str, JSON]]


class Part(NamedTuple):
    """One part of a run's stream: its event, without the namespace behind it, and its data."""

    event: str
    data: Any


@dataclass(frozen=True, slots=True)
class Server:
    """A LangGraph Server.

    Attributes:
        client: The SDK's synchronous client. It is used from several threads.
    """

    client: SyncLangGraphClient

    def find(self, assistant: str | None, graph: str | None) -> Found:
        """The assistant as it is now.

        Args:
            assistant: Its id, or the id of its graph: then the assistant that the server made for the graph.
            graph: The id of a graph; its own assistant is taken where `assistant` is None.

        Raises:
            GraphError: There is none, or the server cannot be reached.
        """
        id = self._id(assistant, graph)  # noqa: A001  the SDK's own word
        with _reaching("read the assistant"):
            told = entries(self.client.assistants.get(id))
            schemas = entries(self.client.assistants.get_schemas(id))
        properties = _properties(schemas.get("context_schema"))
        door: Door = "context" if properties else "configurable"
        config = {key: value for key, value in entries(told.get("config")).items() if key != "configurable"}
        properties = properties or _properties(schemas.get("config_schema"))
        version = int(told.get("version") or 1)
        return Found(id, str(told["graph_id"]), version, door, _values(told, door), config, properties)

    def version(self, assistant: str) -> int:
        """The version of an assistant now.

        Raises:
            GraphError: There is no such assistant, or the server cannot be reached.
        """
        with _reaching("read the assistant's version"):
            return int(entries(self.client.assistants.get(assistant)).get("version") or 1)

    def values(self, found: Found, version: int) -> Mapping[str, JSON]:
        """The fields that a version of an assistant has.

        Raises:
            GraphError: There is no such version, or the server cannot be reached.
        """
        offset, page = 0, 100
        while True:
            with _reaching("read the assistant's versions"):
                told = items(self.client.assistants.get_versions(found.id, limit=page, offset=offset))
            for item in map(entries, told):
                if item["version"] == version:
                    return _values(item, found.door)
            if len(told) < page:
                raise GraphError(f"the assistant {found.id} has no version {version}; its latest is {found.version}")
            offset += page

    def publish(self, found: Found, values: Mapping[str, JSON], metadata: Mapping[str, JSON]) -> int:
        """Make a new version of an assistant with these fields; returns its number.

        Args:
            found: The assistant.
            values: All fields: those left out are gone.
            metadata: Is added to the assistant's.

        Raises:
            GraphError: The server refused it, or cannot be reached.
        """
        fields: dict[str, Any] = (
            {"context": dict(values)}
            if found.door == "context"
            else {"config": {**found.config, "configurable": dict(values)}}
        )
        with _reaching("publish a version of the assistant"):
            told = self.client.assistants.update(found.id, metadata=cast("Any", dict(metadata)), **fields)
        return int(entries(told).get("version") or 1)

    def run(self, found: Found, inputs: Any, values: Mapping[str, JSON], config: Mapping[str, Any]) -> Iterator[Part]:
        """Run an assistant once, on no thread, with these fields in the place of its own; yields what it streams.

        Raises:
            GraphError: The server refused the run, or cannot be reached.
        """
        options: dict[str, Any] = dict(config)
        if found.door == "context":
            fields: dict[str, Any] = {"context": dict(values)}
        else:
            fields = {}
            options["configurable"] = dict(values)
        with _reaching("run the assistant"):
            stream: Any = self.client.runs.stream
            parts: Iterator[Any] = stream(
                None,
                found.id,
                input=inputs,
                config=options or None,
                stream_mode=["values", "events"],
                on_disconnect="cancel",
                **fields,
            )
            for part in parts:
                event, _, namespace = part.event.partition("|")
                if not (namespace and event == "values"):
                    yield Part(event, part.data)

    def _id(self, assistant: str | None, graph: str | None) -> str:
        if assistant is not None and _is_id(assistant):
            return assistant
        wanted = assistant or graph
        with _reaching("look for the assistant"):
            # Newer servers answer with an error where there is no such graph, older ones with an empty list.
            listed = [entries(item) for item in items(self.client.assistants.search(graph_id=wanted, limit=1000))]
        own = [item for item in listed if entries(item.get("metadata")).get("created_by") == "system"]
        if len(own) == 1 or len(listed) == 1:
            return str((own or listed)[0]["assistant_id"])
        several = ", ".join(f"{item['assistant_id']} ({item.get('name')})" for item in listed)
        raise GraphError(
            f"the graph {wanted!r} has several assistants: {several}; give the id of one of them"
            if listed
            else f"the server has no graph {wanted!r}; give the id of an assistant, or of a graph in its langgraph.json"
        )


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _properties(schema: object) -> dict[str, Mapping[str, JSON]]:
    return {name: entries(about) for name, about in entries(entries(schema).get("properties")).items()}


def _values(told: Mapping[str, Any], door: Door) -> dict[str, JSON]:
    """The fields of an assistant, or of a version of it."""
    return entries(told.get("context")) if door == "context" else entries(entries(told.get("config")).get(door))


@contextmanager
def _reaching(what: str) -> Generator[None]:
    """Turn what the SDK raises into an error of ours: that a server is not there says nothing about its graph."""
    from httpx import HTTPError
    from langgraph_sdk.errors import LangGraphError

    try:
        yield
    except (HTTPError, LangGraphError) as error:
        raise GraphError(
            f"the LangGraph Server could not {what}: {type(error).__name__}: {error}; look whether it runs, and whether "
            "the url, the key and the assistant are right"
        ) from error
