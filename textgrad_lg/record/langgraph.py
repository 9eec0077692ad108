"""A recorded run of a LangGraph graph as a Trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from langgraph.types import Command

from textgrad_lg.record.calls import add_llm, close_tool, open_tool
from textgrad_lg.record.channels import Channels
from textgrad_lg.record.control import choices_before, link_choices, link_ending
from textgrad_lg.record.draft import Draft, dotted, error_text, failed
from textgrad_lg.record.lineage import Scope
from textgrad_lg.record.nodes import (
    echoes,
    interrupted_with,
    is_pushed,
    joined,
    leaves,
    node_attributes,
    node_name,
    quoted,
    stands_for,
    task_path,
)
from textgrad_lg.record.notes import PREVIOUS
from textgrad_lg.record.order import step_of, tasks
from textgrad_lg.record.prompts import pulled_from
from textgrad_lg.record.routes import Route, choice, choosers, gotos, sender, split_routers
from textgrad_lg.record.settings import link_held
from textgrad_lg.record.state import INTERRUPT, RESUME, Done, Graph, Pending, enter_step, read
from textgrad_lg.record.uses import add_uses, link_uses
from textgrad_lg.record.values import overwrites, same, state_fields, update_fields
from textgrad_lg.trace import Trace
from textgrad_lg.types import JSON, SpanKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textgrad_lg.record.runs import Run


def to_trace(root: Run, *, id: str, example: str | None = None) -> Trace:  # noqa: A002  the name of Trace's field
    """The Trace of an outermost run that has ended.

    The order of Spans, and so every id, is that of the graph's steps and of its code; timing has no part in it.
    """
    return _Reader(root).read(id, example)


class _Reader:
    """Walks the runs of one outermost run, in order, and writes them into a Draft."""

    def __init__(self, root: Run) -> None:
        self._root = root
        self._draft = Draft(root)
        self._lineage = self._draft.lineage
        self._convert = self._draft.convert

    def read(self, id: str, example: str | None) -> Trace:  # noqa: A002
        root = self._root
        if root.kind == "chain":
            inputs, outputs = self._graph(root, None, None)
        else:
            # A model or tool that was called outside any graph.
            inputs, scope = dict[str, str](), Scope({})
            self._child(root, None, scope)
            outputs = {"": scope.products[-1]} if scope.products else {}
        return Trace(
            id=id,
            name=self._draft.spans[0].name,
            spans=tuple(self._draft.spans),
            variables=tuple(self._lineage.variables.values()),
            edges=tuple(self._lineage.edges()),
            inputs=inputs,
            outputs=outputs,
            example=example,
            warnings=tuple(self._convert.warnings),
            started=root.start,
        )

    # Graphs

    def _graph(self, run: Run, parent: str | None, scope: Scope | None) -> tuple[dict[str, str], dict[str, str]]:
        """Add a graph run; returns the Variables of its input and of its output, by field."""
        span = self._draft.open(run, SpanKind.GRAPH, run.name or "graph", parent).id
        graph = Graph(run, span, Channels(self._convert), scope)
        inputs: dict[str, str] = {}
        for name, value in state_fields(run.inputs):
            entered = self._enter(span, name, value, f"input {quoted(name)}", scope)
            inputs[name] = entered
            graph.channels.write(name, entered, value, -1)
        resumed = isinstance(run.inputs, Command) and "resume" in inputs
        graph.resume = [inputs["resume"]] if resumed else (scope.reads.get(RESUME, []) if scope else [])
        if any(child.is_node for child in run.children):
            self._steps(graph)
            outputs = self._outputs(graph)
        else:
            inner = Scope({name: [entered] for name, entered in inputs.items()})
            add_uses(self._draft, run, span, inner)
            self._children(run, run.children, span, inner)
            outputs = {
                name: self._write(span, name, value, f"output {quoted(name)}", inner)
                for name, value in state_fields(run.outputs)
            }
        if failed(run) and not outputs:
            outputs = self._failure(graph)
        if scope is not None:
            scope.products += outputs.values()
        return inputs, outputs

    def _steps(self, graph: Graph) -> None:
        for step in tasks([child for child in graph.run.children if child.is_node]):
            graph.present = tuple(node_name(task[0]) for task in step)
            number = step_of(step[0][0])
            enter_step(graph, number, step[0][0].metadata)
            routes: list[Route] = []
            behind: list[list[Route]] = []
            writes: list[Pending] = []
            visits: dict[str, int] = {}
            for task in step:
                name = node_name(task[0])
                if name == "__start__":
                    routes += self._routers(task[-1], graph, graph.span, {}, Scope({}))
                    continue
                first: int | None = None
                for attempt in task[:-1]:
                    first = self._node(attempt, graph, first, last=False).visit
                done = self._node(task[-1], graph, first, last=True)
                writes += done.writes
                routes += done.routes
                behind.append(done.behind)
                visits[name] = graph.channels.count
            for at in writes:
                graph.channels.write(at.channel, at.variable, at.value, number, new=at.new, replace=at.replace)
            graph.visited |= visits
            graph.routes = routes
            # Only where every task was chosen it is clear that what comes next depends on a choice.
            graph.behind = list({at.variable: at for found in behind for at in found}.values()) if all(behind) else []
            graph.wrote = frozenset(at.variable for at in writes)
            graph.resume = []

    def _outputs(self, graph: Graph) -> dict[str, str]:
        outputs: dict[str, str] = {}
        for name, value in state_fields(graph.run.outputs):
            writes = read(self._draft, graph, name, value)
            known = self._convert.json(value, f"output `{name}`")
            outputs[name] = self._lineage.add(
                dotted(graph.span, "out", name), known, f"output {quoted(name)}", span=graph.span
            )
            self._lineage.carry(outputs[name], graph.span, [at.variable for at in writes])
            link_ending(self._lineage, graph, outputs[name])
        return outputs

    def _failure(self, graph: Graph) -> dict[str, str]:
        """The output of a graph that raised: the error, linked to the node that raised it, so that blame has a start."""
        text = error_text(graph.run) or ""
        name = self._lineage.add(f"{graph.span}.out.error", text, "error of the run", span=graph.span)
        source = graph.errors.get(id(graph.run.error))
        if source is not None:
            self._lineage.link(source, name, graph.span, "value")
        return {"error": name}

    # Nodes

    def _node(self, run: Run, graph: Graph, visit: int | None, *, last: bool) -> Done:
        """Add one attempt at a task."""
        name = node_name(run)
        span = self._draft.open(run, SpanKind.NODE, name, graph.span, attributes=self._told(run), visit=visit)
        chosen_by: list[Route]
        handled = stands_for(run)
        if is_pushed(run):
            sent = sender(graph.routes, run, name)
            chosen_by = [sent] if sent else []
            scope = self._pushed(run, graph, span.id, sent)
        else:
            chosen_by = choosers(graph.routes, str(handled[1]) if handled else name, graph.present)
            scope = self._pulled(run, graph, name)
        if graph.resume:
            scope.reads[RESUME] = graph.resume
        if handled is not None and handled in graph.failures:
            scope.reads["error"] = [graph.failures[handled]]
        add_uses(self._draft, run, span.id, scope)
        own, _ = split_routers(run)
        self._children(run, own, span.id, scope)
        error: list[str] = []
        if failed(run) and last:
            error = [self._error(run, span.id, scope)]
            graph.errors[id(run.error)] = graph.failures[task_path(run)] = error[0]
        asked = interrupted_with(run)
        if asked:
            question = self._write(span.id, INTERRUPT, asked, f"what `{name}` asked a person", scope)
            if graph.scope is not None:
                graph.scope.products.append(question)
        if not last:
            return Done(span.visit)
        writes = self._writes(run, graph, span.id, scope)
        written = {at.channel: at.variable for at in writes}
        routes = self._goto(run, span.id, scope, written)
        every = (*written.values(), *(route.variable for route in routes), *error)
        chosen_by = chosen_by or choices_before(self._lineage, graph, run, scope, every)
        link_choices(self._lineage, chosen_by, every, span.id)
        return Done(span.visit, writes, [*routes, *self._routers(run, graph, span.id, written, scope)], chosen_by)

    def _told(self, run: Run) -> dict[str, JSON]:
        """What is said about a task. Its triggers are the same in each turn of a loop, and then one object."""
        told = node_attributes(run, self._convert)
        triggers = cast("list[JSON]", told["triggers"])
        return {**told, "triggers": self._draft.once(triggers, ("triggers", *map(str, triggers)))}

    def _error(self, run: Run, span: str, scope: Scope) -> str:
        """Add the exception of a node or `@task` that failed for good."""
        text = error_text(run) or ""
        told = text.partition(": ")[2] or None
        error = self._lineage.add(f"{span}.error", text, f"error of `{node_name(run)}`", span=span, new=told)
        self._lineage.explain(error, span, scope)
        return error

    def _pulled(self, run: Run, graph: Graph, name: str) -> Scope:
        """The scope of a task that read its graph's channels."""
        values = dict(state_fields(run.inputs))
        if PREVIOUS in run.extra:
            values[PREVIOUS] = run.extra[PREVIOUS]
        reads: dict[str, list[str]] = {}
        fresh: set[str] = set()
        since = graph.visited.get(name, -1)
        for channel, value in values.items():
            writes = read(self._draft, graph, channel, value)
            reads[channel] = [at.variable for at in writes]
            # What only might have been used is linked once in a loop, at the first visit after it was written: else a
            # long loop over a growing list would have as many such edges as the square of its length.
            recent = {at.variable for at in graph.channels.last(channel)}
            fresh |= recent | {at.variable for at in writes if at.order >= since}
        return Scope(reads, fresh=frozenset(fresh), values=values)

    def _pushed(self, run: Run, graph: Graph, span: str, sent: Route | None) -> Scope:
        """The scope of a task that was handed a value of its own by `Send`."""
        names = sent.sources if sent else tuple(at.variable for at in graph.channels.latest())
        origin = Scope({"": list(names)})
        reads = {
            name: [self._enter(span, name, value, f"{quoted(name)} sent to `{node_name(run)}`", origin)]
            for name, value in state_fields(run.inputs)
        }
        return Scope(reads, values=dict(state_fields(run.inputs)))

    def _writes(self, run: Run, graph: Graph, span: str, scope: Scope) -> list[Pending]:
        leaving = leaves(run)
        source = run.handoff if run.handoff is not None else run.outputs
        if run.handoff is None and run.error is not None:
            return []
        values: dict[str, list[Any]] = {}
        for name, value in update_fields(source):
            values.setdefault(name, []).append(value)
        echo = echoes(run, values, scope)
        found: list[Pending] = []
        for name, parts in values.items():
            replace, value = overwrites(parts[-1]) if len(parts) == 1 else (False, joined(parts))
            if echo and name in scope.values and same(value, scope.values[name]):
                continue
            new = value if replace else graph.channels.new(name, value, scope.values.get(name))
            role = f"channel `{name}` written by `{node_name(run)}`" if name else f"written by `{node_name(run)}`"
            variable = self._write(span, name, value, role, scope, new=new)
            if leaving:
                # For the graph around this one: the node there that holds this graph makes the write.
                if graph.scope is not None:
                    graph.scope.products.append(variable)
            else:
                found.append(Pending(name, variable, value, new, replace))
        if leaving and not values and graph.scope is not None:
            # It wrote nothing, and still it chose where to go: what it made is behind that choice.
            graph.scope.products += scope.products
        return found

    def _goto(self, run: Run, span: str, scope: Scope, written: dict[str, str]) -> list[Route]:
        """The choice that a node made by a `Command`."""
        if leaves(run) or failed(run):
            return []
        targets = gotos(run.handoff if run.handoff is not None else run.outputs)
        if not targets:
            return []
        value = self._convert.json(targets if len(targets) > 1 else targets[0], "goto")
        name = self._lineage.add(f"{span}.goto", value, f"next node, chosen by `{node_name(run)}`", span=span)
        self._lineage.explain(name, span, scope)
        sources = (*written.values(), *scope.products, *scope.given())
        return [Route(name, *choice(targets), tuple(dict.fromkeys(sources)))]

    def _routers(self, run: Run, graph: Graph, span: str, written: dict[str, str], scope: Scope) -> list[Route]:
        """The routers of the conditional edges that leave a node. They read the state with the node's writes in it."""
        routes: list[Route] = []
        _, routers = split_routers(run)
        for router in self._draft.arranged(run, routers):
            name = router.name if router.name not in ("", "RunnableCallable", "RunnableLambda") else "router"
            own = self._draft.open(router, SpanKind.FUNCTION, name, span)
            values = dict(state_fields(router.inputs))
            reads: dict[str, list[str]] = {}
            for channel, value in values.items():
                before = scope.reads.get(channel)
                if channel in written:
                    reads[channel] = [written[channel]]
                elif before is not None:
                    reads[channel] = before
                else:
                    writes = read(self._draft, graph, channel, value)
                    reads[channel] = [at.variable for at in writes]
            inner = Scope(reads, fresh=scope.fresh and scope.fresh | frozenset(written.values()), values=values)
            add_uses(self._draft, router, own.id, inner)
            self._children(router, router.children, own.id, inner)
            if router.error is not None or router.end is None:
                continue
            variable = self._write(own.id, "", router.outputs, f"next node, chosen by `{name}`", inner)
            sources = (*written.values(), *inner.products, *scope.products, *inner.given())
            routes.append(Route(variable, *choice(router.outputs), tuple(dict.fromkeys(sources))))
        return routes

    # What runs inside

    def _children(self, run: Run, children: Sequence[Run], parent: str | None, scope: Scope) -> None:
        """Add what ran inside a run. LangChain's own plumbing is left out, and what ran inside that is not."""
        # A `@task` that was tried again has the same namespace again.
        final = {child.namespace: child for child in children if child.is_node}
        visits: dict[str, int] = {}
        todo = self._draft.arranged(run, children)[::-1]
        while todo:
            child = todo.pop()
            if child.is_node:
                last = final.get(child.namespace) is child
                visit = visits.get(child.namespace)
                visits[child.namespace] = self._task(child, parent, scope, visit, last=last)
            elif child.kind == "chain" and not any(inner.is_node for inner in child.children):
                add_uses(self._draft, child, parent, scope)
                todo += self._draft.arranged(child)[::-1]
            else:
                self._child(child, parent, scope)

    def _child(self, run: Run, parent: str | None, scope: Scope) -> None:
        match run.kind:
            case "llm":
                made = add_llm(self._draft, run, parent, scope)
                scope.products += [made] if made else []
            case "tool" | "retriever":
                call = open_tool(self._draft, run, parent, scope)
                used = add_uses(self._draft, run, call.span.id, call.scope)
                self._children(run, run.children, call.span.id, call.scope)
                made = close_tool(self._draft, run, call)
                link_uses(self._draft, used, made, call.span.id, call.scope)
                scope.products += [made] if made else []
            case "prompt":
                variables = self._convert.json(run.inputs, f"variables of `{run.name}`")
                pulled = pulled_from(run.metadata)
                self._draft.template[id(run.parent)] = {
                    "template_variables": variables,
                    **({"template_source": pulled} if pulled else {}),
                }
                add_uses(self._draft, run, parent, scope)
            case _:
                self._graph(run, parent, scope)

    def _task(self, run: Run, parent: str | None, scope: Scope, visit: int | None, *, last: bool) -> int:
        """Add one attempt at a `@task` of the functional API; returns its visit.

        Its arguments come from the code that called it, not from channels.
        """
        name = node_name(run)
        opened = self._draft.open(run, SpanKind.NODE, name, parent, attributes=self._told(run), visit=visit)
        span = opened.id
        reads = {
            field: [self._enter(span, field, value, f"argument `{field}` of `{name}`", scope)]
            for field, value in state_fields(run.inputs)
        }
        inner = Scope(reads)
        add_uses(self._draft, run, span, inner)
        self._children(run, run.children, span, inner)
        if last and run.error is None and run.end is not None:
            scope.products.append(self._write(span, "", run.outputs, f"result of `{name}`", inner))
        elif last and failed(run):
            # The code that called it may have gone on with something else instead.
            scope.products.append(self._error(run, span, inner))
        return opened.visit

    def _enter(self, span: str, name: str, value: Any, role: str, scope: Scope | None) -> str:
        """Add a value that enters a graph, task or node from `scope`."""
        variable = self._lineage.add(dotted(span, "in", name), self._convert.json(value, role), role)
        if scope is not None:
            unchanged = name in scope.values and same(value, scope.values[name])
            self._lineage.enter(variable, span, scope, same=scope.reads.get(name, ()) if unchanged else ())
        return variable

    def _write(self, span: str, name: str, value: Any, role: str, scope: Scope, *, new: Any = None) -> str:
        """Add a value that was made in `scope`."""
        known = None if new is None or new is value else self._convert.json(new, role)
        variable = self._lineage.add(
            dotted(span, "out", name), self._convert.json(value, role), role, span=span, new=known
        )
        self._lineage.explain(variable, span, scope, name or None)
        link_held(self._draft, variable, span, scope)
        return variable
