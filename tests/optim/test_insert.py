"""Insert: where it puts feedback, and where it does not."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot

from textgrad_lg.gradient import Gradient, Gradients
from textgrad_lg.optim import Insert, StepContext
from textgrad_lg.prompt import Demo, Template
from textgrad_lg.site import Site

SITE = Site(("classify",), "human")
SAID = "Answer with one word."


def gradient(text: str = SAID, *, score: float | None = 0.0, trace: str = "t1") -> Gradient:
    return Gradient("v1", text, "s1", trace, score=score, site=SITE)


async def propose(template: Template | str, *gradients: Gradient, insert: Insert | None = None):
    template = Template(template) if isinstance(template, str) else template
    context = StepContext({SITE: template}, Gradients(gradients))
    return await (insert or Insert()).propose(SITE, template, gradients or (gradient(),), context)


async def texts(template: Template | str, *gradients: Gradient) -> list[str]:
    return [update.new.text for update in await propose(template, *gradients)]


async def test_one_paragraph_has_a_start_and_an_end():
    assert await texts("Classify {review}.") == snapshot(
        [
            """\
Answer with one word.

Classify {review}.\
""",
            """\
Classify {review}.

Answer with one word.\
""",
        ]
    )


async def test_every_boundary_between_paragraphs_is_tried():
    updates = await propose(Template("Classify the review.\n\n{review}\n \n\nLabel:", ("review",)))
    assert [(update.why, update.new.text) for update in updates] == snapshot(
        [
            (
                "The feedback itself, placed at the start.",
                """\
Answer with one word.

Classify the review.

{review}
 \n\

Label:\
""",
            ),
            (
                "The feedback itself, placed at the end.",
                """\
Classify the review.

{review}
 \n\

Label:

Answer with one word.\
""",
            ),
            (
                "The feedback itself, placed after paragraph 1.",
                """\
Classify the review.

Answer with one word.

{review}
 \n\

Label:\
""",
            ),
            (
                "The feedback itself, placed after paragraph 2.",
                """\
Classify the review.

{review}

Answer with one word.

Label:\
""",
            ),
        ]
    )


async def test_places_come_before_texts_and_the_most_pressing_text_comes_first():
    found = await texts(
        "Classify.", gradient("Mild.", score=0.9), gradient("Bad.", score=0.1), gradient("Third.", score=1)
    )
    assert found == ["Bad.\n\nClassify.", "Mild.\n\nClassify.", "Classify.\n\nBad.", "Classify.\n\nMild."]


async def test_an_update_names_exactly_the_gradients_that_said_it():
    one, same, other = gradient(), gradient(f"  {SAID}\n", trace="t2"), gradient("Something else.", trace="t3")
    updates = await propose("Classify.", one, same, other)

    assert [update.gradients for update in updates] == [(one.id, same.id), (other.id,)] * 2
    assert {update.proposer for update in updates} == {"insert"}


async def test_feedback_that_already_stands_there_is_not_put_there_again():
    assert await texts(f"{SAID}\n\nClassify.") == [f"{SAID}\n\nClassify.\n\n{SAID}"]
    assert await texts(f"{SAID}\n\nClassify.\n\n{SAID}") == []
    assert await texts(SAID) == []


async def test_frozen_spans_and_code_blocks_are_not_torn_apart():
    frozen = "<!-- frozen -->a\n\nb<!-- /frozen -->"
    code = "```json\n{}\n\n{}\n```"
    assert await texts(f"{frozen}\n\n{code}") == [
        f"{SAID}\n\n{frozen}\n\n{code}",
        f"{frozen}\n\n{code}\n\n{SAID}",
        f"{frozen}\n\n{SAID}\n\n{code}",
    ]


async def test_margins_demonstrations_and_slots_stay():
    demo = Demo((("review", "Fine."),), "positive")
    [first, last] = await propose(Template("\n  Classify {review}:\n", ("review",), (demo,)))

    assert first.new == Template(f"\n  {SAID}\n\nClassify {{review}}:\n", ("review",), (demo,))
    assert last.new.text == f"\n  Classify {{review}}:\n\n{SAID}\n"


async def test_windows_line_ends_separate_paragraphs_too():
    assert (await texts("a\r\n\r\nb"))[2] == f"a\n\n{SAID}\n\nb"


async def test_a_slot_that_feedback_quotes_is_not_filled_in():
    template = Template("Classify {review}.", ("review",))
    [update, _] = await propose(template, gradient('Do not repeat {review}; reply {"label": 1}, not {x.y}.'))

    assert update.new.text.startswith('Do not repeat review; reply {"label": 1}, not x.y.')
    template.check(update.new.text)


async def test_an_empty_text_becomes_the_feedback():
    assert await texts(" \n") == [SAID]


async def test_without_feedback_there_is_nothing_to_insert():
    assert await texts("Classify.", gradient("  ")) == []
    assert await propose("Classify.", insert=Insert(feedback=0)) == ()


PARAGRAPHS = st.lists(st.text("ab {}\n`", min_size=1, max_size=12), max_size=6).map("\n\n".join)


@given(PARAGRAPHS, st.text("xyz. ", min_size=1, max_size=12).filter(str.strip))
def test_inserting_loses_nothing_and_ends(text, said):
    """Each insertion keeps every word in order; taking them one after the other comes to an end."""
    steps = 0
    while found := asyncio.run(texts(text, gradient(said))):
        for new in found:
            assert new.split() != text.split()
            assert new.replace(said.strip(), "", 1).split() == text.split() or said.strip() in text
        text, steps = found[-1], steps + 1
        assert steps < 20


async def test_what_a_pattern_freezes_is_not_taken_apart():
    updates = await propose("A.\n\nB.\n\nC.", insert=Insert(frozen=(r"A\.\s+B\.",)))
    assert [update.why for update in updates] == [
        "The feedback itself, placed at the start.",
        "The feedback itself, placed at the end.",
        "The feedback itself, placed after paragraph 1.",
    ]
    assert updates[-1].new.text == f"A.\n\nB.\n\n{SAID}\n\nC."
