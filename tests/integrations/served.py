"""A LangGraph Server in place of a network: its routes as a transport of the SDK's client, and behind them real local graphs.

What it answers was copied from a real server's behaviour, which `tests/server` checks: an update replaces the whole
context, nothing is compared before it is swapped, context and configurable together are refused.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
import uuid

import httpx
from langchain_core.messages import BaseMessage
from langgraph.types import Command, Send
from langgraph_sdk.client import SyncLangGraphClient


class Served:
    """The server.

    Attributes:
        requests: The method, path and body of each request, in order.
        tell: What becomes of each part of a run's stream; a test may leave parts out or put others in.
        answer: Answers a request; a test may put another in its place.
    """

    def __init__(self, graphs, schemas=None):
        self.requests: list[tuple[str, str, dict]] = []
        self.tell = lambda event, data: [(event, data)]
        self._graphs, self._schemas = graphs, schemas or {}
        self._versions: dict[str, list[dict]] = {}
        self._lock = threading.Lock()
        for graph in graphs:
            self.create(graph, metadata={"created_by": "system"})
        self.answer = self._answer
        transport = httpx.MockTransport(self._take)
        self.client = SyncLangGraphClient(httpx.Client(transport=transport, base_url="http://server"))

    def create(self, graph, *, context=None, config=None, metadata=None):
        """A new assistant; returns its id."""
        name = str(uuid.UUID(int=len(self._versions) + 1))
        first = {"assistant_id": name, "graph_id": graph, "version": 1, "name": graph, "metadata": metadata or {}}
        self._versions[name] = [first | {"context": context or {}, "config": config or {}}]
        return name

    def now(self, assistant):
        """An assistant's latest version."""
        return self._versions[assistant][-1]

    def versions(self, assistant):
        """The numbers of its versions."""
        return [item["version"] for item in self._versions[assistant]]

    def update(self, assistant, **fields):
        """What somebody else's update does."""
        with self._lock:
            old = self.now(assistant)
            metadata = {**old["metadata"], **fields.pop("metadata", {})}
            self._versions[assistant].append({**old, **fields, "metadata": metadata, "version": old["version"] + 1})
            return self.now(assistant)

    def runs(self):
        """The bodies of the runs that were asked for."""
        return [body for _, path, body in self.requests if path == "/runs/stream"]

    def _take(self, request):
        return self.answer(request)

    def _answer(self, request):
        body = json.loads(request.content or b"{}")
        path = request.url.path
        with self._lock:
            self.requests.append((request.method, path, body))
        _, kind, *rest = path.split("/")
        if kind == "runs":
            return self._run(body)
        if rest == ["search"]:
            return httpx.Response(
                200, json=[v[-1] for v in self._versions.values() if v[-1]["graph_id"] == body["graph_id"]]
            )
        if rest[0] not in self._versions:
            return httpx.Response(404, json={"detail": f"Assistant {rest[0]} not found"})
        return httpx.Response(200, json=self._tell_of(rest[0], request.method, rest[1:], body))

    def _tell_of(self, assistant, method, rest, body):
        match method, rest:
            case "GET", []:
                return self.now(assistant)
            case "GET", ["schemas"]:
                return self._schema(self.now(assistant)["graph_id"])
            case "POST", ["versions"]:
                return self._versions[assistant][::-1][body["offset"] : body["offset"] + body["limit"]]
            case _:
                return self.update(assistant, **body)

    def _schema(self, graph):
        own = self._graphs[graph].get_context_jsonschema()
        return self._schemas.get(graph) or {"context_schema": own, "config_schema": own or {}}

    def _run(self, body):
        if body.get("context") and (body.get("config") or {}).get("configurable"):
            return httpx.Response(400, json={"detail": "Cannot specify both configurable and context."})
        assistant = self.now(body["assistant_id"])
        # In a context of its own: behind a real server nothing of the caller's is left.
        graph = self._graphs[assistant["graph_id"]]
        parts = contextvars.Context().run(lambda: asyncio.run(self._stream(graph, assistant, body)))
        text = "".join(f"event: {event}\ndata: {json.dumps(data, default=_json)}\n\n" for event, data in parts)
        return httpx.Response(200, content=text.encode(), headers={"content-type": "text/event-stream"})

    async def _stream(self, graph, assistant, body):
        config = {**assistant["config"], **(body.get("config") or {})}
        context = {"context": body.get("context") or assistant["context"]} if graph.get_context_jsonschema() else {}
        parts = []
        try:
            async for event in graph.astream_events(
                body["input"], config, version="v2", stream_mode=["values"], **context
            ):
                parts += self.tell("events", event)
                if event["event"] == "on_chain_stream" and not event["parent_ids"]:
                    mode, value = event["data"]["chunk"]
                    parts += self.tell(mode, value)
        except Exception as error:
            parts += self.tell("error", {"error": type(error).__name__, "message": str(error)})
        return parts


def _json(value):
    if isinstance(value, BaseMessage):
        return value.model_dump()
    if isinstance(value, Command):
        return {"graph": value.graph, "update": value.update, "resume": value.resume, "goto": value.goto}
    if isinstance(value, Send):
        return {"node": value.node, "arg": value.arg}
    return str(value)
