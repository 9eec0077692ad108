"""Whole programs, written as TextGrad's own are, in a world where feedback helps only if the evidence reached its request."""

from __future__ import annotations

import copy
import json
import random
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import textgrad_lg.eager as tg
from textgrad_lg.eager.autograd.string_based_ops import BackwardContext, StringBasedFunction
from textgrad_lg.testing import ScriptedChatModel

from .support import fixed, kind, text
from .test_variable import PNG


def part(label, request):
    """What stands in the fence with this label."""
    found = re.search(rf"<<<DATA {label}[^\n]*>>>\n(.*?)\n<<<END", request, re.DOTALL)
    return found[1] if found else ""


def world(call, hint, mend):
    """A model that works by `call`, gives the feedback that `hint` finds in a request, and rewrites by `mend`."""

    def reply(messages):
        request = messages[-1].text
        if kind(messages) == "call":
            return call(messages)
        if kind(messages) == "step":
            return {"why": "", "text": mend(part("the text now", request), part("feedback", request))}
        names = re.findall(r"\b[PV]\d+\b", request.rpartition("Give feedback on")[2])
        said = [{"id": name, "feedback": hint(request)} for name in names]
        return {"feedback": said, "about_this": said, "about_inputs": said}

    return ScriptedChatModel(replies=reply)


ALONE = "Write the number alone."


def count(messages):
    total = sum(map(int, re.findall(r"\d+", messages[-1].text)))
    return str(total) if ALONE in messages[0].text else f"That makes {total}."


def test_prompt_optimisation_with_batches_and_a_validation_set():
    engine = world(
        count,
        lambda request: ALONE if "the right number: " in request or f"- {ALONE}" in request else "",
        lambda old, feedback: f"{old} {ALONE}" if ALONE in feedback else f"{old} Guess.",
    )
    tg.set_backward_engine(engine)
    prompt = text("You count.", "system prompt")
    model = tg.BlackboxLLM(engine, prompt)
    same = StringBasedFunction(
        lambda prediction, ground_truth_answer: int(prediction.value == ground_truth_answer.value),
        function_purpose="checks whether the prediction is right",
    )

    def score(x, y):
        truth = fixed(y, "the right number")
        return same(inputs={"prediction": model(fixed(x, "question")), "ground_truth_answer": truth})

    data = [(f"{a} cats and {b} dogs", a + b) for a in range(1, 4) for b in range(1, 4)]
    train, validation = data[:6], data[6:]

    def accuracy():
        with ThreadPoolExecutor(2) as pool:
            return sum(pool.map(lambda pair: int(score(*pair).value), validation)) / len(validation)

    optimizer = tg.TextualGradientDescent(engine=engine, parameters=[prompt])
    best, history = accuracy(), []
    random.seed(12)
    for batch_x, batch_y in tg.tasks.DataLoader(train, batch_size=3, shuffle=True):
        optimizer.zero_grad()
        before = prompt.get_value()
        tg.sum([score(x, y) for x, y in zip(batch_x, batch_y, strict=True)]).backward()
        optimizer.step()
        now = accuracy()
        if now < best:
            prompt.set_value(before)
        best = max(best, now)
        history.append(best)
    assert history[0] == history[-1] == 1.0
    assert ALONE in prompt.value


def test_solution_optimisation_with_a_vote():
    engine = world(
        lambda messages: "Step 2 is wrong." if "Answer: A" in messages[-1].text else "No fault.",
        lambda request: "",
        lambda old, feedback: old.replace("Answer: A", "Answer: B") if "Step 2" in feedback else old,
    )
    tg.set_backward_engine(engine)

    def work(question):
        solution = text(f"{question}, so Answer: A", "solution for the multiple choice question")
        judge = tg.MultiChoiceTestTime("Look at each step.")
        optimizer = tg.TGD([solution], constraints=["The last line is 'Answer: ' and a letter."])
        iterates = [tg.Variable(solution.value, role_description=solution.role_description)]
        for _ in range(3):
            optimizer.zero_grad()
            judge(question, solution).backward()
            optimizer.step()
            iterates.append(tg.Variable(solution.value, role_description=solution.role_description))
        return tg.majority_vote(iterates, lambda said: said.rpartition("Answer: ")[2]).value

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(work, ["q1", "q2"])) == ["q1, so Answer: B", "q2, so Answer: B"]


CODE = "def double(n):\n    return n + n + 1\n"


