"""What TextGrad gets wrong, and this library does not: A1 to A22.

Each docstring says what textgrad 0.1.8 did when an equal probe was run against it with engines that count their calls.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import subprocess
import sys
from typing import Any

import pytest

import textgrad_lg.eager as tg
from textgrad_lg.eager.engine import ChatEngine, ReplyCache
from textgrad_lg.errors import UnusableReply
from textgrad_lg.llm import ask
from textgrad_lg.optim.edit import EditLimits
from textgrad_lg.testing import ScriptedChatModel
from textgrad_lg.testing.models import DoubleChatModel

from .support import asked, fixed, judged, kind, model, text

WORDS = " ".join(f"word{at}" for at in range(100))


def every_word(request):
    return all(f"word{at}" in request for at in range(100))


def test_a1_the_memory_of_feedback_is_in_the_next_request():
    """0.1.8: `gradient_memory=3`; the first step's feedback was not in the second step's request."""
    engine = model(new=lambda messages: f"version {len(messages[-1].text)}")
    draft = text("draft")
    optimizer = tg.TGD([draft], engine=engine, gradient_memory=3)
    judged(draft, "FIRST")
    optimizer.step()
    optimizer.zero_grad()
    judged(draft, "SECOND")
    optimizer.step()
    first, second = asked(engine, "step")
    assert "step ago" not in first
    assert "FIRST" in second
    assert "SECOND" in second
    assert [one["value"] for one in optimizer.gradient_memory_dict[draft]] == [
        "- FIRST (1 example)",
        "- SECOND (1 example)",
    ]


def test_a2_the_momentum_optimizer_sends_its_request_and_takes_an_empty_window():
    """0.1.8: the engine was called with None; `momentum_window=0` raised a TypeError."""
    engine = model(new="second")
    draft = judged(text("first"), "too short")
    optimizer = tg.TextualGradientDescentwithMomentum(engine, [draft], momentum_window=2)
    optimizer.step()
    optimizer.zero_grad()
    judged(draft, "still too short")
    engine.replies = lambda messages: {"why": "", "text": "third"}
    optimizer.step()
    assert draft.value == "third"
    last = asked(engine, "step")[-1]
    assert "version 1 step ago" in last
    assert "first\n" in last
    assert "- too short" in last
    plain = judged(text("a"), "b")
    tg.TextualGradientDescentwithMomentum(engine, [plain], momentum_window=0).step()
    assert plain.value == "third"


def test_a3_aggregate_over_a_batch_shows_all_of_its_feedback():
    """0.1.8: of 8 judged examples, feedback of 1 reached the prompt."""
    engine = model(call=lambda messages: f"reply to {messages[-1].text}", said="For this one")
    prompt = text("Be brief.", "prompt")
    llm = tg.BlackboxLLM(engine, prompt)
    losses = [tg.TextLoss("Judge it.", engine)(llm(fixed(f"question {at}"))) for at in range(8)]
    engine.replies = _numbered(engine.replies)
    tg.aggregate(losses).backward(engine)
    (request,) = asked(engine, "merge")
    assert all(f"<<<DATA feedback {at} " in request for at in range(1, 9))
    assert len(set(_said(request))) == 8
    assert prompt.get_gradient_text() == "all of it"
    (merged,) = prompt.gradients
    assert isinstance(merged, tg.Feedback)
    assert len(merged.sources) == 8


def _numbered(replies):
    """The replies, with each piece of feedback told apart."""
    count = iter(range(1000))

    def reply(messages):
        made = replies(messages)
        for item in made.get("about_this", []) if isinstance(made, dict) else []:
            item["feedback"] += f" No. {next(count)}."
        return made

    return reply


def _said(request):
    return [line for line in request.splitlines() if line.startswith("For this one")]


def test_a4_sum_delivers_each_feedback_once_and_each_loss_is_the_objective():
    """0.1.8: a summed loss got 2 empty gradients, and its judge was then asked with an empty objective."""
    engine = model(call="The judge's words.")
    solution = text("x = 3", "solution")
    losses = [tg.TextLoss("Find the errors.", engine)(solution) for _ in range(2)]
    tg.sum(losses).backward(engine)
    assert [feedback.text for feedback in solution.gradients] == ["The judge's words."] * 2
    assert [list(loss.gradients) for loss in losses] == [[], []]
    one = text("x = 3", "solution")
    tg.sum([tg.TextLoss("Find the errors.", engine)(one)]).backward(engine)
    assert [feedback.text for feedback in one.gradients] == ["The judge's words."]
    assert asked(engine, "critic") == []


def test_a5_the_optimizer_sees_the_whole_text():
    """0.1.8: of a text of 100 words, the first and last 10 were in the request."""
    engine = model()
    draft = judged(text(WORDS), "shorter")
    tg.TGD([draft], engine=engine).step()
    assert every_word(asked(engine, "step")[0])


def test_a6_a_functions_inputs_are_seen_whole_or_cut_where_it_is_said():
    """0.1.8: of an input of 100 words, the first and last 10 were in the request."""
    engine = model()
    check = tg.StringBasedFunction(lambda code: "0", "runs the tests")
    check({"code": text(WORDS)}).backward(engine)
    assert every_word(asked(engine, "critic")[0])
    check({"code": text(WORDS)}).backward(engine, excerpt=50)
    assert "characters cut ...]" in asked(engine, "critic")[1]
    long = text(WORDS * 10)
    check({"code": long}).backward(engine, excerpt=5_000)
    assert long.value in asked(engine, "critic")[2]


def test_a7_a_parameter_without_feedback_costs_no_call_and_is_not_changed():
    """0.1.8: 1 call was made, and the value was overwritten."""
    engine = model(call="Fine.")
    prompt = text("Be brief.", "prompt")
    silent = ScriptedChatModel(replies=[{"about_this": [], "about_inputs": []}])
    tg.TextLoss("Judge.", engine)(tg.BlackboxLLM(engine, prompt)(fixed("q"))).backward(silent)
    tg.TGD([prompt], engine=engine).step()
    assert (prompt.value, asked(engine, "step")) == ("Be brief.", [])


@pytest.mark.parametrize(
    "bad",
    [
        "no form at all",
        '{"text": ""}',
        {"why": "", "text": ""},
        '{"why": "x", "text": "unclosed',
        "I put it in <IMPROVED_VARIABLE> tags.",
    ],
)
def test_a8_an_unusable_reply_is_asked_for_again(bad):
    """0.1.8: IndexError; value became ""; an unclosed tag's text was taken; the text "tags." was taken."""
    draft = judged(text("draft"), "better")
    engine = ScriptedChatModel(replies=[bad, {"why": "", "text": "good"}])
    tg.TGD([draft], engine=engine).step()
    assert draft.value == "good"


