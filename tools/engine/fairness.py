"""Whose turn it is: small uploads are not stuck behind large ones, and large ones are not passed over for ever.

Start-time fair queueing (Goyal, Vin, Cheng 1996) between classes of size, first come first served within a class. A
class pays with time for what it starts; the class that has paid least comes next. As long as two classes have somebody
waiting, what they start differs by no more than one upload of each, in cost.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Collection
from typing import Generic, TypeVar

from tools.settings import MEGABYTE

CLASS_BOUNDS = (MEGABYTE // 4, 8 * MEGABYTE)
"""Largest size of each class but the last, in bytes: sent in one write; sent within a second or so; the long ones."""

CLASSES = range(len(CLASS_BOUNDS) + 1)
LONGEST = CLASSES[-1]

_COST_OF_ANY = MEGABYTE
"""What an upload costs, however short: the bytes that go over a wire in the time of its round trips."""

T = TypeVar("T")


def class_of(size: int) -> int:
    """The class of an upload of so many bytes; 0 is the shortest."""
    return bisect_left(CLASS_BOUNDS, size)


def cost_of(size: int) -> int:
    """How much an upload takes of what all share, in bytes."""
    return _COST_OF_ANY + size


class FairQueue(Generic[T]):
    """Those who wait, by class. Every operation takes constant time."""

    def __init__(self) -> None:
        self._waiting: tuple[OrderedDict[T, int], ...] = tuple(OrderedDict() for _ in CLASSES)
        self._paid = [0 for _ in CLASSES]
        self._time = 0

    def __len__(self) -> int:
        return sum(map(len, self._waiting))

    def __bool__(self) -> bool:
        return any(self._waiting)

    def put(self, item: T, size: int) -> None:
        """Queue up. A class that comes back after an absence has no credit from it."""
        number = class_of(size)
        if not self._waiting[number]:
            self._paid[number] = max(self._paid[number], self._time)
        self._waiting[number][item] = size

    def discard(self, item: T, size: int) -> None:
        """Leave the queue without a turn; costs nothing."""
        self._waiting[class_of(size)].pop(item, None)

    def take(self, classes: Collection[int] = CLASSES) -> T | None:
        """Whoever is next, of these classes; None if nobody is."""
        able = [number for number in classes if self._waiting[number]]
        if not able:
            return None
        number = min(able, key=self._paid.__getitem__)
        item, size = self._waiting[number].popitem(last=False)
        self._time = max(self._time, self._paid[number])
        self._paid[number] += cost_of(size)
        return item
