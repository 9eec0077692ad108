"""The task of the simulated world: who may know what, what goes wrong without an instruction, and what it is worth."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.world.asked import Asked
from benchmarks.world.critic import Critic
from benchmarks.world.orders import voucher_worth
from benchmarks.world.task import Kind, Task, comment, flat, mixture, right, subsets
from benchmarks.world.world import World

KINDS = list(Kind)
PIPELINES = [kind for kind in KINDS if kind is not Kind.NULL]


def held(task: Task, *names: str) -> dict[str, str]:
    """Prompts of which those nodes' hold their instruction."""
    return {
        name: f"{node.prompt} {node.instruction}" if name in names else node.prompt for name, node in task.nodes.items()
    }


def work(world: World, node: str, prompt: str, text: str) -> str:
    body = {
        "model": "worker",
        "messages": [
            {"role": "system", "content": prompt},
            {"role": "user", "content": f"{world.task.nodes[node].marker}\n{text}"},
        ],
    }
    return world.answer(Asked.parse(body)).text


def through(world: World, prompts: dict[str, str], question: str) -> list[str]:
    """What each node of the plain pipeline says."""
    said = [question]
    for node in world.task.nodes:
        said.append(work(world, node, prompts[node], said[-1]))
    return said[1:]


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_follows_from_its_kind_and_seed(kind):
    assert Task(kind, 1).splits == Task(kind, 1).splits
    assert Task(kind, 1).splits != Task(kind, 2).splits
    assert {name: len(cases) for name, cases in Task(kind, 1).splits.items()} == {
        "train": 36,
        "validation": 18,
        "test": 18,
    }
    assert len(Task(kind, 1).cases) == 72


@pytest.mark.parametrize("kind", PIPELINES)
def test_every_split_needs_the_same_mixture_of_instructions(kind):
    task = Task(kind, 3)
    needs = {
        name: sorted(sorted(case.needs) for case in cases) * (36 // len(cases)) for name, cases in task.splits.items()
    }
    assert sorted(needs["train"]) == sorted(needs["validation"]) == sorted(needs["test"])
    assert {frozenset(case.needs) for case in task.splits["test"]} == set(subsets(task.nodes))


def test_one_case_of_nine_needs_nothing_and_two_need_all():
    assert mixture(("a", "b", "c"), 18).count(frozenset()) == 2
    assert mixture(("a", "b", "c"), 18).count(frozenset("abc")) == 4


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 200), kind=st.sampled_from(KINDS))
def test_every_way_to_go_wrong_gives_another_reply_and_none_the_answer(seed, kind):
    task = Task(kind, seed)
    for case in task.splits["validation"]:
        last = task.variants(case, list(task.nodes)[-1])
        assert len(last) == 2 ** len(case.needs)
        assert {said for said, failed in last.items() if not failed} == {case.answer}


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 50), kind=st.sampled_from(PIPELINES))
def test_a_defect_is_evident_from_its_own_nodes_reply_and_no_other(seed, kind):
    task = Task(kind, seed)
    for case in task.splits["test"]:
        for node in task.nodes:
            for said, failed in task.variants(case, node).items():
                shown = f"{said}\n{comment('?', case.answer)}"
                assert [found.name for found in task.evident(shown)] == ([node] if node in failed else [])
                assert task.evident(said) == (), "without the expected answer there is no evidence"


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 50), kind=st.sampled_from([Kind.PLAIN, Kind.LOOP, Kind.TOOLS]))
def test_what_went_wrong_before_is_read_from_what_a_node_is_given(seed, kind):
    task = Task(kind, seed)
    names = list(task.nodes)
    for case in task.splits["test"]:
        for at, node in enumerate(names[:-1]):
            for said, failed in task.variants(case, node).items():
                assert task.given(case, names[at + 1], f"[step]\n{said}{case.notes}") == failed
        assert task.given(case, names[-1], "nothing of the kind") is None


def test_a_part_is_right_only_with_its_own_nodes_instruction():
    task = Task(Kind.PLAIN, 0)
    world = World(task)
    case = next(case for case in task.splits["train"] if len(case.needs) == 3)
    assert through(world, held(task, *task.nodes), case.question)[-1] == case.answer
    for missing in task.nodes:
        others = [name for name in task.nodes if name != missing]
        said = through(world, held(task, *others), case.question)
        assert not right(said[-1], case.answer)
        shown = "\n".join([*said, comment(said[-1], case.answer)])
        assert [node.name for node in task.evident(shown)] == [missing], "the parts after it look wrong, and are not"


def test_an_instruction_in_another_nodes_prompt_does_nothing():
    task = Task(Kind.PLAIN, 0)
    case = next(case for case in task.splits["train"] if case.needs == {"price"})
    prompts = held(task)
    prompts["reply"] += task.nodes["price"].instruction
    assert not right(through(World(task), prompts, case.question)[-1], case.answer)


def test_a_case_that_needs_nothing_is_right_without_instructions():
    task = Task(Kind.PLAIN, 0)
    case = next(case for case in task.splits["train"] if not case.needs)
    assert through(World(task), held(task), case.question)[-1] == case.answer


def test_a_node_that_is_given_nothing_to_go_on_says_so():
    task = Task(Kind.PLAIN, 0)
    case = task.splits["train"][0]
    assert work(World(task), "price", "", f"about {case.id}") == "There is nothing to go on."
    assert work(World(task), "price", "", "about what?") == "There is nothing to go on."


