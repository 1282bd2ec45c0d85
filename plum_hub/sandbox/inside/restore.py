"""Changes that a callee made in its copies of the arguments, made in the caller's own containers."""

import collections
from typing import Any

from .remote import Gone
from .values import MUTABLE, SCALARS


def containers(value: Any, found: list[Any], seen: set[int]) -> None:
    """All mutable containers within `value`, in an order that depends on its structure alone."""
    kind = type(value)
    if kind in SCALARS or id(value) in seen:
        return
    if kind in MUTABLE:
        seen.add(id(value))
        found.append(value)
    if kind in (list, tuple, collections.deque):
        for item in value:
            containers(item, found, seen)
    elif kind in (dict, collections.Counter, collections.OrderedDict):
        for item in value.values():
            containers(item, found, seen)


def restore(args: Any, kwargs: Any, changed: Any, value: Any) -> Any:
    """Make the caller's containers equal to what the callee made of its copies; returns `value` with the same swap.

    Containers are paired from the outside in: same place, same type. A container that the callee *put* somewhere stays
    a copy.
    """
    swap: dict[int, Any] = {}
    done: set[int] = set()

    def pair(mine: Any, theirs: Any) -> None:
        if type(mine) is not type(theirs) or type(mine) in SCALARS or id(mine) in done:
            return
        if type(mine) is tuple:
            for a, b in zip(mine, theirs, strict=False):
                pair(a, b)
            return
        if type(mine) not in MUTABLE:
            return
        done.add(id(mine))
        swap[id(theirs)] = mine
        if type(mine) in (list, collections.deque):
            for a, b in zip(list(mine), theirs, strict=False):
                pair(a, b)
        elif isinstance(mine, dict):
            for key in mine:
                if key in theirs:
                    pair(mine[key], theirs[key])

    def swapped(item: Any) -> Any:
        if id(item) in swap:
            return swap[id(item)]
        return tuple(swapped(part) for part in item) if type(item) is tuple else item

    try:
        pair((args, kwargs), (tuple(changed[0]), changed[1]))
        pairs = [(mine, theirs) for mine, theirs in _pairs(swap, changed)]
    except (TypeError, IndexError, KeyError):
        raise Gone("sent what are no arguments") from None
    for mine, theirs in pairs:
        if type(mine) in (list, bytearray):
            mine[:] = [swapped(item) for item in theirs] if type(mine) is list else theirs
        elif type(mine) is set:
            mine.clear()
            mine.update(theirs)
        elif type(mine) is collections.deque:
            mine.clear()
            mine.extend(swapped(item) for item in theirs)
        else:
            mine.clear()
            mine.update({key: swapped(item) for key, item in theirs.items()})
    return swapped(value)


def _pairs(swap: dict[int, Any], changed: Any) -> list[tuple[Any, Any]]:
    found: list[Any] = []
    containers((tuple(changed[0]), changed[1]), found, set())
    return [(swap[id(theirs)], theirs) for theirs in found if id(theirs) in swap]