@pytest.mark.parametrize("bad", ["never any form", {"why": "", "text": ""}])
def test_a8_a_step_changes_all_parameters_or_none(bad):
    """0.1.8: with two parameters and a bad reply for the second, the first was changed."""
    first, second = judged(text("a", "first"), "x"), judged(text("b", "second"), "x")
    engine = ScriptedChatModel(replies=lambda m: bad if "the second" in m[1].text else {"why": "", "text": "changed"})
    with pytest.raises((tg.StepRefused, UnusableReply)):
        tg.TGD([first, second], engine=engine).step()
    assert (first.value, second.value) == ("a", "b")


def test_a9_differentiating_twice_does_not_double_and_zero_grad_clears_all():
    """0.1.8: 2 gradients after two passes over one loss; 2 contexts were left after zero_grad."""
    engine = model(call="Wrong.")
    solution = text("x")
    loss = tg.TextLoss("Judge.", engine)(solution)
    loss.backward(engine)
    loss.backward(engine)
    assert len(solution.gradients) == 1
    tg.TextLoss("Judge again.", engine)(solution).backward(engine)
    assert len(solution.gradients) == 2
    optimizer = tg.TGD([solution], engine=engine)
    optimizer.zero_grad()
    assert (solution.gradients, solution.reached, solution.get_gradient_text()) == ([], False, "")


def test_a10_what_leads_to_nothing_trainable_costs_nothing():
    """0.1.8: a chain of three calls and a judge without a trainable text cost 3 backward calls."""
    engine = model()
    llm = tg.BlackboxLLM(engine)
    tg.TextLoss("Judge.", engine)(llm(llm(llm(fixed("q"))))).backward(engine)
    assert asked(engine, "critic") == []
    prompt = text("Be brief.", "prompt")
    side = llm(llm(fixed("side")))
    reply = tg.FormattedLLMCall(engine, "{a} {b}", ["a", "b"], prompt)({"a": side, "b": fixed("q")})
    tg.TextLoss("Judge.", engine)(reply).backward(engine)
    assert len(asked(engine, "critic")) == 1
    assert list(side.gradients) == []


