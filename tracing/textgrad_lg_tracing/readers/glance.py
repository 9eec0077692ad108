"""Glance: what a trace is chosen by, seen from its outermost span before a Trace is made of it.

A Trace costs ten times what it takes to read its spans, and of a hundred thousand traces a few hundred are learnt from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textgrad_lg_tracing import attributes as at
from textgrad_lg_tracing.readers.dialects.told import ABSENT, mapping
from textgrad_lg_tracing.readers.runs import error_of

if TYPE_CHECKING:
    from textgrad_lg_tracing.readers.dialects.told import Told
    from textgrad_lg_tracing.readers.parts import Part
    from textgrad_lg_tracing.readers.span import SourceSpan

_USERS = ("user.id", "enduser.id", "langfuse.user.id", "langfuse.trace.user_id")
_USERS_TOLD = ("user_id", "langfuse_user_id")
_SESSIONS = ("session.id", "gen_ai.conversation.id", "langfuse.session.id", "langsmith.thread_id")
_SESSIONS_TOLD = ("thread_id", "session_id", "conversation_id")


@dataclass(frozen=True, slots=True)
class Glance:
    """What is known of a trace at once.

    Attributes:
        error: What the run as a whole ended with, in words; None where it ended well, or it is not seen.
        user: For whom it was run; empty where the spans do not say.
        session: The conversation or thread that it is a part of; empty where the spans do not say.
        whole: Whether what went in and what came out seems to be in the spans. A trace for which this is False holds
            neither; for one for which it is True that is certain only when the Trace is made.
    """

    error: str | None
    user: str
    session: str
    whole: bool


def glance(part: Part) -> Glance:
    """What is known of a run at once."""
    own = part.rollout
    if part.dialect is None:
        assert own is not None
        about = own.attributes
        whole = at.INPUT in about and (at.OUTPUT in about or own.error is not None)
        return Glance(own.error, *_who(own, {}), whole)
    tops = part.tops
    roots = [(span, told) for span, told in tops if span.parent_id is None]
    span, told = roots[0] if roots else tops[0]
    # Of several runs side by side none is the whole; a Trace has one made up around them, which has no error.
    error = error_of(span.error) if span.error is not None and len(roots or tops) == 1 else None
    user, session = _who(span, told.metadata)
    if own is not None:
        # Our session is the optimisation, and what the graph was given for one is none that a user has had.
        user, session = user or _who(own, {})[0], _who(own, {})[1]
    return Glance(error, user, session, any(_is_whole(*top) for top in tops))


def _is_whole(span: SourceSpan, told: Told) -> bool:
    given = told.inputs is not ABSENT and told.inputs is not None
    made = told.outputs is not ABSENT and told.outputs is not None
    return told.kind == "chain" and given and (made or span.error is not None)


def _who(span: SourceSpan, metadata: Mapping[str, Any]) -> tuple[str, str]:
    """The user and the session."""
    about = span.attributes
    told = metadata or mapping(about.get("metadata"))
    return _first(about, _USERS) or _first(told, _USERS_TOLD), _first(about, _SESSIONS) or _first(told, _SESSIONS_TOLD)


def _first(told: Mapping[str, Any], names: Sequence[str]) -> str:
    found = (told.get(name) for name in names)
    return next((str(value) for value in found if isinstance(value, str | int) and value != ""), "")