def run_tests(code, tests):
    names = {}
    exec(code.value, names)
    failed = [line for line in tests.value.splitlines() if not eval(line, names)]
    return "all tests pass" if not failed else "\n".join(f"FAILED: {line}" for line in failed)


def test_code_optimisation_with_local_tests():
    engine = world(
        lambda messages: f"The code did not pass: {messages[-1].text.rpartition('Results: ')[2]}",
        lambda request: "Drop the + 1: double(2) is 4." if "FAILED: double(2) == 4" in request else "",
        lambda old, feedback: old.replace(" + 1", "") if "Drop the + 1" in feedback else old,
    )
    code = text(CODE, "code to improve")
    tests = fixed("double(2) == 4\ndouble(0) == 0", "unit tests")
    check = StringBasedFunction(run_tests, "runs the unit tests")
    optimizer = tg.TGD([code], engine=engine, checks=[lambda new: None if "assert" not in new else "it has asserts"])
    judge = tg.FormattedLLMCall(
        engine, "Problem: {problem}\nCode: {code}\nResults: {results}", ["problem", "code", "results"]
    )
    results = loss = text("")
    for _ in range(2):
        optimizer.zero_grad()
        results = check({"code": code, "tests": tests}, "results of the tests")
        loss = judge(
            {"problem": fixed("Double {n}.", "problem"), "code": code, "results": results}, "evaluation of the code"
        )
        loss.backward(engine)
        if results.value == "all tests pass":
            break
        optimizer.step()
    assert results.value == "all tests pass"
    assert code.value == "def double(n):\n    return n + n\n"
    assert loss.predecessors[-1] is results


def test_an_answer_about_an_image():
    engine = world(
        lambda messages: "A bee." if len(messages) == 1 else "It has no wings, so it is no bee.",
        lambda request: "",
        lambda old, feedback: "An ant." if "no wings" in feedback else old,
    )
    tg.set_backward_engine(engine)
    image = tg.Variable(PNG, role_description="image to answer a question about", requires_grad=False)
    question = tg.Variable("What do you see?", role_description="question", requires_grad=False)
    response = tg.MultimodalLLMCall(engine)([image, question])
    loss = tg.ImageQALoss("Is this right? Criticise.", engine)(question=question, image=image, response=response)
    optimizer = tg.TGD(parameters=[response])
    loss.backward()
    optimizer.step()
    assert response.value == "An ant."
    content: Any = engine.requests[-1].messages[-1].content
    assert [block["type"] for block in content] == ["text", "image"]


def test_momentum_moves_on_where_the_feedback_comes_again():
    def call(messages):
        return "Longer, please." if len(messages[-1].text) < 40 else "Good."

    asked = []

    def mend(old, feedback):
        asked.append(engine.requests[-1].messages[-1].text)
        again = asked[-1].count("Longer, please.")
        return old + " and more" * again if "Longer" in feedback else old

    engine = world(call, lambda request: "", mend)
    letter = text("Hello", "letter")
    optimizer = tg.TextualGradientDescentwithMomentum(engine, [letter], momentum_window=2)
    for _ in range(4):
        optimizer.zero_grad()
        tg.TextLoss("Is it long enough?", engine)(letter).backward(engine)
        optimizer.step()
    assert [request.count("Longer, please.") for request in asked] == [1, 2, 3, 2]
    assert letter.value == "Hello" + " and more" * 6


def test_weights_of_a_simulated_plan():
    def simulate(weights):
        rectum = 30.0 - 5 * weights.value["rectum"]
        return {"rectum Gy": rectum, "tumour Gy": 80.0}

    engine = world(
        lambda messages: (
            "The rectum gets too much." if json.loads(messages[-1].text)["rectum Gy"] > 20 else "Accepted."
        ),
        lambda request: "Raise the rectum's weight." if "The rectum gets too much." in request else "",
        lambda old, feedback: json.dumps({"rectum": json.loads(old)["rectum"] + 1.0}) if "Raise" in feedback else old,
    )
    weights = text({"rectum": 1.0}, "importance weights of a plan")
    planner = StringBasedFunction(simulate, "computes the dose of a plan from its weights")
    optimizer = tg.TGD([weights], engine=engine)
    for _ in range(5):
        optimizer.zero_grad()
        tg.TextLoss("Compare with the protocol: rectum below 20 Gy.", engine)(planner({"weights": weights})).backward(
            engine
        )
        optimizer.step()
    assert weights.value == {"rectum": 2.0}


