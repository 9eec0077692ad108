"""What every prompt registry must do, as tests to inherit.

    from textgrad_lg.testing.registry_conformance import RegistryConformance

    class TestMyRegistry(RegistryConformance):
        @pytest.fixture
        def registry(self):
            return MyRegistry(...)

Needs pytest; with hypothesis installed the texts that must come back exactly are also searched for.
"""

# ruff: noqa: D102  the name of a test says what it checks

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from textgrad_lg.errors import RegistryError, UnknownVersion, VersionConflict
from textgrad_lg.prompt import Demo, Template
from textgrad_lg.registry.base import NewVersion, PromptRegistry, PromptVersion

if TYPE_CHECKING:
    from collections.abc import Callable

    from textgrad_lg.types import JSON

NASTY_TEXTS = (
    "",
    " \n\t\r\n ",
    'braces {a} {{b}} {} and JSON {"c": ["}"]}',
    "quotes ' \" ` \\ \\n %s ?1 :name --",
    "Grüße, 你好, שלום, 👩‍👩‍👧, e\u0301",
    "NUL \x00, BEL \x07, BOM \ufeff, line \u2028 separator",
    "half a surrogate pair: \ud83d",
    "long " * 20_000,
)
"""Texts that stores are known to change."""


class RegistryConformance:
    """Inherit it and define the fixture `registry`, which gives a new, empty registry to each test."""

    threads = 4
    """Threads that race in the tests of concurrency."""
    rounds = 10
    """How often they do."""

    def test_a_new_registry_is_empty(self, registry: PromptRegistry) -> None:
        assert registry.names() == ()
        for ask in _questions(registry):
            with pytest.raises(UnknownVersion, match="empty"):
                ask()

    def test_commit_writes_versions_and_moves_the_label(self, registry: PromptRegistry) -> None:
        written = registry.commit(
            [NewVersion("b", Template("B1")), NewVersion("a", Template("A1"))],
            label="candidate",
            expect={"a": None, "b": None},
        )
        assert [(item.name, item.version, item.template.text) for item in written] == [("b", 1, "B1"), ("a", 1, "A1")]
        assert registry.names() == ("b", "a")
        assert registry.labels("a") == {"candidate": 1}
        (again,) = registry.commit([NewVersion("a", Template("A2"), parent=1)], label="candidate", expect={"a": 1})
        assert (again.version, again.parent) == (2, 1)
        assert registry.history("a") == (written[1], again)
        assert registry.labels("a") == {"candidate": 2}
        assert registry.labels("b") == {"candidate": 1}

    def test_get_by_number_by_label_and_the_newest(self, registry: PromptRegistry) -> None:
        one, two = _two(registry)
        registry.move("production", {"p": 1}, expect={"p": None})
        assert registry.get("p") == two
        assert registry.get("p", version=1) == registry.get("p", label="production") == one
        assert registry.get("p", label="candidate") == two
        with pytest.raises(RegistryError, match="not both"):
            registry.get("p", version=1, label="production")

    def test_what_is_not_there_is_named_with_what_is(self, registry: PromptRegistry) -> None:
        _two(registry, "planner/system")
        with pytest.raises(UnknownVersion, match="planner/system"):
            registry.get("planer/system")
        with pytest.raises(UnknownVersion, match="others"):
            registry.get("zzz")
        for ask in _questions(registry):
            with pytest.raises(UnknownVersion):
                ask()
        for version in (-1, 0, 3):
            with pytest.raises(UnknownVersion, match="1 to 2"):
                registry.get("planner/system", version=version)
        with pytest.raises(UnknownVersion, match="candidate"):
            registry.get("planner/system", label="production")
        assert registry.moves("planner/system", "production") == ()

    def test_everything_comes_back(self, registry: PromptRegistry) -> None:
        template = Template(
            "Answer {question} as {style}.",
            ("question", "style"),
            (Demo((("human", "Why?"), ("style", "short")), "Because."), Demo((), "")),
        )
        provenance: dict[str, JSON] = {
            "why": "é\ud83d",
            "gradients": ["a", None, 1.5, True],
            "nested": {"z": 1, "a": []},
        }
        (written,) = registry.commit(
            [NewVersion("p", template, score=0.1 + 0.2, provenance=provenance)], label="l", expect={"p": None}
        )
        got = registry.get("p")
        assert got == written == registry.history("p")[0]
        assert (got.template, got.score, got.parent) == (template, 0.1 + 0.2, None)
        assert dict(got.provenance) == provenance
        assert list(got.provenance) == list(provenance)
        assert got.template.hash == template.hash
        assert got.created > 0

    def test_history_cannot_be_reached_through_what_is_given_or_returned(self, registry: PromptRegistry) -> None:
        gradients: list[JSON] = ["g1"]
        provenance: dict[str, JSON] = {"gradients": gradients}
        registry.commit([NewVersion("p", Template("x"), provenance=provenance)], label="l", expect={"p": None})
        gradients.append("g2")
        got = registry.get("p").provenance["gradients"]
        assert got == ["g1"]
        assert isinstance(got, list)
        got.append("g3")
        assert registry.get("p").provenance == {"gradients": ["g1"]}

    @pytest.mark.parametrize("text", NASTY_TEXTS, ids=range(len(NASTY_TEXTS)))
    def test_rollback_restores_nasty_texts_exactly(self, registry: PromptRegistry, text: str) -> None:
        _check_exact(registry, "p", Template(text, ("a",), (Demo((("human", text),), text),)))

    @pytest.mark.skipif(find_spec("hypothesis") is None, reason="hypothesis is not installed")
    def test_rollback_restores_any_text_exactly(self, registry: PromptRegistry) -> None:
        from hypothesis import given, settings
        from hypothesis import strategies as st

        # Half of a surrogate pair too: a model's reply can hold one.
        text = st.text(st.characters(), max_size=50)
        pairs = st.lists(st.tuples(text, text), max_size=2).map(tuple)
        demos = st.lists(st.builds(Demo, pairs, text), max_size=2).map(tuple)
        templates = st.builds(Template, text, st.lists(text, max_size=2).map(tuple), demos)

        @settings(max_examples=50, deadline=None, database=None)
        @given(templates)
        def check(template: Template) -> None:
            _check_exact(registry, "p", template)

        check()

    def test_a_stale_writer_changes_nothing(self, registry: PromptRegistry) -> None:
        _two(registry)
        registry.commit([NewVersion("q", Template("Q1"))], label="candidate", expect={"q": None})
        before = _state(registry)
        stale = {"p": 1, "q": 1}
        with pytest.raises(VersionConflict, match="'p' it points to version 2, expected was version 1"):
            registry.commit(
                [NewVersion("q", Template("Q2")), NewVersion("p", Template("P3"))], label="candidate", expect=stale
            )
        with pytest.raises(VersionConflict):
            registry.move("candidate", {"q": 1, "p": 1}, expect=stale)
        with pytest.raises(VersionConflict):
            registry.rollback("candidate", ["q", "p"], expect=stale)
        with pytest.raises(VersionConflict, match="points to nothing"):
            registry.move("production", {"p": 1}, expect={"p": 2})
        with pytest.raises(VersionConflict, match="expected was nothing"):
            registry.commit([NewVersion("p", Template("P3"))], label="candidate", expect={"p": None})
        # Prompts that are only expected, and not written, count as well; so do those that do not exist yet.
        with pytest.raises(VersionConflict):
            registry.commit([NewVersion("q", Template("Q2"))], label="candidate", expect={"q": 1, "p": 1})
        with pytest.raises(VersionConflict):
            registry.commit([NewVersion("q", Template("Q2"))], label="candidate", expect={"q": 1, "r": 1})
        assert _state(registry) == before

    def test_a_write_with_a_mistake_in_its_last_part_changes_nothing(self, registry: PromptRegistry) -> None:
        _two(registry)
        before = _state(registry)
        good = NewVersion("q", Template("Q1"))
        expect = {"p": 2, "q": None, "": None}
        for bad, error in (
            (NewVersion("p", Template("x"), parent=3), UnknownVersion),
            (NewVersion("p", Template("x"), parent=0), UnknownVersion),
            (NewVersion("p", Template("x"), score=float("nan")), RegistryError),
            (NewVersion("p", Template("x"), provenance={"nan": float("inf")}), RegistryError),
            (NewVersion("p", Template("x"), provenance={"set": {1}}), RegistryError),  # pyright: ignore[reportArgumentType]
            (NewVersion("", Template("x")), RegistryError),
            (NewVersion("\ud83d", Template("x")), RegistryError),
            (NewVersion("r", Template("x")), RegistryError),  # not in expect
            (good, RegistryError),  # named twice
        ):
            with pytest.raises(error):
                registry.commit([good, bad], label="candidate", expect=expect)
            assert _state(registry) == before
        for to in ({"p": 1, "q": 1}, {"p": 3}, {"p": 0}):
            with pytest.raises(UnknownVersion):
                registry.move("candidate", to, expect={"p": 2, "q": None})
        with pytest.raises(RegistryError, match="expect"):
            registry.move("candidate", {"p": 1}, expect={})
        with pytest.raises(UnknownVersion):
            registry.rollback("candidate", ["p", "q"])
        with pytest.raises(UnknownVersion):
            registry.rollback("production", ["p"])
        with pytest.raises(RegistryError, match="twice"):
            registry.rollback("candidate", ["p", "p"])
        for label in ("", "\ud83d"):
            with pytest.raises(RegistryError):
                registry.move(label, {"p": 1}, expect={"p": None})
        assert _state(registry) == before

    def test_a_write_of_nothing_is_nothing(self, registry: PromptRegistry) -> None:
        _two(registry)
        before = _state(registry)
        assert registry.commit([], label="candidate", expect={}) == ()
        registry.move("candidate", {}, expect={})
        registry.move("candidate", {"p": 2}, expect={"p": 2})
        assert registry.rollback("candidate", []) == {}
        assert _state(registry) == before

    def test_labels_are_independent(self, registry: PromptRegistry) -> None:
        _two(registry)
        registry.move("production", {"p": 1}, expect={"p": None})
        registry.move("production", {"p": 2}, expect={"p": 1})
        assert registry.rollback("candidate", ["p"]) == {"p": 1}
        assert registry.labels("p") == {"candidate": 1, "production": 2}

    def test_rolling_back_goes_one_step_each_time(self, registry: PromptRegistry) -> None:
        _two(registry)
        registry.commit([NewVersion("p", Template("P3"))], label="candidate", expect={"p": 2})
        assert registry.rollback("candidate", ["p"], expect={"p": 3}) == {"p": 2}
        assert registry.rollback("candidate", ["p"]) == {"p": 1}
        assert registry.get("p", label="candidate").template.text == "P1"
        # A write after a rollback is the next step; taking it back leads to where the label was before it.
        registry.commit([NewVersion("p", Template("P4"), parent=1)], label="candidate", expect={"p": 1})
        assert registry.rollback("candidate", ["p"]) == {"p": 1}
        assert registry.rollback("candidate", ["p"]) == {"p": None}
        assert registry.labels("p") == {}
        with pytest.raises(UnknownVersion, match="no labels"):
            registry.rollback("candidate", ["p"])
        assert len(registry.history("p")) == 4  # noqa: PLR2004  the four written above
        moves = [(move.version, move.rollback) for move in registry.moves("p", "candidate")]
        assert moves == [
            *((version, False) for version in (1, 2, 3)),
            *((version, True) for version in (2, 1)),
            (4, False),
            *((version, True) for version in (1, None)),
        ]
        # A label that was taken off can be set again, by one who knows that it is off.
        registry.move("candidate", {"p": 3}, expect={"p": None})
        assert registry.rollback("candidate", ["p"]) == {"p": None}

    def test_rollback_is_atomic_over_prompts(self, registry: PromptRegistry) -> None:
        _two(registry, "p")
        _two(registry, "q")
        assert registry.rollback("candidate", ["q", "p"]) == {"q": 1, "p": 1}
        assert registry.labels("p") == registry.labels("q") == {"candidate": 1}

    def test_of_racing_writers_one_wins_each_round(self, registry: PromptRegistry) -> None:
        names: tuple[str, ...] = ("a", "b")
        now: int | None = None
        for _ in range(self.rounds):
            expect: dict[str, int | None] = {name: now for name in names}  # noqa: C420  keeps the type of its keys

            def write(number: int, expect: dict[str, int | None] = expect) -> None:
                new = [NewVersion(name, Template(f"{name} by {number}")) for name in names]
                registry.commit(new, label="l", expect=expect)

            assert _race(self.threads, write).count(None) == 1
            versions = [registry.get(name, label="l") for name in names]
            now = versions[0].version
            assert [version.version for version in versions] == [now, now]
            assert versions[0].template.text[1:] == versions[1].template.text[1:]
        assert len(registry.history("a")) == len(registry.history("b")) == self.rounds
        assert [move.version for move in registry.moves("a", "l")] == list(range(1, self.rounds + 1))

    def test_writers_of_different_prompts_all_win(self, registry: PromptRegistry) -> None:
        def write(number: int) -> None:
            name = f"p{number}"
            for at in range(self.rounds):
                registry.commit([NewVersion(name, Template(str(at)))], label="l", expect={name: at or None})

        assert _race(self.threads, write) == [None] * self.threads
        assert sorted(registry.names()) == [f"p{number}" for number in range(self.threads)]
        for name in registry.names():
            assert [item.template.text for item in registry.history(name)] == [str(at) for at in range(self.rounds)]

    def test_a_reader_never_sees_half_a_write(self, registry: PromptRegistry) -> None:
        names = ("a", "b")
        registry.commit([NewVersion(name, Template("0")) for name in names], label="l", expect=dict.fromkeys(names))
        done = threading.Event()
        seen: list[tuple[int, int]] = []

        def work(number: int) -> None:
            if number:
                while not done.is_set():
                    first = registry.get("a", label="l").version
                    seen.append((first, registry.get("b", label="l").version))
                return
            try:
                for at in range(1, self.rounds):
                    new = [NewVersion(name, Template(str(at))) for name in names]
                    registry.commit(new, label="l", expect=dict.fromkeys(names, at))
            finally:
                done.set()

        assert _race(2, work) == [None, None]
        # "b" is read after "a", so it can be ahead of it and never behind.
        assert all(first <= second for first, second in seen)


