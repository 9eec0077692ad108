"""One redactor for what models and spans are shown; the graph is given what there is."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.security.worlds import GOAL, PROMPT, SITE, Obedient, optimizers, shop
from textgrad_lg import Evals, Example, MemoryRegistry, ProductionTrace, Score, Settings, TextLoss, learn, optimize
from textgrad_lg.autograd import backward, seed
from textgrad_lg.errors import DataError, JournalError
from textgrad_lg.events import BackwardFinished
from textgrad_lg.gradient import Gradient, Gradients
from textgrad_lg.optim import TGD, StepContext
from textgrad_lg.prompt import Demo, Template
from textgrad_lg.redact import WITHHELD, Redaction, in_force, redacting
from textgrad_lg.testing import ScriptedChatModel
from textgrad_lg.testing.traces import TraceBuilder
from textgrad_lg.types import Strategy
from textgrad_lg_integrations.gepa import optimize_with_gepa
from textgrad_lg_tracing import OTelCallback

SECRET = "Anna-4711"
STRATEGIES = [Strategy.CHAIN, Strategy.FUSED]


def hide(place: str, value: object) -> object:
    return re.sub(r"(?i)anna-4711", "[name]", value) if isinstance(value, str) else value


def asked(model) -> str:
    return "\n".join(
        message.text + json.dumps(request.options, default=str)
        for request in model.requests
        for message in request.messages
    )


# What of a run may be shown


def judged(secret: str = SECRET):
    """A judged run with a secret in every place that a stranger, a tool, a model or an evaluator can fill."""
    build = TraceBuilder("shop", example="e1")
    mail = build.input("mail", f"My parcel is late. {secret}")
    order = build.tool("orders", result={"customer": {"name": secret, "number": 3}}, reads=[mail])
    plan = build.llm("plan", reads=[mail, order], prompts={"plan/system": PROMPT}, reply=f"Ask {secret}.")
    answer = build.llm("answer", reads=[plan], prompts={"answer/system": PROMPT}, reply=f"Dear {secret}, sorry.")
    score = Score("settled", 0.0, f"{secret} is not settled.", expected={"answer": f"Paid back, {secret}."})
    return seed(build.finish({"answer": answer}), [score])


def test_ids_edges_sites_and_prompts_stay():
    trace = judged()
    seen = Redaction(hide, frozenset([PROMPT])).trace(trace)
    assert SECRET not in seen.to_json()
    assert SECRET in trace.to_json()
    assert [v.id for v in seen.variables] == [v.id for v in trace.variables]
    assert [v.site for v in seen.variables] == [v.site for v in trace.variables]
    assert (seen.edges, seen.inputs, seen.outputs) == (trace.edges, trace.inputs, trace.outputs)
    assert {str(v.value) for v in seen.parameters} == {PROMPT}
    assert Redaction().trace(trace) is trace


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=3, max_size=12))
@settings(max_examples=60, deadline=None)
def test_what_the_redactor_hides_is_nowhere(secret):
    secret = f"§{secret}§"
    trace = judged(secret)

    def without(place: str, value: object) -> object:
        return value.replace(secret, "") if isinstance(value, str) else value

    seen = Redaction(without).trace(trace).to_json()
    assert "§" not in seen
    assert len(json.loads(seen)["variables"]) == len(trace.variables)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", ["tgd", "patch", "joint", "momentum"])
async def test_neither_critic_nor_proposer_is_asked_with_it(strategy, name):
    model, trace = Obedient(payload="Say what happens next, and by when."), judged()
    seen = Redaction(hide, frozenset([PROMPT])).trace(trace)
    gradients = await backward(seen, model, strategy=strategy, goal=GOAL)
    shown = Redaction(hide)
    demos = (Demo((("human", f"I am {SECRET}"),), "Hello."), Demo((("human", "Hi"),), "Hello."))
    assert shown.demos(demos) == demos[1:]
    context = StepContext(
        {SITE: Template(PROMPT)},
        gradients,
        goal=GOAL,
        model=model,
        demos={SITE: shown.demos(demos)},
        examples=(shown.example(Example("e1", {"mail": SECRET}, {"answer": SECRET}, {"kind": 1})),),
        traces=(seen,),
        sources={},
    )
    proposals = await optimizers()[name].propose(context)
    assert model.requests
    assert proposals.updates or proposals.joint
    assert "anna" not in asked(model).casefold()
    assert "[name]" in asked(model)
    assert "anna" not in repr(proposals).casefold()


async def test_a_request_with_a_redactor():
    model = Obedient(payload="Be quick.")
    await backward(Redaction(hide, frozenset([PROMPT])).trace(judged()), model, strategy=Strategy.CHAIN)
    text = re.sub(r"[0-9a-f]{8}>>>", ">>>", model.requests[0].messages[-1].text)
    assert text == snapshot("""\
<<<DATA input of the whole system >>>
mail: My parcel is late. [name]
<<<END >>>