class Tool(StringBasedFunction):
    """A module of a compound system that says by hand how its output was made."""

    def __init__(self, name, work):
        super().__init__(fn=self.forward, function_purpose=name)
        self.name, self.work = name, work

    def forward(self, last):  # pyright: ignore[reportIncompatibleMethodOverride]  as the scripts do
        made = tg.Variable(self.work(last.value), predecessors=[last], role_description=f"output of {self.name}")
        made.set_grad_fn(
            BackwardContext(
                backward_fn=self.backward_static, response=made, function_purpose=self.name, inputs={"last": last}
            )
        )
        return made


def test_a_compound_system_optimised_module_by_module():
    engine = world(
        lambda messages: "The year is missing." if "1912" not in messages[-1].text else "Complete.",
        lambda request: "Say the year, 1912." if "The year is missing." in request else "",
        lambda old, feedback: f"{old} (1912)" if "1912" in feedback else old,
    )
    tg.set_backward_engine(engine)
    retrieve, solve = (
        Tool("retrieval", lambda seen: f"facts for {seen}"),
        Tool("solution", lambda facts: f"using {facts}"),
    )
    plan = text("Titanic", "plan")
    facts = retrieve.forward(plan)
    state = copy.deepcopy({"facts": facts})
    answer = solve.forward(facts)
    tg.TextLoss("Is it complete?")(answer).backward()
    assert [len(v.gradients) for v in (answer, facts, plan)] == [1, 1, 1]
    assert state["facts"].gradients == []
    tg.TGD(parameters=[facts]).step()
    again = solve.forward(facts)
    assert again.value == "using facts for Titanic (1912)"
    assert tg.TextLoss("Is it complete?")(again).value == "Complete."


def test_a_step_of_primitives():
    engine = world(
        lambda messages: "'sntence' is misspelt.",
        lambda request: "Write 'sentence'." if "misspelt" in request else "",
        lambda old, feedback: old.replace("sntence", "sentence") if "sentence" in feedback else old,
    )
    x = tg.Variable("A sntence with a typo", role_description="The input sentence", requires_grad=True)
    system_prompt = tg.Variable("Evaluate the correctness of this sentence", role_description="The system prompt")
    loss = tg.TextLoss(system_prompt, engine=engine)
    optimizer = tg.TextualGradientDescent(parameters=[x], engine=engine)
    loss(x).backward(engine)
    optimizer.step()
    assert x.value == "A sentence with a typo"
    optimizer.zero_grad()
    assert x.gradients == []


def test_demonstrations_are_optimised_together_with_the_instruction():
    shown = "1 pen and 1 cup -> 2"

    def call(messages):
        system = messages[0].text
        total = sum(map(int, re.findall(r"\d+", messages[-1].text)))
        return str(total) if ALONE in system and shown in system else f"That makes {total}."

    def hint(request):
        wrong = "the right number: " in request or "- Be terser" in request
        return f"Be terser. {'Show' if 'demonstrations' in request else 'Say'} how." if wrong else ""

    def mend(old, feedback):
        asked = engine.requests[-1].messages[-1].text
        addition = shown if asked.startswith("The text is the demonstrations") else ALONE
        return f"{old}{addition}\n" if "Be terser" in feedback else old

    engine = world(call, hint, mend)
    instruction = text("You count.\n", "instruction of the counter")
    demos = text("2 cats -> 2\n", "demonstrations of the counter")
    optimizer = tg.TGD([instruction, demos], engine=engine)
    same = StringBasedFunction(lambda prediction, truth: prediction.value == truth.value, "tells whether it is right")
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        counter = tg.BlackboxLLM(engine, instruction + demos)
        losses = [
            same({"prediction": counter(fixed(f"{n} owls", "question")), "truth": fixed(n, "the right number")})
            for n in (3, 4)
        ]
        if all(loss.value is True for loss in losses):
            break
        tg.aggregate(losses).backward(model_of(engine))
        optimizer.step()
    assert [loss.value for loss in losses] == [True, True]
    assert (instruction.value, demos.value) == (f"You count.\n{ALONE}\n", f"2 cats -> 2\n{shown}\n")


def model_of(engine):
    """The same world, whose merging keeps what the pieces say."""

    def reply(messages):
        if kind(messages) == "merge":
            return {"feedback": part("feedback 1", messages[-1].text)}
        return engine.replies(messages)

    return ScriptedChatModel(replies=reply)
