"""A builder for Traces, so that a test of the reverse pass needs no graph."""

from __future__ import annotations

from textgrad_lg.site import Site
from textgrad_lg.trace import CONFIRMED, Edge, Span, Trace
from textgrad_lg.types import JSON, SpanKind
from textgrad_lg.variable import Variable


class TraceBuilder:
    """Builds a Trace step by step, with the same ids each time.

    Example:
        >>> build = TraceBuilder("support desk")
        >>> question = build.input("question", "How do I get a refund?")
        >>> answer = build.llm("answer", reads=[question], prompts={"answer/system": "Be brief."}, reply="Ask for it.")
        >>> trace = build.finish({"answer": answer})
        >>> [str(parameter.site) for parameter in trace.parameters]
        ['answer/system']
    """

    def __init__(self, name: str = "graph", *, id: str = "0" * 31 + "1", example: str | None = None) -> None:  # noqa: A002
        self._name, self._id, self._example = name, id, example
        self._spans = [Span("s0", SpanKind.GRAPH, name)]
        self._variables: list[Variable] = []
        self._edges: list[Edge] = []
        self._inputs: dict[str, str] = {}
        self._visits: dict[tuple[SpanKind, str, tuple[str, ...]], int] = {}

    def input(self, field: str, value: JSON) -> str:
        """Add a field of the run's input; returns its Variable's id."""
        self._inputs[field] = self._variable(f"s0.in.{field}", value, f"input `{field}`")
        return self._inputs[field]

    def llm(
        self,
        node: str,
        *,
        reply: JSON,
        reads: list[str] | None = None,
        prompts: dict[str, str] | None = None,
        weights: dict[str, float] | None = None,
    ) -> str:
        """Add a node that makes one model call and writes its reply; returns the id of the channel's Variable.

        Args:
            node: The node's name; used again, it is the node's next visit.
            reply: The model's reply.
            reads: Ids of the Variables that the call was given.
            prompts: The Parameters that entered the call: printed Site to text.
            weights: Weights of the edges from `reads`, where they are not confirmed.
        """
        node_span = self._span(SpanKind.NODE, node, "s0", (node,))
        span = self._span(SpanKind.LLM, "double", node_span, (node,))
        messages: list[JSON] = []
        sources = list(reads or [])
        for at, (site, text) in enumerate((prompts or {}).items()):
            parsed = Site.parse(site)
            role = f"{parsed.role} prompt of `{node}`"
            sources.append(self._variable(f"{span}.in{at}", text, role, site=parsed))
            messages.append({"role": parsed.role, "content": text, "site": site})
        self._spans[-1].attributes["messages"] = messages
        out = self._variable(f"{span}.out", reply, f"reply of `{node}`", span=span)
        self._edges += [Edge(source, out, span, (weights or {}).get(source, CONFIRMED)) for source in sources]
        return self._write(node_span, node, reply, [out])

    def tool(self, name: str, *, result: JSON, reads: list[str]) -> str:
        """Add a tool call that was given `reads` and returned `result`; returns the id of its result's Variable."""
        span = self._span(SpanKind.TOOL, name, "s0", (name,))
        out = self._variable(f"{span}.out", result, f"result of the tool `{name}`", span=span)
        self._edges += [Edge(source, out, span) for source in reads]
        return out

    def node(self, name: str, *, value: JSON, reads: list[str], weight: float = CONFIRMED) -> str:
        """Add a node without a model call; returns the id of the channel's Variable that it wrote."""
        return self._write(self._span(SpanKind.NODE, name, "s0", (name,)), name, value, reads, weight)

    def finish(self, outputs: dict[str, str]) -> Trace:
        """The Trace; `outputs` maps each output field to the id of the Variable that holds it."""
        return Trace(
            self._id,
            self._name,
            tuple(self._spans),
            tuple(self._variables),
            tuple(self._edges),
            self._inputs,
            outputs,
            self._example,
        )

    def _span(self, kind: SpanKind, name: str, parent: str, path: tuple[str, ...]) -> str:
        visit = self._visits.get((kind, name, path), 0)
        self._visits[kind, name, path] = visit + 1
        self._spans.append(Span(f"s{len(self._spans)}", kind, name, parent, path, visit))
        return self._spans[-1].id

    def _write(self, span: str, node: str, value: JSON, sources: list[str], weight: float = CONFIRMED) -> str:
        target = self._variable(f"{span}.out.{node}", value, f"channel `{node}` written by `{node}`", span=span)
        self._edges += [Edge(source, target, span, weight, "text") for source in sources]
        return target

    def _variable(self, id: str, value: JSON, role: str, *, span: str | None = None, site: Site | None = None) -> str:  # noqa: A002
        self._variables.append(Variable(id, value, role, span, site, requires_grad=site is not None))
        return id
