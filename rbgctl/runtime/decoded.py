"""Models of cached objects, parsed once per version (RT-MM-05)."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from rbgctl.machinery.gvk import NN, RawObject
from rbgctl.runtime.store import Entry

T = TypeVar("T")


class Decoded(Generic[T]):
    """The results of `parse` for the last `size` objects asked for, one version of each.

    For own kinds whose models are dear to build. Results are shared between reconciles: treat them as immutable.
    """

    def __init__(self, parse: Callable[[RawObject], T], size: int = 4096) -> None:
        self._parse = parse
        self._size = size
        self._memo: OrderedDict[NN, tuple[tuple[str, str], T]] = OrderedDict()

    def get(self, entry: Entry) -> T:
        key, version = entry.header.key, (entry.header.uid, entry.header.rv)
        known = self._memo.get(key)
        if known is None or known[0] != version:
            known = self._memo[key] = (version, self._parse(entry.decode()))
        self._memo.move_to_end(key)
        if len(self._memo) > self._size:
            self._memo.popitem(last=False)
        return known[1]

    def forget(self, key: NN) -> None:
        """The object is gone."""
        self._memo.pop(key, None)