def test_a11_braces_in_any_text_are_text_and_roles_stay():
    """0.1.8: KeyError in all three; the loss changed the role of what it was given."""
    engine = model(call=lambda messages: messages[-1].text)
    call = tg.FormattedLLMCall(engine, 'Reply as {"ok": true}: {x}', ["x"])
    assert call({"x": text("{y}")}).value == 'Reply as {"ok": true}: {y}'
    assert '{"a": 1}' in tg.MultiChoiceTestTime('Use {"a": 1}', engine)("q {z}", text("p {0}")).value
    mine = text("1", "mine")
    compared = tg.MultiFieldEvaluation("Compare {these}.", ["a.b", "c[0]{d}"], engine)([mine, text("{2}")])
    assert compared.value == "Compare {these}.\n**a.b**: 1\n**c[0]{d}**: {2}"
    assert mine.role_description == "mine"
    assert tg.FormattedLLMCall(engine, "{{x}} {x}", ["x"])({"x": text("1")}).value == "{x} 1"


def test_a12_a_graph_ten_thousand_deep_is_differentiated():
    """0.1.8: RecursionError at a depth of 1,500."""
    first = text("a", "first")
    value = first
    for _ in range(10_000):
        value = tg.majority_vote([value])
    engine = model(call="Wrong.")
    loss = tg.TextLoss("Judge.", engine)(value)
    loss.backward(engine)
    assert first.get_gradient_text() == "Wrong."
    assert loss.generate_graph().source.count("->") == 10_002


ORDER = """
import hashlib
import textgrad_lg.eager as tg
from tests.eager.support import model, text
engine = model(call="reply")
parts = {f"f{n}": text(f"part {n}", f"role {n}") for n in range(6)}
call = tg.FormattedLLMCall(engine, " ".join("{%s}" % name for name in parts), list(parts))
total = tg.sum([call(parts, f"result {n}") for n in range(3)])
total.backward(engine)
tg.TGD(list(parts.values()), engine=engine).step()
print(total.role_description, hashlib.sha256("".join(sorted(map(str, engine.requests))).encode()).hexdigest())
"""