<<<DATA output of the whole system >>>
{"answer": "Dear [name], sorry."}
<<<END >>>

<<<DATA verdicts on the output of the whole system >>>
settled: score 0. [name] is not settled.
settled: expected {"answer": "Paid back, [name]."}
<<<END >>>

The step to criticise is a model call in `answer`.

<<<DATA P1: system prompt of `answer` >>>
You answer the mail of a shop. Be kind, and say what happens next.
<<<END >>>

<<<DATA V1: channel `plan` written by `plan` >>>
Ask [name].
<<<END >>>

<<<DATA reply of the call >>>
Dear [name], sorry.
<<<END >>>

<<<DATA feedback on it >>>
- [name] is not settled. (score 0, 1 example)
<<<END >>>

Give feedback on: P1, V1.\
""")


def test_what_was_hidden_whole_is_no_evidence():
    trace = judged()
    seen = Redaction(lambda place, value: "xx" if place.startswith("inputs.") else value).trace(trace)
    variables = [trace.inputs["mail"], trace.outputs["answer"], trace.parameters[0].id]
    gradients = Gradients(tuple(Gradient(name, "Say more.", "s1", trace.id) for name in variables))
    kept = Redaction(hide).evidence(gradients, trace, seen)
    assert [gradient.variable for gradient in kept] == variables[1:]
    assert Redaction().evidence(gradients, trace, trace) is gradients
    # A gap is none: what is left speaks.
    assert Redaction(hide).evidence(gradients, trace, Redaction(hide).trace(trace)) is gradients


def test_a_redactor_that_raises_withholds_the_value():
    def broken(place: str, value: object) -> object:
        raise RuntimeError(f"no place for {value}")

    seen = Redaction(broken).trace(judged())
    assert SECRET not in seen.to_json()
    assert seen.variable_by_id[seen.inputs["mail"]].value == WITHHELD
    assert Redaction(lambda place, value: [value]).value("a", 1) == "[1]"


def test_messages_keep_what_they_are_told_apart_by():
    call = {"id": "c1", "name": "find", "type": "tool_call", "args": {"who": SECRET}}
    message: dict[str, Any] = {"role": "ai", "id": SECRET, "content": [{"type": "text", "text": SECRET}, SECRET]}
    found = Redaction(hide).value("variable.v", {**message, "tool_calls": [call], "name": SECRET})
    assert found == {
        "role": "ai",
        "id": SECRET,
        "content": [{"type": "text", "text": "[name]"}, "[name]"],
        "tool_calls": [{"id": "c1", "name": "find", "type": "tool_call", "args": {"who": "[name]"}}],
        "name": "[name]",
    }


def test_the_place_says_where():
    places: list[str] = []
    Redaction(lambda place, value: places.append(place) or value).trace(judged())
    assert places[:4] == snapshot(
        [
            "inputs.mail",
            "variable.s1.out.customer.name",
            "variable.s1.out.customer.number",
            "variable.s3.in0",
        ]
    )
    assert any(place.endswith(".comment") for place in places)


# A whole run


def examples(count: int = 30):
    return [
        Example(f"e{at}", {"mail": f"{SECRET}: parcel {at}"}, {"reply": f"Paid, {SECRET}, {at}."})
        for at in range(count)
    ]


def replies():
    def reply(messages):
        return f"{'Dear' if messages[0].text == PROMPT else 'Next, dear'} {SECRET}, we are sorry."

    return ScriptedChatModel(replies=reply, model_name="shop")


def settled(outputs, reference_outputs):
    return outputs["reply"] == reference_outputs["reply"], f"{SECRET} was promised {reference_outputs['reply']}"


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", ["tgd", "joint", "momentum"])
def test_a_run_shows_it_to_the_graph_alone(name, strategy, tmp_path):
    critic, model, events = Obedient(payload="Say what happens next."), replies(), []
    exported = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    optimize(
        shop(model),
        Evals(examples(), [settled, TextLoss("The case is settled.")], goal=GOAL),
        model=critic,
        optimizer=optimizers()[name],
        settings=Settings(steps=2, batch=3, strategy=strategy, redactor=hide),
        registry=MemoryRegistry(),
        run_dir=tmp_path,
        callbacks=[events.append, OTelCallback(provider, content=True)],
    )
    assert SECRET in asked(model)
    assert critic.requests
    assert SECRET not in asked(critic)
    assert any("judge" in request.messages[0].text.casefold() for request in critic.requests)
    # Observers are told what was recorded; spans show what the run's redactor lets through.
    assert any(SECRET in event.trace.to_json() for event in events if isinstance(event, BackwardFinished))
    spans = exported.get_finished_spans()
    assert any("[name]" in str(dict(span.attributes or {})) for span in spans)
    assert not any(SECRET in span.to_json() for span in spans)


def test_a_run_that_had_one_is_not_gone_on_with_without(tmp_path):
    def run(redactor):
        return optimize(
            shop(replies()),
            Evals(examples(), settled),
            model=Obedient(payload="Say what happens next."),
            settings=Settings(steps=1, batch=3, redactor=redactor),
            registry=MemoryRegistry(),
            run_dir=tmp_path,
        )

    run(hide)
    with pytest.raises(JournalError, match="redactor"):
        run(None)
    assert run(lambda place, value: value).run_dir == tmp_path
    assert "hide" not in "".join(path.read_text(errors="ignore") for path in tmp_path.iterdir() if path.is_file())


def mailbox():
    found: list[ProductionTrace] = []
    for at in range(12):
        build = TraceBuilder("shop", id=f"{at:032x}")
        mail = build.input("mail", f"{SECRET}: parcel {at}")
        answer = build.llm("answer", reads=[mail], prompts={"answer/system": PROMPT}, reply=f"Dear {SECRET}, sorry.")
        said = Score("user", 0.0, f"{SECRET} is not settled.")
        trace = build.finish({"reply": answer})
        # What the model was sent beside its prompt, as a recording has it.
        human = {"role": "human", "content": f"{SECRET}: parcel {at}", "id": None}
        spans = [
            replace(
                span, attributes={**span.attributes, "messages": [*cast("Any", span.attributes["messages"]), human]}
            )
            if span.kind == "llm"
            else span
            for span in trace.spans
        ]
        found.append(ProductionTrace(replace(trace, spans=tuple(spans)), (said,)))
    return found


@pytest.mark.parametrize("production", [True, False])
def test_learning_without_a_graph_shows_it_to_the_model_of_production_alone(production, tmp_path):
    critic, answers = _Both(payload="Say what happens next."), replies()
    learn(
        None,
        mailbox(),
        model=critic,
        answers=answers if production else None,
        settings=Settings(steps=1, batch=4, redactor=hide),
        registry=MemoryRegistry(),
        run_dir=tmp_path,
    )
    kinds = "\n".join(request.messages[0].text for request in critic.requests)
    assert "compare two replies" in kinds
    assert SECRET not in asked(critic)
    assert (SECRET in asked(answers)) is production


class _Both(Obedient):
    """A critic that also answers the recorded calls."""

    def _reply(self, messages, at):
        if not self.requests[-1].options.get("tools"):
            return f"{'Next, we' if messages[0].text != PROMPT else 'We'} are sorry, {SECRET}."
        return super()._reply(messages, at)


def test_it_is_in_force_within_a_run_alone():
    assert in_force() is None
    with redacting(hide):
        assert in_force() is hide
    assert in_force() is None


def test_bad_input():
    with pytest.raises(DataError, match="function of a place and a value"):
        Settings(redactor="names")  # pyright: ignore[reportArgumentType]
    assert Settings(redactor=hide).to_json()["redactor"] is True
    assert "redactor" not in Settings().to_json()


def test_gepa_is_shown_it_neither():
    seen: list[str] = []

    def reflection(prompt):
        seen.append(str(prompt))
        return f"```\n{PROMPT} Say what happens next, and by when.\n```"

    def odd(inputs, outputs):
        return int(inputs["mail"].split()[-1]) % 2, f"{SECRET} got {outputs['reply']}"

    critic, model = Obedient(payload="Say what happens next."), replies()
    optimize_with_gepa(
        shop(model),
        Evals(examples(), odd, goal=GOAL),
        reflection_lm=reflection,
        model=critic,
        settings=Settings(batch=3, strategy=Strategy.CHAIN, redactor=hide),
        budget="80 calls",
    )
    assert seen
    assert critic.requests
    assert SECRET not in asked(critic)
    assert not any(SECRET in prompt for prompt in seen)
    assert any("This run passed" in prompt for prompt in seen)
    assert SECRET in asked(model)


class Spy(TGD):
    """Looks at what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.contexts: list[StepContext] = []

    async def propose(self, context: StepContext):
        self.contexts.append(context)
        return await super().propose(context)


def test_nothing_that_an_optimizer_is_given_holds_it():
    def odd(inputs, outputs):
        return int(inputs["mail"].split()[-1]) % 2, f"{SECRET} got {outputs['reply']}"

    def run(redactor):
        spy = Spy()
        optimize(
            shop(replies()),
            Evals(examples(), odd, goal=GOAL),
            model=Obedient(payload="Say what happens next."),
            optimizer=spy,
            settings=Settings(steps=1, batch=6, redactor=redactor),
            registry=MemoryRegistry(),
        )
        (context,) = spy.contexts
        return context

    context, plain = run(hide), run(None)
    for part in ("examples", "traces", "gradients", "demos"):
        assert SECRET not in repr(getattr(context, part)), part
    for part in ("examples", "traces", "demos"):
        assert SECRET in repr(getattr(plain, part)), part
    assert [example.id for example in context.examples] == [example.id for example in plain.examples]
