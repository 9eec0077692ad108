"""An assistant on a LangGraph Server, as something that `optimize` can make better."""

# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import hashlib
import json
import logging
import time
import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from textgrad_lg.errors import BudgetExhausted, GraphError, VersionConflict
from textgrad_lg.record import Discovery
from textgrad_lg.run.deploy import PRODUCTION, prompt_name
from textgrad_lg.run.reading import read_label
from textgrad_lg.run.target import Job, Ran
from textgrad_lg_integrations.langgraph_server.admission import Admission
from textgrad_lg_integrations.langgraph_server.events import EventLog, revive
from textgrad_lg_integrations.langgraph_server.fields import Field, discover_fields, text_fields
from textgrad_lg_integrations.langgraph_server.plain import entries
from textgrad_lg_integrations.langgraph_server.server import Found, Server
from textgrad_lg_integrations.langgraph_server.uses import with_fields

if TYPE_CHECKING:
    from langgraph.pregel.remote import RemoteGraph
    from langgraph_sdk.client import SyncLangGraphClient

    from textgrad_lg.registry import PromptRegistry
    from textgrad_lg.run.schedule import Schedule
    from textgrad_lg.trace import Trace
    from textgrad_lg.types import JSON

_LOG = logging.getLogger(__name__)


class Assistant:
    """An assistant on a LangGraph Server: `optimize(Assistant("support", url="https://..."), evals)`.

    Its Parameters are the texts of its context, as `context:system_prompt/text`. Each run of a candidate is given the whole
    context with the candidate's texts in it; nothing is published for that. The graph on the server is not touched, and
    need not know of textgrad_lg.

    What is accepted becomes a new version of the assistant, with the id of the run in its metadata. `result.rollback()`
    publishes the earlier context once more, as a version of its own: a server that is told to go back to an old version
    may go on serving the context of the latest. The server does not compare before it swaps. A version that somebody else
    has made since the run began is found by its number and makes the publication fail with `VersionConflict`; one that is
    made in the moment between the comparison and the publication is overwritten, and a warning is logged.

    The deployed graph's model cannot be called from here: give `optimize(model=...)` one that criticises and proposes.
    Model calls are counted as the server's stream tells of them; `Admission` says what a Budget means where calls leave
    from another process.

    Args:
        assistant_id: The assistant's id; or the id of a graph, for the assistant that the server made for it.
        graph_id: The id of a graph, the same said by name.
        url: The server's address.
        client: The SDK's synchronous client, in the place of `url`; for one with special settings.
        api_key: The server's key; default: what the SDK finds in the environment.
        headers: Further headers of each request.
        fields: The names of the context's fields that are prompts; default: those whose schema says so, and those whose
            text reads like one. `optimize_only` chooses among them, and may name others.
        model: The graph's model, as "openai:gpt-4o-mini"; a money limit needs it before the first run has shown it.
        name: What its prompts are named by in a registry; default: the graph's and the beginning of its own id.

    Raises:
        GraphError: Neither or both of `url` and `client` are given, or no assistant.
    """

    def __init__(
        self,
        assistant_id: str | None = None,
        *,
        graph_id: str | None = None,
        url: str | None = None,
        client: SyncLangGraphClient | None = None,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        fields: Sequence[str] | None = None,
        model: str = "",
        name: str | None = None,
    ) -> None:
        if assistant_id is None and graph_id is None:
            raise GraphError(
                "which assistant? give its id, or the id of its graph, as in Assistant('support', url=...)"
            )
        if (url is None) == (client is None):
            raise GraphError("give Assistant(...) either the server's url or a client of langgraph_sdk, one of the two")
        self._wanted = (assistant_id, graph_id)
        self._server = Server(_client(url, api_key, headers) if client is None else _checked(client))
        self._fields, self._name = fields, name
        self._admission = Admission(*_provider_and_name(model))

    @classmethod
    def of(cls, remote: RemoteGraph, **options: Any) -> Self:
        """The assistant that a `RemoteGraph` runs, over the same client.

        Args:
            remote: The RemoteGraph; one that was made with `url` or `sync_client`.
            **options: `fields`, `model` and `name`, as of the class.

        Raises:
            GraphError: It has no synchronous client.
        """
        if remote.sync_client is None:
            raise GraphError(
                "this RemoteGraph has an asynchronous client only; make it with url=... or sync_client=..., or give the "
                "assistant itself: Assistant(assistant_id, url=...)"
            )
        return cls(remote.assistant_id, client=remote.sync_client, **options)

    def target(self) -> AssistantTarget:
        """The assistant as it is now, for one optimisation run.

        Raises:
            GraphError: It is not there, or the server cannot be reached.
            UnknownParameter: `fields` names a field without text.
        """
        found = self._server.find(*self._wanted)
        name = self._name or f"{found.graph}@{found.id[:8]}"
        return AssistantTarget(self._server, found, text_fields(found, self._fields), name, self._admission)

    def publish(self, registry: PromptRegistry) -> int:
        """Put the registry's production texts in force, as after a rollback there; returns the assistant's version.

        Raises:
            GraphError: It is not there, or the server cannot be reached.
        """
        target = self.target()
        target.published(registry)
        return target.version

    def restore(self, version: int) -> int:
        """Put the context of an earlier version in force, as a new version; returns its number.

        Raises:
            GraphError: There is no such version, or the server cannot be reached.
        """
        found = self._server.find(*self._wanted)
        values = self._server.values(found, version)
        return self._server.publish(found, values, {"textgrad_lg_restored": version})