def test_a13_equal_inputs_give_equal_requests_in_every_process():
    """0.1.8: five processes with different hash seeds gave 5 different logs of requests."""
    runs = {
        subprocess.run(
            [sys.executable, "-c", ORDER],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1
    assert "role" not in runs.pop().split()[-1]


class Counted(DoubleChatModel):
    """Replies with its number, and has settings that its provider would see."""

    temperature: float = 0.0

    @property
    def _identifying_params(self):
        return {"model_name": self.model_name, "temperature": self.temperature}

    def _reply(self, messages, at):
        return json.dumps({"why": "", "text": str(at)})


CACHED = """
import sys
from tests.eager.test_defects import Counted
from textgrad_lg.eager.engine import ChatEngine, ReplyCache
engine = ChatEngine(Counted(cache=ReplyCache(sys.argv[1])))
print(engine.generate("ab", system_prompt="c"), len(engine.model.requests))
"""


async def test_a14_the_cache_knows_the_whole_call_and_holds_across_processes(tmp_path):
    """0.1.8: three processes gave three keys for one call; another temperature gave the first one's reply."""
    cache = ReplyCache(tmp_path / "deep" / "replies.sqlite")
    counted = Counted(cache=cache)
    engine = ChatEngine(counted)

    def calls():
        return len(counted.requests)

    first = engine.generate("ab", system_prompt="c")
    assert (engine.generate("ab", system_prompt="c"), calls()) == (first, 1)
    run = subprocess.run([sys.executable, "-c", CACHED, str(cache.path)], capture_output=True, text=True, check=True)  # noqa: ASYNC221  nothing else runs
    assert run.stdout.split() == [*first.split(), "0"]
    engine.generate("b", system_prompt="ca")
    engine.generate("ab", system_prompt="c", stop=["x"])
    engine.generate("ab", system_prompt="c", tools=[{"type": "function", "function": {"name": "f"}}])
    assert calls() == 4
    from textgrad_lg.eager.optimizer.request import NewText

    await ask(engine.model, [], NewText)
    await ask(engine.model, [], NewText)
    assert calls() == 5
    hot = Counted(cache=cache, temperature=1.0)
    ChatEngine(hot).generate("ab", system_prompt="c")
    other = Counted(cache=cache, model_name="other")
    ChatEngine(other).generate("ab", system_prompt="c")
    assert (len(hot.requests), len(other.requests)) == (1, 1)
    off = Counted()
    for _ in range(2):
        ChatEngine(off).generate("ab", system_prompt="c")
    assert len(off.requests) == 2
    cache.clear()
    engine.generate("ab", system_prompt="c")
    assert calls() == 6


def test_a15_an_error_that_would_come_again_surfaces_unchanged_at_once():
    """0.1.8: 5 calls and 7.6 seconds, and then a RetryError that hides the KeyError."""
    error = KeyError("a programming error")
    error.__cause__ = OSError("what was behind it")
    calls = []

    def broken(content, system_prompt):
        calls.append(content)
        raise error

    solution = text("x")
    prompted = tg.BlackboxLLM(model(), solution)(fixed("q"))
    loss = tg.TextLoss("Judge.", model())(prompted)
    for work in (
        lambda: tg.BlackboxLLM(broken)(solution),
        lambda: loss.backward(broken),
        lambda: tg.TGD([judged(solution, "x")], engine=broken).step(),
    ):
        calls.clear()
        with pytest.raises(KeyError) as caught:
            work()
        assert caught.value is error
        assert isinstance(error.__cause__, OSError)
        assert len(calls) == 1
    assert solution.value == "x"


def test_a16_a_parameter_that_no_loss_depends_on_is_an_error():
    """0.1.8: no error, and the value was overwritten."""
    engine = model(call="Wrong.")
    unused, solution = text("never used", "unused"), text("x")
    optimizer = tg.TGD([unused, solution], engine=engine)
    tg.TextLoss("Judge.", engine)(solution).backward(engine)
    with pytest.raises(tg.NoFeedback, match="no loss depends on 'unused'"):
        optimizer.step()
    assert (solution.value, asked(engine, "step")) == ("x", [])
    tg.TGD([unused, solution], engine=engine, allow_unused=True).step()
    assert (unused.value, solution.value) == ("never used", "new text")


def test_a17_an_engine_given_to_a_call_wins():
    """0.1.8: Exception, because both were there."""
    tg.set_backward_engine(ScriptedChatModel(replies=[]))
    local = model()
    prompt = text("Be brief.", "prompt")
    tg.TextLoss("Judge.", local)(tg.BlackboxLLM(local, prompt)(fixed("q"))).backward(local)
    tg.TGD([prompt], engine=local).step()
    assert prompt.value == "new text"


def test_a18_placeholders_are_kept():
    """0.1.8: "Answer {question}" became "Answer it"."""
    prompt = judged(text("Answer {question}", "prompt"), "x")
    replies = [{"why": "", "text": "Answer it"}, {"why": "", "text": "Answer {question} and {more}"}]
    engine = ScriptedChatModel(replies=[*replies, {"why": "", "text": "Please answer {question}"}])
    tg.TGD([prompt], engine=engine).step()
    assert prompt.value == "Please answer {question}"
    assert "the new text loses the slot {question}" in str(engine.requests[1])
    assert "invents the slot {more}" in str(engine.requests[2])
    code = judged(text('print(f"{x}")', "code"), "x")
    tg.TGD([code], engine=ScriptedChatModel(replies=[{"why": "", "text": "print({y}, {'a': 1})"}])).step()
    assert code.value == "print({y}, {'a': 1})"
    forced = judged(text("{'a': '{x}'}"), "x")
    with pytest.raises(tg.StepRefused, match="loses the slot"):
        tg.TGD([forced], engine=model(), slots=["x"]).step()


def test_a19_what_breaks_a_constraint_is_refused_by_code():
    """0.1.8: with the constraint "at most 10 characters", a text of 50 was taken."""
    draft = judged(text("short"), "x")
    replies = [{"why": "", "text": "x" * 50}, {"why": "", "text": "x" * 9}]
    engine = ScriptedChatModel(replies=replies)
    optimizer = tg.TGD(
        [draft],
        engine=engine,
        constraints=["at most 10 characters"],
        checks=[lambda new: None if len(new) <= 10 else f"it has {len(new)} characters, and 10 are allowed"],
    )
    optimizer.step()
    assert draft.value == "x" * 9
    assert "This text cannot be taken: it has 50 characters" in str(engine.requests[1])
    judged(draft, "y")
    with pytest.raises(tg.StepRefused, match="the limit is 20"):
        tg.TGD([draft], engine=model(new="x" * 50), limits=EditLimits(characters=20, growth=1)).step()


@pytest.mark.loopback
def test_a20_seed_and_temperature_reach_the_provider(provider):
    """0.1.8: `get_engine("gpt-4o", seed=7)` sent no seed; the litellm engine sent the messages and the model alone."""
    engine = tg.get_engine("gpt-4o", seed=7, temperature=0.9, base_url=provider.url, api_key="none")
    assert engine.generate("q", system_prompt="s", max_tokens=5) == "reply"
    sent = provider.bodies[-1]
    assert (sent["seed"], sent["temperature"], sent["model"]) == (7, 0.9, "gpt-4o")
    assert 5 in (sent.get("max_tokens"), sent.get("max_completion_tokens"))
    assert [message["content"] for message in sent["messages"]] == ["s", "q"]


class Rounds(DoubleChatModel):
    """Answers eight requests at a time, and none before all eight are there."""

    barrier: Any = None
    rounds: int = 0

    def _reply(self, messages, at):
        raise AssertionError

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
        self.barrier = self.barrier or asyncio.Barrier(8)
        # A pass that asks for less at a time never gets on; the suite's time limit ends it.
        place = await self.barrier.wait()
        self.rounds += place == 0
        return model()._generate(messages, stop, None, **kwargs)


def test_a21_the_rounds_of_a_pass_are_its_depth_and_not_its_edges():
    """0.1.8: 8 examples of one call and a judge took 16 calls in 16 rounds; 2 depend on each other."""
    engine, critic = model(), Rounds()
    prompt = text("Be brief.", "prompt")
    first, second = tg.BlackboxLLM(engine, prompt), tg.BlackboxLLM(engine, text("Again.", "second prompt"))
    compare = tg.MultiFieldEvaluation("Compare.", ["answer", "truth"], engine)
    losses = [compare([second(first(fixed(f"q{at}"))), fixed("truth")]) for at in range(8)]
    tg.sum(losses).backward(critic)
    assert critic.rounds == 3
    assert len(prompt.gradients) == 8


def test_a22_variables_and_optimizers_outlive_their_process():
    """0.1.8: AttributeError, a Variable cannot be pickled."""
    engine = model(new=lambda messages: f"version of {len(messages[-1].text)}", call="Wrong.")

    def round_of(optimizer, draft):
        optimizer.zero_grad()
        tg.TextLoss("Judge.", engine)(draft).backward(engine)
        optimizer.step()

    draft = text("draft")
    optimizer = tg.TextualGradientDescentwithMomentum(engine, [draft], momentum_window=3)
    round_of(optimizer, draft)
    state = json.loads(json.dumps(optimizer.state_dict()))
    again = text("")
    later = tg.TextualGradientDescentwithMomentum(engine, [again], momentum_window=3)
    later.load_state_dict(state)
    round_of(optimizer, draft)
    round_of(later, again)
    straight, resumed = asked(engine, "step")[1:]
    assert straight == resumed
    assert draft.value == again.value
    loss = tg.TextLoss("Judge.", engine)(draft)
    loss.backward(engine)
    copy = pickle.loads(pickle.dumps(loss))
    assert repr(copy.predecessors) == repr(loss.predecessors)
    assert copy.generate_graph(print_gradients=True) == loss.generate_graph(print_gradients=True)
    with pytest.raises(ValueError, match="the state is of 1 parameters"):
        tg.TGD([draft, again], engine=engine).load_state_dict(state)


def test_every_request_of_the_library_begins_with_what_it_is_for():
    """A guard of `kind`, by which these tests tell requests apart."""
    engine = model(call="Wrong.")
    prompt = text("Be brief.", "prompt")
    llm = tg.BlackboxLLM(engine, prompt)
    tg.aggregate([tg.TextLoss("Judge.", engine)(llm(fixed(q))) for q in "ab"]).backward(engine)
    tg.TGD([prompt], engine=engine).step()
    assert [kind(request.messages) for request in engine.requests].count("critic") == 2
    assert len(asked(engine, "merge")) == len(asked(engine, "step")) == 1
