"""A mapping that notes what is read from it, so that a gradient lands on the fields an evaluator judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, SupportsIndex, cast

from typing_extensions import override

if TYPE_CHECKING:
    from _collections_abc import dict_items, dict_keys, dict_values


class NotedReads(dict[str, Any]):
    """A dict that notes what is read from it.

    A field counts as read when it is asked for by name; anything that goes through all fields (iteration, `keys`,
    `items`, comparison, `json.dumps`, `repr`, `**`) counts as reading the whole. A copy goes on noting in the same place
    and is no reading by itself, so that an evaluator which works on a copy, or a tracer which takes one, changes nothing.
    What reads a dict from C without calling its methods (orjson, pydantic) is not seen.
    """

    def __init__(self, values: Mapping[str, Any], noted: dict[str | None, None] | None = None) -> None:
        super().__init__(values)
        # In order, each once; None stands for the whole.
        self._noted: dict[str | None, None] = {} if noted is None else noted

    @property
    def whole(self) -> bool:
        """Whether it was read as a whole."""
        return None in self._noted

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields asked for by name, in the order they were first read, those it does not hold included."""
        return tuple(name for name in self._noted if name is not None)

    def _note(self, field: object = None) -> None:
        self._noted.setdefault(field if isinstance(field, str) else None)

    @override
    def __getitem__(self, key: str, /) -> Any:
        self._note(key)
        return super().__getitem__(key)

    @override
    def get(self, key: str, default: Any = None, /) -> Any:
        self._note(key)
        return super().get(key, default)

    @override
    def __contains__(self, key: object, /) -> bool:
        self._note(key)
        return super().__contains__(key)

    @override
    def pop(self, key: str, /, *default: Any) -> Any:
        self._note(key)
        return super().pop(key, *default)

    @override
    def setdefault(self, key: str, default: Any = None, /) -> Any:
        self._note(key)
        return super().setdefault(key, default)

    @override
    def popitem(self) -> tuple[str, Any]:
        self._note()
        return super().popitem()

    @override
    def __iter__(self) -> Iterator[str]:
        self._note()
        return super().__iter__()

    @override
    def __reversed__(self) -> Iterator[str]:
        self._note()
        return super().__reversed__()

    @override
    def keys(self) -> dict_keys[str, Any]:
        self._note()  # dict(outputs) and **outputs come this way too
        return super().keys()

    @override
    def values(self) -> dict_values[str, Any]:
        self._note()
        return super().values()

    @override
    def items(self) -> dict_items[str, Any]:
        self._note()
        return super().items()

    @override
    def __eq__(self, other: object, /) -> bool:
        self._note()
        if isinstance(other, NotedReads):
            other._note()
        return super().__eq__(other)

    @override
    def __ne__(self, other: object, /) -> bool:
        return not self == other

    __hash__ = None  # pyright: ignore[reportAssignmentType]  as dict has it

    @override
    def __or__(self, other: dict[Any, Any], /) -> dict[Any, Any]:
        self._note()
        return {**dict(self), **other}

    @override
    def __ror__(self, other: dict[Any, Any], /) -> dict[Any, Any]:
        self._note()
        return {**other, **dict(self)}

    @override
    def __repr__(self) -> str:
        self._note()
        return super().__repr__()

    @override
    def __reduce_ex__(self, protocol: SupportsIndex, /) -> tuple[Any, ...]:
        self._note()
        return dict, (dict(self),)

    @override
    def copy(self) -> NotedReads:
        return self._copy(plain(self))

    def __copy__(self) -> NotedReads:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> NotedReads:
        return self._copy({key: unshared(value) for key, value in plain(self).items()})

    def _copy(self, values: dict[str, Any]) -> NotedReads:
        return NotedReads(values, self._noted)


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """A plain dict of the same fields, made without being noted."""
    own = cast("type[dict[str, Any]]", dict)  # dict's methods, not those of the class of `values`
    return {key: own.__getitem__(values, key) for key in own.__iter__(values)}


def unshared(value: Any) -> Any:
    """A copy whose dicts and lists are new at every depth, so that one evaluator cannot change what the next one sees.

    Other objects, chat messages for one, are shared: not everything that a state holds can be copied.
    """
    if isinstance(value, dict):
        return {key: unshared(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list):
        return [unshared(item) for item in cast("list[Any]", value)]
    return value