def _two(registry: PromptRegistry, name: str = "p") -> tuple[PromptVersion, PromptVersion]:
    """Two versions under the label `candidate`."""
    (one,) = registry.commit([NewVersion(name, Template("P1"))], label="candidate", expect={name: None})
    (two,) = registry.commit([NewVersion(name, Template("P2"), parent=1)], label="candidate", expect={name: 1})
    return one, two


def _questions(registry: PromptRegistry) -> list[Callable[[], object]]:
    """Every way to ask for a prompt that is not there."""
    return [
        lambda: registry.get("nowhere"),
        lambda: registry.history("nowhere"),
        lambda: registry.labels("nowhere"),
        lambda: registry.moves("nowhere", "l"),
        lambda: registry.move("l", {"nowhere": 1}, expect={"nowhere": None}),
        lambda: registry.rollback("l", ["nowhere"]),
    ]


def _state(registry: PromptRegistry) -> object:
    labels = ("candidate", "production")
    return [
        (name, registry.history(name), registry.labels(name), [registry.moves(name, label) for label in labels])
        for name in registry.names()
    ]


def _check_exact(registry: PromptRegistry, name: str, template: Template) -> None:
    """Commit `template`, then another text; roll back; the label must give `template` again."""
    now = registry.labels(name).get("l") if name in registry.names() else None
    (one,) = registry.commit([NewVersion(name, template)], label="l", expect={name: now})
    registry.commit([NewVersion(name, Template("other"))], label="l", expect={name: one.version})
    registry.rollback("l", [name])
    back = registry.get(name, label="l")
    assert back.version == one.version
    # Compared piece by piece: a store that normalises or strips would pass a comparison of what it returned itself.
    assert back.template.text == template.text
    assert back.template.slots == template.slots
    assert back.template.demos == template.demos


def _race(threads: int, work: Callable[[int], None]) -> list[VersionConflict | None]:
    """Run `work` in threads that start together; for each None or its VersionConflict, in order."""
    start = threading.Barrier(threads)

    def run(number: int) -> VersionConflict | None:
        start.wait()
        try:
            work(number)
        except VersionConflict as error:
            return error
        return None

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))
