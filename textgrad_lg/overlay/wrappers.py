"""Wrappers: the one way in which this library patches a class, and puts it back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

_Method = Callable[..., Any]


class Wrappers:
    """Puts wrappers on methods of a class when the first overlay opens and takes them off when the last one closes.

    Args:
        owner: The class.
        makers: For each method's name, what makes a wrapper of the method.
    """

    def __init__(self, owner: type[Any], makers: Mapping[str, Callable[[_Method], _Method]]) -> None:
        self._owner, self._makers = owner, makers
        self._put_on: dict[str, tuple[_Method, _Method]] = {}
        self._open = 0
        # Reentrant: the garbage collector may close an abandoned stream, and with it an overlay, at any allocation.
        self._lock = threading.RLock()

    @contextmanager
    def on(self) -> Generator[None]:
        """Have them on inside the block; blocks may overlap."""
        with self._lock:
            self._open += 1
            if self._open == 1:
                self._wrap()
        try:
            yield
        finally:
            with self._lock:
                self._open -= 1
                if self._open == 0:
                    self._unwrap()

    def _wrap(self) -> None:
        for name, make in self._makers.items():
            original = self._owner.__dict__.get(name)
            # The two v3 methods are beta in langchain-core: without them there is nothing to wrap.
            if original is not None:
                wrapper = make(original)
                self._put_on[name] = original, wrapper
                setattr(self._owner, name, wrapper)

    def _unwrap(self) -> None:
        for name, (original, wrapper) in self._put_on.items():
            # Somebody else's patch on top of ours stays; ours, below it, is transparent from now on.
            if self._owner.__dict__.get(name) is wrapper:
                setattr(self._owner, name, original)
        self._put_on.clear()