class AssistantTarget:
    """An assistant as one optimisation run sees it; see `textgrad_lg.run.target.Target`.

    Args:
        server: Where it is.
        found: It as it was when the run began.
        fields: Its fields with text.
        name: What its prompts are named by in a registry.
        admission: Admits its runs.

    Attributes:
        version: The version that is known to be in force.
    """

    def __init__(self, server: Server, found: Found, fields: Sequence[Field], name: str, admission: Admission) -> None:
        self.version = found.version
        self._server, self._found, self._fields, self._name = server, found, tuple(fields), name
        self._admission = admission
        self._values: dict[str, JSON] = dict(found.values)

    @property
    def name(self) -> str:
        """What its prompts are named by in a registry."""
        return self._name

    @property
    def state(self) -> str:
        """The context that it had when the run began, as a hash."""
        context = json.dumps([self._found.id, self._found.graph, self._found.values], sort_keys=True)
        return hashlib.sha256(context.encode()).hexdigest()[:12]

    async def run(self, job: Job, schedule: Schedule) -> Ran:
        """Run the assistant on the server, with the job's texts in its context.

        Raises:
            GraphError: The server cannot be reached, or refused the run: that says nothing about the texts, so it ends
                the whole optimisation, which can be gone on with later.
        """
        return await schedule.in_thread(partial(self._run, job))

    def discover(self, traces: Sequence[Trace], only: Sequence[str] | None) -> Discovery:
        """The fields of the context that hold text."""
        return discover_fields(self._found, self._fields, only)

    def extend(self, found: Discovery, traces: Sequence[Trace], only: Sequence[str] | None) -> Discovery:
        """Nothing more: no run shows a field that the assistant does not have."""
        return found

    def improved(self, registry: PromptRegistry) -> RemoteGraph:
        """The assistant as a graph that can be run from here. Which texts it has, the server says at each run."""
        from langgraph.pregel.remote import RemoteGraph

        return RemoteGraph(self._found.id, sync_client=self._server.client, name=self._found.graph)

    def check(self) -> None:
        """Look whether the assistant still has the version that the run knows.

        Raises:
            VersionConflict: It has another.
            GraphError: The server cannot be reached.
        """
        now = self._server.version(self._found.id)
        if now != self.version:
            raise VersionConflict(
                f"the assistant {self._found.id} has version {now} by now, and version {self.version} was expected: "
                "somebody else has published to it. Nothing was changed; look at what they published, and run again"
            )

    def published(self, registry: PromptRegistry) -> None:
        """Put the registry's production texts into the assistant's context, as a new version of it.

        Raises:
            VersionConflict: See `check`.
            GraphError: The server cannot be reached.
        """
        texts = read_label(registry, self._name, PRODUCTION).texts
        values: dict[str, JSON] = {
            **self._found.values,
            **{at.name: texts[at.site].new.text for at in self._fields if at.site in texts},
        }
        for at in self._fields:
            # Its default in the schema, which was in force where the context did not have the field.
            if at.name not in self._found.values and values.get(at.name) == at.template.text:
                del values[at.name]
        self.check()
        if values == self._values:
            return
        version = self._server.publish(self._found, values, self._origin(registry))
        if version != self.version + 1:
            _LOG.warning(
                "the assistant %s: somebody else published at the same time; version %d is in force, look at those "
                "from %d on",
                self._found.id,
                version,
                self.version + 1,
            )
        self.version, self._values = version, values

    def _origin(self, registry: PromptRegistry) -> dict[str, JSON]:
        """Where the texts in force come from, for the metadata of a version."""
        found: dict[str, JSON] = {}
        for at in self._fields:
            name = prompt_name(self._name, at.site)
            if name in registry.names() and PRODUCTION in registry.labels(name):
                version = registry.get(name, label=PRODUCTION)
                found["textgrad_lg_run"] = version.provenance.get("run")
                found[f"textgrad_lg_{at.name}"] = version.version
        return found

    def _run(self, job: Job) -> Ran:
        values, config = self._given(job)
        size = len(json.dumps(job.inputs, default=str)) + sum(len(str(value)) for value in values.values())
        log = EventLog(self._found.graph, job.inputs, time.time)
        outputs: Any = None
        error: Exception | None = None
        try:
            with self._admission.run(job.meter, size) as seen:
                for part in self._server.run(self._found, job.inputs, values, config):
                    match part.event:
                        case "events":
                            log.add(part.data)
                        case "values":
                            outputs = part.data
                        case "error":
                            error = _raised(part.data)
                        case _:
                            pass
                outputs = None if error is not None else revive(outputs)
                trace = log.trace(outputs, error, id=job.trace, example=job.example)
                trace = with_fields(trace, self._fields, values)
                seen.append(trace)
        except BudgetExhausted as refused:
            return Ran(None, None, refused)
        return Ran(outputs, trace, error)

    def _given(self, job: Job) -> tuple[dict[str, JSON], dict[str, Any]]:
        """The fields that a run is given, all of them, and the rest of its config."""
        config = dict(job.config)
        door = self._found.door
        other = "configurable" if door == "context" else "context"
        if config.get(other):
            raise GraphError(
                f"the assistant {self._found.id} takes its fields in {door!r}, and the server refuses a run that has "
                f"{other!r} too; give them as config={{{door!r}: ...}}"
            )
        config.pop(other, None)
        given: Mapping[str, JSON] = config.pop(door, None) or {}
        texts = {at.name: job.texts[at.site].new.text for at in self._fields if at.site in job.texts}
        return {**self._found.values, **given, **texts}, config


