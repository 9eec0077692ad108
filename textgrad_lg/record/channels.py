"""Who wrote what a node reads: the channels of one graph run, as its tasks write and read them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import BaseMessage

from textgrad_lg.record.evidence import Facts, normal
from textgrad_lg.record.values import Converter, canonical, same

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHORTEST = 3


@dataclass(slots=True, eq=False)
class Write:
    """One write to a channel.

    Attributes:
        variable: The id of the Variable that was written.
        value: The value written, as the node gave it.
        order: Counts the writes of the graph run.
        whole: Whether all of the value is new with it.
    """

    variable: str
    value: Any
    order: int
    whole: bool


@dataclass(slots=True)
class _Channel:
    last: list[Write] = field(default_factory=list[Write])
    """The writes of the last step that wrote it."""
    step: int = -1
    # Which writes put in what is found in a list, dict or text now: linear in what is read, whatever was written before.
    owners: dict[str, list[Write]] = field(default_factory=dict[str, list[Write]])
    texts: list[tuple[str, Write]] = field(default_factory=list[tuple[str, Write]])
    messages: dict[str, BaseMessage] = field(default_factory=dict[str, BaseMessage])
    # Writes of what LangGraph makes messages of, and gives ids that cannot be known here.
    loose: list[Write] = field(default_factory=list[Write])
    # Messages in what was read last that nobody is known to have written.
    foreign: list[BaseMessage] = field(default_factory=list[BaseMessage])
    settled: bool = False


class Channels:
    """The channels of one graph run.

    A channel without reducer holds its last write. Of one with a reducer, or of a list that nodes extend by hand, a write
    counts as long as something it added is found in what is read; which reducer it is need not be known.

    Args:
        convert: Makes JSON of list items, to compare them.
    """

    def __init__(self, convert: Converter) -> None:
        self._convert = convert
        self._channels: dict[str, _Channel] = {}
        self._count = 0
        # By identity: the same item stands in the lists of all later steps. The item is kept so that its id is not reused.
        self._keys: dict[int, tuple[Any, str]] = {}

    @property
    def count(self) -> int:
        """How many writes there were so far."""
        return self._count

    def new(self, name: str, value: Any, read: Any) -> Any:
        """What a write adds: of a list what follows the list that was read, without messages held as they are."""
        if not isinstance(value, list):
            return value
        items = cast("list[Any]", value)
        if isinstance(read, list) and read and same(items[: len(cast("list[Any]", read))], read):
            items = items[len(cast("list[Any]", read)) :]
        held = self._channels[name].messages if name in self._channels else {}
        return [item for item in items if not self._held(item, held)]

    def write(self, name: str, variable: str, value: Any, step: int, *, new: Any = None, replace: bool = False) -> None:
        """Note a write.

        Args:
            name: The channel.
            variable: The id of the Variable that was written.
            value: Its value.
            step: The step in which it was written.
            new: What it adds, as `new` says; None for all of it.
            replace: Whether it discards what the channel held.
        """
        channel = self._channels.get(name)
        if channel is None or replace:
            channel = self._channels[name] = _Channel()
        written = Write(variable, value, self._count, whole=new is None or new is value or same(new, value))
        self._count += 1
        if step > channel.step:
            channel.last, channel.step = [], step
        if step >= channel.step:
            channel.last.append(written)
        loose = not isinstance(value, BaseMessage)
        for key, item in self._parts(value if new is None else new):
            loose = not (isinstance(item, BaseMessage) and item.id)
            owners = channel.owners.setdefault(key, [])
            if isinstance(item, BaseMessage) and item.id:
                owners.clear()
                channel.messages[item.id] = item
            owners.append(written)
        if loose:
            channel.loose.append(written)
        if isinstance(value, str) and len(value) >= _SHORTEST:
            channel.texts.append((normal(value), written))

    def read(self, name: str, value: Any) -> list[Write]:
        """The writes that are in what was read from a channel, in order; its last ones always. Empty if never written."""
        channel = self._channels.get(name)
        if channel is None:
            return []
        last = channel.last
        parts = list(self._parts(value))
        self._settle(channel, parts)
        if len(last) == 1 and last[0].whole and same(last[0].value, value):
            return list(last)
        found: dict[int, Write] = {at.order: at for at in last}
        for key in dict.fromkeys(key for key, _ in parts):
            found.update({at.order: at for at in channel.owners.get(key, ())})
        if isinstance(value, str) and len(channel.texts) > len(last):
            text = normal(value)
            # What is gone from a text does not come back, so each step looks only for what the last one found.
            channel.texts = [(part, at) for part, at in channel.texts if part in text]
            found.update({at.order: at for _, at in channel.texts})
        return [found[order] for order in sorted(found)]

    def unwritten(self, name: str, value: Any, *, messages: bool) -> Any:
        """What is in a value that was read, by `read`, and that nobody is known to have written; None for nothing.

        Args:
            name: The channel, written before.
            value: What was read from it.
            messages: Whether to look for messages only: their ids prove it, while a reducer may have made anything else
                of what was written.
        """
        channel = self._channels[name]
        if messages:
            return list(channel.foreign) or None
        if any(same(at.value, value) for at in channel.last):
            return None
        if isinstance(value, dict):
            entries = cast("dict[Any, Any]", value)
            return {k: v for k, v in entries.items() if f"{k}={self._key(v)}" not in channel.owners} or None
        if isinstance(value, list):
            return [item for key, item in self._parts(value) if key not in channel.owners] or None
        return value

    def last(self, name: str) -> list[Write]:
        """The writes of the last step that wrote a channel."""
        return list(self._channels[name].last) if name in self._channels else []

    def latest(self) -> list[Write]:
        """The last writes of every channel, in the order they were made."""
        return sorted((at for channel in self._channels.values() for at in channel.last), key=lambda at: at.order)

    def _settle(self, channel: _Channel, parts: list[tuple[str, Any]]) -> None:
        """Find what was written in what LangGraph made of it: "hi" is a message with an id when it is read."""
        channel.foreign = []
        # Of what is no message, only the run's input is coerced, and that is over when it was read once.
        first, channel.settled = channel.step < 0 and not channel.settled, True
        for key, item in parts:
            message = isinstance(item, BaseMessage) and bool(item.id)
            if key in channel.owners or not (message or first):
                continue
            told = Facts(self._convert.json(item, "state")).whole
            for written in channel.loose:
                if not Facts(self._convert.json(written.value, "state")).whole.isdisjoint(told):
                    channel.owners[key] = [written]
                    break
            else:
                channel.foreign += [item] if message else []

    def _parts(self, value: Any) -> Iterator[tuple[str, Any]]:
        """What a list or dict is made of, each part with the key by which it is found again."""
        if isinstance(value, list):
            for item in cast("list[Any]", value):
                yield self._key(item), item
        elif isinstance(value, dict):
            for key, item in cast("dict[Any, Any]", value).items():
                yield f"{key}={self._key(item)}", item
        elif isinstance(value, BaseMessage):
            yield self._key(value), value

    def _key(self, item: Any) -> str:
        if isinstance(item, str):
            return item
        known = self._keys.get(id(item))
        if known is None:
            # A message is found by its id alone, as LangGraph does: a new text under an old id takes its place.
            key = f"message {item.id}" if isinstance(item, BaseMessage) and item.id else ""
            known = (item, key or canonical(self._convert.json(item, "channel")))
            self._keys[id(item)] = known
        return known[1]

    def _held(self, item: Any, held: dict[str, BaseMessage]) -> bool:
        if not isinstance(item, BaseMessage) or item.id not in held:
            return False
        known = held[item.id]
        return known is item or self._convert.message(known) == self._convert.message(item)
