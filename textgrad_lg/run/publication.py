"""Publication: how accepted edits get into the prompt registry, and into force."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from textgrad_lg.errors import VersionConflict
from textgrad_lg.registry import NewVersion
from textgrad_lg.run.deploy import CANDIDATE, PRODUCTION, prompt_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from textgrad_lg.overlay import Texts
    from textgrad_lg.prompt import Template
    from textgrad_lg.registry import PromptRegistry, PromptVersion
    from textgrad_lg.site import Site
    from textgrad_lg.types import JSON
    from textgrad_lg.update import Update


@dataclass
class Publication:
    """Writes one run's accepted edits to a registry, and publishes them at its end.

    Each edit is a version whose parents lead back to the graph's own text. That text is a version too: it says later
    which messages are to be rewritten, and it is where a rollback ends.

    Attributes:
        registry: Where to write.
        graph: The graph's name.
        run: The run's id, kept in the provenance.
        own: The graph's own texts.
        start: The texts that the run began with, where they were not the graph's own.
        verified: Whether runs of the graph decide; where not, each version says so.
    """

    registry: PromptRegistry
    graph: str
    run: str
    own: Mapping[Site, Template]
    start: Texts
    verified: bool = True
    _first: dict[str, int] = field(default_factory=dict[str, int])
    _heads: dict[str, int] = field(default_factory=dict[str, int])
    _found: dict[str, int | None] = field(default_factory=dict[str, "int | None"])
    _label: dict[str, int | None] = field(default_factory=dict[str, "int | None"])
    _lost: dict[str, VersionConflict] = field(default_factory=dict[str, VersionConflict])

    def commit(self, updates: Sequence[Update], score: float | None) -> tuple[PromptVersion, ...]:
        """Write the accepted edits of one candidate under the label `candidate`: all of them, or none.

        Raises:
            VersionConflict: Another run moved the label since this one wrote last.
        """
        names = [prompt_name(self.graph, update.site) for update in updates]
        try:
            for name, update in zip(names, updates, strict=True):
                if name not in self._heads:
                    self._heads[name] = self._begin(name, update.site)
            new = [self._version(name, update, score) for name, update in zip(names, updates, strict=True)]
            versions = self._write(new, twin=lambda other: other.provenance.get("run") == self.run)
            back = {
                version.name: version.version
                for version in versions
                if version.version not in self._line(version.name, self._label[version.name])
            }
            if back:
                self.registry.move(CANDIDATE, back, expect={name: self._label[name] for name in back})
                self._label.update(back)
        except VersionConflict as conflict:
            self._lost.update(dict.fromkeys(names, conflict))
            raise
        for version in versions:
            self._lost.pop(version.name, None)
            self._heads[version.name] = version.version
        return versions

    def _version(self, name: str, update: Update, score: float | None) -> NewVersion:
        provenance: dict[str, JSON] = {
            "run": self.run,
            "why": update.why,
            "proposer": update.proposer,
            "gradients": list(update.gradients),
            "traces": list(update.traces),
        }
        if not self.verified:
            provenance["verified"] = False
        return NewVersion(name, update.new, parent=self._heads[name], score=score, provenance=provenance)

    def publish(self) -> dict[str, int]:
        """Put the accepted texts in force: move `production` on all of them at once; returns the versions by name.

        Raises:
            VersionConflict: `production` is no longer where this run found it, or an edit could not be committed;
                nothing was moved.
        """
        for conflict in self._lost.values():
            raise conflict
        # By way of the texts the run began with where nothing was published before, so that a rollback ends there.
        unset = {name: self._first[name] for name, version in self._found.items() if version is None}
        if unset:
            self.registry.move(PRODUCTION, unset, expect=dict.fromkeys(unset))
        self.registry.move(PRODUCTION, self._heads, expect={**self._found, **unset})
        return dict(self._heads)

    def _begin(self, name: str, site: Site) -> int:
        """Write the text that the run began with, and the graph's own before it; returns the version."""
        labels = self.registry.labels(name) if name in self.registry.names() else {}
        self._found[name], self._label[name] = labels.get(PRODUCTION), labels.get(CANDIDATE)
        why = {"run": self.run, "why": "the graph's own text"}
        (version,) = self._write([NewVersion(name, self.own[site], provenance=why)])
        if site in self.start:
            why = {"run": self.run, "why": "the text that the graph was bound to"}
            new = NewVersion(name, self.start[site].new, parent=version.version, provenance=why)
            (version,) = self._write([new])
        self._first[name] = version.version
        return version.version

    def _write(
        self, new: Sequence[NewVersion], twin: Callable[[PromptVersion], bool] = lambda _: True
    ) -> tuple[PromptVersion, ...]:
        """Commit all of `new` at once, but for those whose twin this run, before it was gone on with, has written."""
        found = {item.name: self._twin(item, twin) for item in new}
        missing = [item for item in new if found[item.name] is None]
        if missing:
            expect = {item.name: self._label[item.name] for item in missing}
            for version in self.registry.commit(missing, label=CANDIDATE, expect=expect):
                found[version.name] = version
                self._label[version.name] = version.version
        return tuple(version for version in found.values() if version is not None)

    def _twin(self, new: NewVersion, twin: Callable[[PromptVersion], bool]) -> PromptVersion | None:
        for version in self.registry.history(new.name) if new.name in self.registry.names() else ():
            if (version.template, version.parent) == (new.template, new.parent) and twin(version):
                return version
        return None

    def _line(self, name: str, version: int | None) -> set[int]:
        """A version and all that it descends from: a label that points there needs not go back to one of these."""
        parents = {item.version: item.parent for item in self.registry.history(name)}
        found: set[int] = set()
        while version is not None and version not in found:
            found.add(version)
            version = parents.get(version)
        return found