@pytest.mark.parametrize("kind", PIPELINES)
def test_the_true_score_counts_the_cases_whose_needs_are_met(kind):
    task = Task(kind, 0)
    none = sum(not case.needs for case in task.splits["test"]) / 18
    assert task.score({}) == pytest.approx(none)
    assert task.score(held(task, *task.nodes)) == 1
    one = sum(case.needs <= {"read"} for case in task.splits["test"]) / 18
    assert task.score(held(task, "read")) == pytest.approx(one)


def test_the_true_score_of_a_noisy_world_is_what_to_expect_of_it():
    task = Task(Kind.NOISY, 0)
    expected = sum(0.8 ** len(case.needs) for case in task.splits["test"]) / 18
    assert task.score(held(task, *task.nodes), obey=0.8) == pytest.approx(expected)


def test_a_model_of_the_noisy_world_obeys_in_eight_calls_of_ten():
    task = Task(Kind.NOISY, 0)
    world = World(task)
    prompt = held(task, "read")["read"]
    cases = [case for case in task.cases.values() if "read" in case.needs]
    said = [work(world, "read", prompt, case.question) for case in cases for _ in range(50)]
    wrong = sum("cancelled" in text for text in said) / len(said)
    assert 0.17 < wrong < 0.23
    assert all("cancelled" in work(world, "read", "", case.question) for case in cases)


def test_the_draws_of_a_noisy_world_can_be_repeated():
    task = Task(Kind.NOISY, 5)
    prompt = held(task, "read")["read"]
    case = next(case for case in task.cases.values() if "read" in case.needs)

    def draws() -> list[str]:
        world = World(task)
        return [work(world, "read", prompt, case.question) for _ in range(40)]

    assert draws() == draws()
    assert len(set(draws())) == 2


def test_no_instruction_helps_in_the_null_world():
    task = Task(Kind.NULL, 0)
    assert task.score(held(task), obey=0.6) == task.score(held(task, *task.nodes), obey=0.6)
    world = World(task)
    case = next(case for case in task.cases.values() if "read" in case.needs)
    for prompt in held(task)["read"], held(task, "read")["read"]:
        wrong = sum("cancelled" in work(world, "read", prompt, case.question) for _ in range(500)) / 500
        assert 0.33 < wrong < 0.47
    shown = (
        f"{task.said(case, 'read', frozenset({'read'}))} {comment('?', case.answer)} {task.nodes['read'].instruction}"
    )
    assert Critic(task, shown).insights() == ()


def test_the_critic_knows_an_instruction_from_evidence_or_from_feedback_that_names_it():
    task = Task(Kind.PLAIN, 0)
    case = next(case for case in task.splits["train"] if case.needs == {"price"})
    bad = task.said(case, "price", frozenset({"price"}))
    node = task.nodes["price"]
    assert Critic(task, f"{bad} {comment('?', case.answer)}").insights() == (node,)
    assert Critic(task, bad).insights() == ()
    assert Critic(task, comment("?", case.answer)).insights() == ()
    assert Critic(task, f"Feedback:\n- {node.instruction}").insights() == (node,)


def test_evidence_is_found_in_quoted_json_and_across_line_breaks():
    task = Task(Kind.PLAIN, 0)
    case = next(case for case in task.splits["train"] if case.needs == {"price"})
    bad = task.said(case, "price", frozenset({"price"})).replace(" ", "\\n", 1)
    assert [node.name for node in task.evident(f'{{"reply": "{bad}", "why": "expected\n{case.answer}"}}')] == ["price"]


def test_a_new_prompt_gets_its_own_nodes_instruction_and_nothing_else():
    task = Task(Kind.PLAIN, 0)
    critic = Critic(task, task.nodes["price"].instruction)
    price, read = task.nodes["price"], task.nodes["read"]
    for at in range(4):
        assert price.holds(critic.improved(price.prompt, at))
        assert task.node_of(critic.improved(price.prompt, at)) == price
        assert task.named(critic.improved(read.prompt, at)) == ()
    assert len({critic.improved(price.prompt, at) for at in range(4)}) == 4


def test_advice_without_evidence_names_nothing_and_follows_from_the_request():
    task = Task(Kind.PLAIN, 0)
    found = {Critic(task, f"request {at}").advice() for at in range(200)}
    assert len(found) > 20
    assert all(task.named(advice) == () for advice in found)
    assert Critic(task, "request").advice() == Critic(task, "request").advice()
    assert Critic(task, "request", "note 1").advice() != Critic(task, "request", "note 2").advice()


def test_no_text_of_the_task_holds_an_instruction_by_chance():
    for kind in KINDS:
        task = Task(kind, 0)
        every = [node.prompt for node in task.nodes.values()]
        for case in task.cases.values():
            every += [case.question, case.notes, comment("?", case.answer)]
            every += [said for node in task.nodes for said in task.variants(case, node)]
        assert task.named(" ".join(every)) == ()


def test_a_prompt_of_no_node_or_of_several_is_nobodys():
    task = Task(Kind.PLAIN, 0)
    assert task.node_of("You are helpful.") is None
    assert task.node_of(" ".join(node.prompt for node in task.nodes.values())) is None


def test_the_vouchers_worth_is_what_the_tool_says():
    task = Task(Kind.TOOLS, 0)
    case = next(case for case in task.cases.values() if case.voucher)
    assert case.code in case.question
    assert voucher_worth(case.code) == f"{case.voucher // 100}.{case.voucher % 100:02d}"
    assert voucher_worth("X") == "unknown voucher"


def test_flat_text_has_single_blanks():
    assert flat("a\n\n b\\nc\td") == "a b c d"
