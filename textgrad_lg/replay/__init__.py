"""Replay: run a graph again, and pay only for what has changed.

    with memorise() as first:
        graph.invoke(question)
    with overlay({site: replacement}), replay(first.memo) as second:
        graph.invoke(question)            # only what depends on the changed text calls a model

The whole graph runs again, under a Memo of what models and tools answered. A Memo is made from a live run and not from a
Trace: a Trace keeps of a model call what a person or a critic needs, and not all that decides its answer (stop words,
temperature and other settings of the model, the rest of the call's options), so a look-up in it could be wrong.

Not remembered: exceptions of models (the call is made again), retrievers (they run again), and what the nodes' own Python
code does.
"""

from textgrad_lg.replay.memo import Entry, Memo
from textgrad_lg.replay.session import Replay, memorise, replay

__all__ = ["Entry", "Memo", "Replay", "memorise", "replay"]
