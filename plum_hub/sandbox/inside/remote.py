"""References to objects in the other process, and what can be done with them.

**A reference is never equal to plain data nor ordered against it**, whatever its class says: an object that equals
everything equals nothing here. An instance of a subclass of int, str, list, ... compares as the plain value it holds.
"""

import copy
import operator
import types
from typing import TYPE_CHECKING, Any

from .values import CONTENTS, MISSING, TYPES

if TYPE_CHECKING:
    from .wire import Peer


class Inseparable(BaseException):
    """A test does what only works in the program's own process, such as deriving from its class.

    No Exception, so that a test that catches all of them does not catch this one.
    """


class Gone(BaseException):
    """The program's process ended, or broke the protocol, in the middle of a test."""


def _next(iterator: Any) -> Any:
    return next(iterator)


def _await(awaitable: Any) -> Any:
    import asyncio  # not at the top: every program's process would pay for its memory

    async def wait() -> Any:
        return await awaitable

    return asyncio.run(wait())


def _exit(context: Any, *_: Any) -> Any:
    return type(context).__exit__(context, None, None, None)


OPERATIONS: dict[str, Any] = {
    "call": lambda function, *args, **kwargs: function(*args, **kwargs),
    "getattr": getattr,
    "setattr": setattr,
    "delattr": delattr,
    "len": len,
    "iter": iter,
    "next": _next,
    "bool": bool,
    "str": str,
    "repr": repr,
    "hash": hash,
    "format": format,
    "int": int,
    "float": float,
    "complex": complex,
    "round": round,
    "reversed": reversed,
    "dir": dir,
    "type": type,
    "divmod": divmod,
    "isinstance": isinstance,
    "issubclass": issubclass,
    "await": _await,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "contents": lambda value, kind: CONTENTS[kind](value),
    "enter": lambda context: type(context).__enter__(context),
    "exit": _exit,
    **{
        name: getattr(operator, name)
        for name in (
            "eq ne lt le gt ge add sub mul truediv floordiv mod pow matmul and_ or_ xor lshift rshift neg "
            "pos abs invert index getitem setitem delitem contains iadd isub imul itruediv ifloordiv imod "
            "ipow iand ior ixor"
        ).split()
    },
}

#: What the program may do with what a test hands to it.
CALLBACK_OPERATIONS = frozenset(
    (
        "call getattr setattr len iter next bool str repr hash eq ne lt le gt ge add sub mul getitem "
        "setitem delitem contains enter exit int float index"
    ).split()
)