def _client(url: str | None, api_key: str | None, headers: Mapping[str, str] | None) -> SyncLangGraphClient:
    from langgraph_sdk import get_sync_client

    # Left out and None are not the same to the SDK: it looks for a key in the environment where none is given.
    key: dict[str, Any] = {} if api_key is None else {"api_key": api_key}
    client = get_sync_client(url=url, headers=dict(headers or {}), **key)
    # Its connections are closed when nobody holds it any more: the RemoteGraph in a result may outlive this Assistant.
    weakref.finalize(client, client.http.client.close)
    return client


def _checked(client: object) -> Any:
    from langgraph_sdk.client import SyncLangGraphClient

    if isinstance(client, SyncLangGraphClient):
        return client
    raise GraphError(f"client is a {type(client).__name__}; give what langgraph_sdk.get_sync_client(url=...) returns")


def _provider_and_name(model: str) -> tuple[str, str]:
    provider, colon, name = model.partition(":")
    return (provider, name) if colon else ("", model)


def _raised(data: Any) -> Exception:
    """What the graph raised on the server, in words: its class is there and not here."""
    from langgraph.pregel.remote import RemoteException

    told = entries(data) or {"message": data}
    return RemoteException(": ".join(str(told[key]) for key in ("error", "message") if told.get(key)))
