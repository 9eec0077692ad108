"""Clusters: which failures are of one kind, so that a step sees different ones and not one of them a hundred times."""

# scikit-learn ships no types.
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportMissingImports=false

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

from textgrad_lg.errors import TextgradError
from textgrad_lg.templates import FENCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

T = TypeVar("T")

CLUSTERS = 24
"""Kinds of failures at most that are told apart."""
_FEATURES = 4_096
_TOKEN = r"(?u)[^\W\d_]{2,}"  # noqa: S105  a pattern of words; numbers tell one failure from another, and not its kind
_APART = 0.6
"""Cosine distance up to which the centres of two clusters are one kind."""
_CHARACTERS = 4_000


def clustered(texts: Sequence[str], *, most: int = CLUSTERS, seed: int = 0) -> tuple[tuple[int, ...], ...]:
    """The texts in clusters: the largest first, in each the most typical text first.

    Words are hashed and weighed by how rare they are (TF-IDF), grouped by MiniBatchKMeans, and groups whose centres lie
    near each other are put together, so that few kinds make few clusters. The same texts in the same order and the same
    seed give the same clusters. Memory grows with the words of the texts, and not with the square of their number.

    Args:
        texts: What each failure reads like.
        most: Clusters at most.
        seed: All chance comes from it.

    Returns:
        Positions in `texts`; each is in one cluster.

    Raises:
        TextgradError: scikit-learn is needed and not installed.
    """
    places: dict[str, list[int]] = {}
    for at, text in enumerate(texts):
        places.setdefault(" ".join(re.findall(_TOKEN, _plain(text).lower())), []).append(at)
    if len(places) <= 1:
        return (tuple(range(len(texts))),) if texts else ()
    try:
        import numpy as np
        from sklearn.cluster import AgglomerativeClustering, MiniBatchKMeans
        from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    except ImportError as error:
        raise TextgradError(
            'clustering failures needs scikit-learn, which is not installed; run: pip install "textgrad-lg[learn]"'
        ) from error
    options: dict[str, Any] = {"n_features": _FEATURES, "alternate_sign": False, "norm": None, "token_pattern": _TOKEN}
    counts = HashingVectorizer(**options).transform(places)
    rows: Any = TfidfTransformer(sublinear_tf=True).fit_transform(counts)
    weights = np.array([len(same) for same in places.values()])
    if len(places) <= most:
        labels, centres = np.arange(len(places)), rows.toarray()
    else:
        options = {"random_state": seed, "n_init": 3, "batch_size": 1_024}
        found = MiniBatchKMeans(most, **options).fit(rows, sample_weight=weights)
        labels, centres = found.labels_, found.cluster_centers_
    # A centre without a length has no direction to compare: texts without words are a kind of their own.
    lengths = np.linalg.norm(centres, axis=1)
    full = np.flatnonzero(lengths > 0)
    merged = np.arange(len(centres)) + len(centres)
    if len(full) > 1:
        options = {"n_clusters": None, "metric": "cosine", "linkage": "average", "distance_threshold": _APART}
        near = AgglomerativeClustering(**options)
        merged[full] = near.fit_predict(centres[full])
    kind, every = merged[labels], list(places.values())
    groups: list[tuple[int, ...]] = []
    for name in dict.fromkeys(kind.tolist()):
        at = np.flatnonzero(kind == name)
        centre = np.asarray(rows[at].T @ weights[at]).ravel()
        typical = np.round(np.asarray(rows[at] @ centre).ravel() / weights.sum(), 9)
        nearest = at[np.argsort(-typical, kind="stable")]
        groups.append(tuple(one for distinct in nearest.tolist() for one in every[distinct]))
    return tuple(sorted(groups, key=lambda group: (-len(group), min(group))))


def in_turn(groups: Iterable[Sequence[T]]) -> list[T]:
    """The members of all groups: the first of each, then the second of each, and so on."""
    groups = list(groups)
    return [group[turn] for turn in range(max(map(len, groups), default=0)) for group in groups if turn < len(group)]


def _plain(text: str) -> str:
    """A text without the marks of fences, which differ from text to text."""
    return FENCE.sub(" ", text[:_CHARACTERS])