class Remote:
    """An object of the other process."""

    __slots__ = ("__weakref__", "_base", "_id", "_kind", "_peer")

    _peer: "Peer"
    _id: int
    _kind: str  # function, class, exception, coroutine, generator, iterator, derived (see `_tell`) or object
    _base: Any  # of an instance of a subclass of int, str, ...: (the value,), or its type's name if it may change

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__") and name not in ("__name__", "__doc__", "__dict__"):
            raise AttributeError(name)
        return _do(self, "getattr", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        _do(self, "setattr", self, name, value)

    def __delattr__(self, name: str) -> None:
        _do(self, "delattr", self, name)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        held = _held(self)
        if held is not MISSING:
            return type(held[0]) if type(held) is tuple else TYPES[held]
        return types.GeneratorType if _kind(self) == "generator" else type(self)

    def __eq__(self, other: object) -> Any:
        return _equal(self, other, "eq")

    def __ne__(self, other: object) -> Any:
        return _equal(self, other, "ne")

    def __hash__(self) -> int:
        base = _base(self)
        return hash(base) if base is not MISSING else _exact(_do(self, "hash", self), int)

    def __bool__(self) -> bool:
        base = _base(self)
        return bool(base) if base is not MISSING else _exact(_tell(self, "bool"), bool)

    def __len__(self) -> int:
        base = _contents(self)
        return len(base) if base is not MISSING else _exact(_tell(self, "len"), int)

    def __contains__(self, item: Any) -> bool:
        base = _contents(self)
        if base is not MISSING:
            return item in base
        # Its own answer could be yes to everything: look through what it holds.
        return any(item is held or item == held for held in self)

    def __iter__(self) -> Any:
        base = _contents(self)
        if base is not MISSING:
            return iter(base)
        return self if _kind(self) in ("iterator", "generator") else _do(self, "iter", self)

    def __getitem__(self, key: Any) -> Any:
        return _do(self, "getitem", self, key)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> Any:
        raise Inseparable("a class derived from the program's")

    def __instancecheck__(self, value: Any) -> bool:
        return _exact(_do(self, "isinstance", value, self), bool)

    def __subclasscheck__(self, value: Any) -> bool:
        return _exact(_do(self, "issubclass", value, self), bool)

    def __str__(self) -> str:
        return _exact(_do(self, "str", self), str)

    def __repr__(self) -> str:
        return _exact(_do(self, "repr", self), str)

    def __format__(self, spec: str) -> str:
        return _exact(_do(self, "format", self, spec), str)

    def __int__(self) -> int:
        base = _base(self)
        return int(base) if base is not MISSING else _exact(_tell(self, "int"), int)

    def __float__(self) -> float:
        base = _base(self)
        return float(base) if base is not MISSING else _exact(_tell(self, "float"), float)

    def __complex__(self) -> complex:
        return _exact(_tell(self, "complex"), complex)

    def __dir__(self) -> Any:
        return _do(self, "dir", self)

    def __copy__(self) -> Any:
        return _do(self, "copy", self)

    def __deepcopy__(self, _: Any) -> Any:
        return _do(self, "deepcopy", self)

    def __await__(self) -> Any:
        return wait(self).__await__()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> Any:
        swallow = _do(self, "exit", self)
        # Never a test's own assertion, nor the end of the program's process.
        ours = kind is None or issubclass(kind, AssertionError) or not issubclass(kind, Exception)
        return False if ours else bool(swallow)


class Callable(Remote):
    """A Remote that can be called, so that `callable` tells the truth."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._peer.ask("call", (self, *args), kwargs)


_kind = Remote._kind.__get__  # type: ignore[misc, attr-defined]
_peer_of = Remote._peer.__get__  # type: ignore[misc, attr-defined]


number_of = Remote._id.__get__  # type: ignore[misc, attr-defined]


_held = Remote._base.__get__  # type: ignore[misc]


def _base(remote: Any) -> Any:
    """The plain value that an instance of a subclass of int, str, list, ... holds, now; MISSING for other objects."""
    held = _held(remote)
    if held is MISSING:
        return MISSING
    return held[0] if type(held) is tuple else _exact(_do(remote, "contents", remote, held), TYPES[held])


def is_remote(value: Any) -> bool:
    """Whether `value` is a reference; the type decides, which no program can change."""
    return type(value) is Remote or type(value) is Callable or type(value) is Indexable


def _do(remote: Any, operation: str, *args: Any) -> Any:
    return _peer_of(remote).ask(operation, args, {})


def _contents(remote: Any) -> Any:
    """The base of an instance of a container's subclass; MISSING for numbers, whose subclass may hold things, too."""
    base = _base(remote)
    return MISSING if type(base) in (int, float, bool) else base


def _tell(remote: Any, operation: str) -> Any:
    """A plain value from an object, unless plain data went into making it.

    `f(1) - 2` tells the program what the test expects: it must not be the one to say that the difference is nothing.
    """
    if _kind(remote) == "derived":
        raise TypeError("plain data went into this object of the program: it is not turned into plain data again")
    return _do(remote, operation, remote)


def fill(remote: Any, peer: "Peer", number: int, kind: str, base: Any) -> None:
    """Make a bare Remote a reference to object `number` of the other end."""
    for slot, value in (("_peer", peer), ("_id", number), ("_kind", kind), ("_base", base)):
        getattr(Remote, slot).__set__(remote, value)


def _derived(remote: Any) -> Any:
    """The result of an operator between an object of the program and plain data: an object, never plain data."""
    if not is_remote(remote) or _held(remote) is not MISSING:
        raise TypeError("an object of the program does not calculate with plain data")
    made = object.__new__(Remote)
    fill(made, _peer_of(remote), number_of(remote), "derived", MISSING)
    return made


def _exact(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"the program's object gave no {kind.__name__}")
    return value


async def wait(remote: Any) -> Any:
    return _do(remote, "await", remote)


def _equal(remote: Any, other: Any, operation: str) -> Any:
    mine = _base(remote)
    theirs = _base(other) if is_remote(other) else other
    if mine is not MISSING and theirs is not MISSING:
        return OPERATIONS[operation](mine, theirs)
    if is_remote(other):  # two objects of the program: it alone can tell
        if operation == "eq" and other is remote:
            return True
        return _do(remote, operation, remote, other)
    return operation == "ne"


def _install_operators() -> None:
    def ordering(name: str) -> Any:
        def compare(self: Any, other: Any) -> Any:
            mine = _base(self)
            theirs = _base(other) if is_remote(other) else other
            if mine is not MISSING and theirs is not MISSING:
                return OPERATIONS[name](mine, theirs)
            if is_remote(other):
                return _do(self, name, self, other)
            raise TypeError("an object of the program is not ordered against plain data")

        return compare

    def binary(name: str) -> tuple[Any, Any]:
        def forward(self: Any, other: Any) -> Any:
            mine = _base(self)
            if is_remote(other):
                return _do(self, name, self, other)
            return OPERATIONS[name](mine, other) if mine is not MISSING else _derived(_do(self, name, self, other))

        def reflected(self: Any, other: Any) -> Any:
            mine = _base(self)
            return OPERATIONS[name](other, mine) if mine is not MISSING else _derived(_do(self, name, other, self))

        return forward, reflected

    for name in "iadd isub imul itruediv ifloordiv imod ipow iand ior ixor".split():

        def in_place(self: Any, other: Any, name: str = name) -> Any:
            if type(_held(self)) is tuple:
                return NotImplemented  # a number: as plain data
            result = _do(self, name, self, other)
            return result if is_remote(other) or _held(self) is not MISSING else _derived(result)

        setattr(Remote, f"__{name}__", in_place)
    for name in ("lt", "le", "gt", "ge"):
        setattr(Remote, f"__{name}__", ordering(name))
    for name in "add sub mul truediv floordiv mod pow matmul and_ or_ xor lshift rshift divmod".split():
        plain = name.rstrip("_")
        forward, reflected = binary(name)
        setattr(Remote, f"__{plain}__", forward)
        setattr(Remote, f"__r{plain}__", reflected)
    for name in "neg pos abs invert round reversed enter next setitem delitem".split():

        def unary(self: Any, *args: Any, name: str = name) -> Any:
            base = _base(self)
            if base is not MISSING and name in ("neg", "pos", "abs", "invert", "round", "reversed"):
                return OPERATIONS[name](base, *args)
            result = _do(self, name, self, *args)
            derived = _kind(self) == "derived" and name in ("neg", "pos", "abs", "invert", "round")
            return _derived(result) if derived else result

        setattr(Remote, f"__{name}__", unary)


_install_operators()


class _TypeOf(type):
    """`type` as tests have it: of a reference, the program's class."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and is_remote(args[0]):
            return _do(args[0], "type", args[0])
        return type(*args, **kwargs)

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, type)

    def __subclasscheck__(cls, value: Any) -> bool:
        return issubclass(value, type)


class Type(type, metaclass=_TypeOf):
    """Stands for the built-in `type` in the names of a test."""


class Indexable(Remote):
    """An int of a subclass: the one kind of Remote that may be an index."""

    __slots__ = ()

    def __index__(self) -> int:
        return int(_base(self))
