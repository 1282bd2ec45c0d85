"""How a tester uses a program that lives in another process: calls by value, references to what cannot be a value.

Both ends hold a `Peer` on one socket. A value made of plain data (numbers, text, containers, dates, decimals, ...) is
copied. Anything else stays where it is, and the other end gets a `Remote`: attributes, calls, operators and iteration
are asked for over the socket. Arguments that the callee changed in place are changed at the caller too. While one end
waits for an answer it serves the other's requests, so callbacks work.

The tester must not trust the program:

- bytes from the program are unpickled with every global refused but the makers below, which build plain data or
  references; no class is ever within the reach of a pickle, so nothing here can be patched by one;
- what the tester exports (callbacks, instances of a test's classes) can be called and its public attributes used, no
  more: nothing that leads to the test's own namespace;
- **a Remote is never equal to plain data nor ordered against it**, whatever its class says: an object that equals
  everything equals nothing here. An instance of a subclass of int, str, list, ... compares as the plain value it holds.

Not kept: identity and later changes of a *copied* value (a list that a program returns and goes on changing).
"""

import builtins
import collections
import datetime
import decimal
import fractions
import io
import operator
import pickle
import random
import sys
import types
from typing import Any

from .common import Closed, describe, read_frame, write_frame

#: The name of this module in the sandbox, which pickles hold; elsewhere it may be imported by another.
MODULE = "inside.wire"

MISSING: Any = type("Missing", (), {"__slots__": ()})()


class Inseparable(BaseException):
    """A test does what only works in the program's own process, such as deriving from its class.

    No Exception, so that a test that catches all of them does not catch this one.
    """


class Gone(BaseException):
    """The program's process ended, or broke the protocol, in the middle of a test."""


# ---------------------------------------------------------------------------------------------- plain data

SCALARS = frozenset({int, float, str, bool, type(None), bytes, complex})
MUTABLE = frozenset({list, dict, set, bytearray, collections.deque, collections.Counter, collections.OrderedDict})

#: Types copied as (maker, arguments). pickle itself copies the exact built-in types.
VALUES: dict[type, Any] = {
    collections.Counter: lambda v: ("Counter", (dict(v),)),
    collections.OrderedDict: lambda v: ("OrderedDict", (list(v.items()),)),
    collections.defaultdict: lambda v: ("defaultdict", (dict(v),)),
    collections.deque: lambda v: ("deque", (list(v), v.maxlen)),
    decimal.Decimal: lambda v: ("Decimal", (str(v),)),
    fractions.Fraction: lambda v: ("Fraction", (v.numerator, v.denominator)),
    datetime.datetime: lambda v: ("datetime", v.__reduce__()[1]),
    datetime.date: lambda v: ("date", v.__reduce__()[1]),
    datetime.time: lambda v: ("time", v.__reduce__()[1]),
    datetime.timedelta: lambda v: ("timedelta", (v.days, v.seconds, v.microseconds)),
    datetime.timezone: lambda v: ("timezone", v.__getinitargs__()),
    range: lambda v: ("range", (v.start, v.stop, v.step)),
    slice: lambda v: ("slice", (v.start, v.stop, v.step)),
    complex: lambda v: ("complex", (v.real, v.imag)),
    bytearray: lambda v: ("bytearray", (bytes(v),)),
    type({}.keys()): lambda v: ("list", (list(v),)),
    type({}.values()): lambda v: ("list", (list(v),)),
    type({}.items()): lambda v: ("list", (list(v),)),
}

CONSTRUCTORS: dict[str, Any] = {
    "Counter": collections.Counter,
    "OrderedDict": collections.OrderedDict,
    "defaultdict": lambda items: collections.defaultdict(None, items),
    "deque": collections.deque,
    "Decimal": decimal.Decimal,
    "Fraction": fractions.Fraction,
    "datetime": datetime.datetime,
    "date": datetime.date,
    "time": datetime.time,
    "timedelta": datetime.timedelta,
    "timezone": datetime.timezone,
    "range": range,
    "slice": slice,
    "complex": complex,
    "bytearray": bytearray,
    "list": list,
}

#: Classes that go by their name: those whose own behaviour no program can choose.
TYPES = {
    name: value
    for name, value in vars(builtins).items()
    if isinstance(value, type) and name not in {"type", "super", "property", "classmethod", "staticmethod"}
} | {"NoneType": type(None)}
TYPE_NAMES = {value: name for name, value in TYPES.items()}

BASES: tuple[tuple[type, Any], ...] = (
    (bool, bool),
    (int, lambda v: int.__add__(v, 0)),
    (float, lambda v: float.__add__(v, 0.0)),
    (str, lambda v: "".join(str.__iter__(v))),
    (bytes, lambda v: bytes.__getitem__(v, slice(None))),
    (tuple, lambda v: tuple(tuple.__iter__(v))),
    (list, lambda v: list(list.__iter__(v))),
    (dict, lambda v: dict(dict.items(v))),
    (set, lambda v: set(set.__iter__(v))),
    (frozenset, lambda v: frozenset(frozenset.__iter__(v))),
)


#: Modules outside the standard library that go by their name: a test's `np` is its own, never the program's.
LIBRARIES = frozenset("numpy pandas scipy sympy sklearn networkx".split())


def is_known_module(name: str, module: Any = None) -> bool:
    """Whether a module is the same on both sides; `module`, if given, must be the one imported by that name."""
    if type(name) is not str or (module is not None and sys.modules.get(name) is not module):
        return False
    return (name.partition(".")[0] in sys.stdlib_module_names or name in LIBRARIES) and name != "unittest.mock"


def standard_name(value: Any) -> tuple[str, str] | None:
    """(module, name) of a function or class of the standard library."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if type(value) not in (types.BuiltinFunctionType, types.FunctionType, type) or type(module) is not str:
        return None
    if module.partition(".")[0] not in sys.stdlib_module_names or module == "unittest.mock":
        return None
    return (module, name) if name and getattr(sys.modules.get(module), name, None) is value else None


def standard(module: str, name: str) -> Any:
    """The function or class of that name. Raises UnpicklingError when the standard library has none."""
    if type(module) is str and type(name) is str and module.partition(".")[0] in sys.stdlib_module_names:
        __import__(module)
        value = getattr(sys.modules[module], name, None)
        if standard_name(value) == (module, name):
            return value
    raise pickle.UnpicklingError(f"{module}.{name}")


def is_scalars(values: tuple[Any, ...]) -> bool:
    """Whether none of `values` can change."""
    return all(type(value) in SCALARS for value in values)


def marker(name: str, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """What pickle writes for "make this": resolved by name on the other side."""
    return MARKERS[name], args


def _make_markers() -> dict[str, Any]:
    made = {}
    names = ("ref", "back", "type", "module", "named", "array", *CONSTRUCTORS)
    for name in names:

        def function() -> None:
            """Only a name in a pickle."""

        function.__name__ = function.__qualname__ = f"make_{name}"
        function.__module__ = MODULE
        globals()[f"make_{name}"] = made[name] = function
    return made


MARKERS = _make_markers()
MARKER_SET = frozenset(MARKERS.values())


class Maker:
    """A function that a pickle may call, and can neither read nor change."""

    __slots__ = ("_function",)

    _function: Any

    def __init__(self, function: Any) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)

    def __delattr__(self, name: str) -> None:
        raise AttributeError(name)


class Packer(pickle.Pickler):
    """Pickles plain data as itself and everything else by the peer's `reduce`."""

    def __init__(self, file: io.BytesIO, peer: "Peer") -> None:
        super().__init__(file, 5)
        self.peer = peer

    def reducer_override(self, value: Any) -> Any:
        """pickle asks here for all that is not of an exact built-in type."""
        return self.peer.reduce(value)


class Unpacker(pickle.Unpickler):
    """Unpickles plain data; refuses every global but our makers."""

    def __init__(self, file: io.BytesIO, makers: dict[str, Maker]) -> None:
        super().__init__(file)
        self.makers = makers

    def find_class(self, module: str, name: str) -> Any:
        """Only `make_...` of this module."""
        maker = self.makers.get(name[5:]) if module == MODULE and name.startswith("make_") else None
        if maker is None:
            raise pickle.UnpicklingError(f"{module}.{name} is not plain data")
        return maker


def make_array(dtype: str, shape: tuple[int, ...], data: bytes | list[Any]) -> Any:
    """A numpy array (or scalar, for an empty shape) of numbers or text."""
    import numpy

    kind = numpy.dtype(dtype)
    if kind.hasobject:
        raise pickle.UnpicklingError("an array of objects")
    array = numpy.frombuffer(data, kind).reshape(shape).copy()
    return array if shape else array[()]


PLAIN_MAKERS = {name: Maker(function) for name, function in CONSTRUCTORS.items()} | {"array": Maker(make_array)}


# ---------------------------------------------------------------------------------------------- operations


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
    _kind: str  # function, class, coroutine or object
    _base: Any  # the plain value that an instance of a subclass of int, str, ... holds; else MISSING

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
        base = _base(self)
        if base is not MISSING:
            return type(base)
        return type(self) if _peer_of(self).trusted else _do(self, "type", self)

    def __eq__(self, other: object) -> Any:
        return _equal(self, other, "eq")

    def __ne__(self, other: object) -> Any:
        return _equal(self, other, "ne")

    def __hash__(self) -> int:
        base = _base(self)
        return hash(base) if base is not MISSING else _exact(_do(self, "hash", self), int)

    def __bool__(self) -> bool:
        base = _base(self)
        return bool(base) if base is not MISSING else _exact(_do(self, "bool", self), bool)

    def __len__(self) -> int:
        base = _base(self)
        return len(base) if base is not MISSING else _exact(_do(self, "len", self), int)

    def __contains__(self, item: Any) -> bool:
        base = _base(self)
        if base is not MISSING:
            return item in base
        answer = _exact(_do(self, "contains", self, item), bool)
        # A container that holds whatever it is asked for: ask for what nobody put there.
        decoy = random.SystemRandom().getrandbits(61)
        if answer and _do(self, "contains", self, f"{decoy:x}" if type(item) is str else decoy) is not False:
            raise Gone("an object that contains everything")
        return answer

    def __iter__(self) -> Any:
        base = _base(self)
        if base is not MISSING:
            return iter(base)
        return self if _kind(self) == "iterator" else _do(self, "iter", self)

    def __getitem__(self, key: Any) -> Any:
        base = _base(self)
        return base[key] if base is not MISSING else _do(self, "getitem", self, key)

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
        return int(base) if base is not MISSING else _exact(_do(self, "int", self), int)

    def __float__(self) -> float:
        base = _base(self)
        return float(base) if base is not MISSING else _exact(_do(self, "float", self), float)

    def __complex__(self) -> complex:
        return _exact(_do(self, "complex", self), complex)

    def __dir__(self) -> Any:
        return _do(self, "dir", self)

    def __await__(self) -> Any:
        return _wait(self).__await__()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> Any:
        return _do(self, "exit", self)


class Callable(Remote):
    """A Remote that can be called, so that `callable` tells the truth."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._peer.ask("call", (self, *args), kwargs)


_base = Remote._base.__get__  # type: ignore[misc, attr-defined]
_kind = Remote._kind.__get__  # type: ignore[misc, attr-defined]
_peer_of = Remote._peer.__get__  # type: ignore[misc, attr-defined]


def is_remote(value: Any) -> bool:
    """Whether `value` is a reference; the type decides, which no program can change."""
    return type(value) is Remote or type(value) is Callable or type(value) is Indexable


def _do(remote: Any, operation: str, *args: Any) -> Any:
    return _peer_of(remote).ask(operation, args, {})


def _exact(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"the program's object gave no {kind.__name__}")
    return value


async def _wait(remote: Any) -> Any:
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
            if mine is not MISSING and not is_remote(other):
                return OPERATIONS[name](mine, other)
            return _do(self, name, self, other)

        def reflected(self: Any, other: Any) -> Any:
            mine = _base(self)
            return OPERATIONS[name](other, mine) if mine is not MISSING else _do(self, name, other, self)

        return forward, reflected

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
            return _do(self, name, self, *args)

        setattr(Remote, f"__{name}__", unary)


_install_operators()


class Indexable(Remote):
    """An int of a subclass: the one kind of Remote that may be an index."""

    __slots__ = ()

    def __index__(self) -> int:
        return int(_base(self))


# ---------------------------------------------------------------------------------------------- exceptions

Raised = tuple[str, str, Any, str, dict[str, Any], int]  # module, name, args, message, attributes, id of the class


class Mirrors:
    """Local exception classes for the program's own, so that `except` and `assertRaises` work on them."""

    def __init__(self) -> None:
        self.classes: dict[int, type[BaseException]] = {}

    def of(self, number: int, name: str, base: str) -> type[BaseException]:
        """The local class for the program's class `number`, which derives from the built-in `base`."""
        if number not in self.classes:
            parent = getattr(builtins, base, Exception)
            if not (isinstance(parent, type) and issubclass(parent, BaseException)):
                parent = Exception
            self.classes[number] = type(str(name), (parent,), {"_number": number})
        return self.classes[number]


def builtin_base(kind: type) -> str:
    """The name of the nearest built-in class above an exception class."""
    for parent in kind.__mro__:
        if getattr(builtins, parent.__name__, None) is parent:
            return parent.__name__
    return "Exception"


# ---------------------------------------------------------------------------------------------- the peer


class Peer:
    """One end of the conversation."""

    def __init__(self, fd: int, trusted: bool) -> None:
        """`trusted` is whether the *other* end is: the program trusts the tester, never the other way round."""
        self.fd = fd
        self.trusted = trusted
        self.exports: dict[int, Any] = {}
        self.numbers: dict[int, int] = {}
        self.remotes: dict[int, Any] = {}
        self.mirrors = Mirrors()
        self.dead = ""  # why, once the other end is gone
        self.printed: Any = None  # at the program's end: what was printed since the last answer
        self.functions: dict[str, Any] = {}  # further operations of this end
        self.makers = PLAIN_MAKERS | {
            "ref": Maker(self.make_ref),
            "back": Maker(self.make_back),
            "type": Maker(TYPES.__getitem__),
            "module": Maker(self.make_module),
            "named": Maker(self.make_named),
        }

    # ------------------------------------------------------------------------------- values

    def dumps(self, value: Any) -> bytes:
        """`value` as bytes, what is not plain data by reference."""
        file = io.BytesIO()
        Packer(file, self).dump(value)
        return file.getvalue()

    def loads(self, data: bytes) -> Any:
        """The other end's bytes as values. Raises Closed when they are anything but that."""
        try:
            return Unpacker(io.BytesIO(data), self.makers).load()
        except MemoryError:
            raise
        except Exception as error:
            raise Closed(f"sent what is no value: {describe(error)}") from None

    def reduce(self, value: Any) -> Any:
        """How a value that is no exact built-in type travels."""
        kind = type(value)
        if kind is types.FunctionType and value in MARKER_SET:
            return NotImplemented
        if is_remote(value):
            return marker("back", (Remote._id.__get__(value),))  # type: ignore[misc, attr-defined]
        copier = VALUES.get(kind)
        if copier is not None:
            name, args = copier(value)
            return marker(name, args)
        if kind is type and value in TYPE_NAMES:
            return marker("type", (TYPE_NAMES[value],))
        if (
            isinstance(value, types.ModuleType)
            and kind is types.ModuleType
            and sys.modules.get(value.__name__) is value
            and is_known_module(value.__name__)
        ):
            return marker("module", (value.__name__,))
        if self.trusted is False and kind in (types.BuiltinFunctionType, types.FunctionType, type):
            # A test hands over `len` or `math.sqrt`: the program's own will do.
            name = standard_name(value)
            if name:
                return marker("named", name)
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
            array = numpy.asarray(value)
            if kind is not numpy.ndarray and not issubclass(kind, numpy.generic):
                return self._reference(value)
            if not array.dtype.hasobject and array.dtype.names is None:
                return marker("array", (array.dtype.str, tuple(array.shape), numpy.ascontiguousarray(array).tobytes()))
        return self._reference(value)

    def _reference(self, value: Any) -> Any:
        number = self.export(value)
        kind, base, extra = "object", MISSING, None
        if isinstance(value, type):
            kind = "class"
            if issubclass(value, BaseException):
                kind, extra = "exception", (value.__name__, builtin_base(value))
        elif isinstance(value, types.CoroutineType):
            kind = "coroutine"
        elif hasattr(type(value), "__next__"):
            kind = "iterator"
        elif callable(value):
            kind = "function"
        else:
            for plain, copy in BASES:
                if isinstance(type(value), type) and plain in type(value).__mro__:
                    base = copy(value)
                    break
        if base is MISSING:
            return marker("ref", (number, kind, extra))
        return marker("ref", (number, kind, extra, base))

    def export(self, value: Any) -> int:
        """A number by which the other end may speak of `value`; it lives as long as the conversation."""
        number = self.numbers.get(id(value))
        if number is None:
            number = len(self.exports) + 1
            self.exports[number] = value
            self.numbers[id(value)] = number
        return number

    def make_ref(self, number: int, kind: str, extra: Any, base: Any = MISSING) -> Any:
        """A reference to the other end's object `number`."""
        if kind == "exception" and not self.trusted:
            return self.mirrors.of(number, *extra)
        remote = self.remotes.get(number)
        if remote is None or base is not MISSING:
            shape = Callable if kind in ("function", "class", "exception") else Remote
            if type(base) is int or type(base) is bool:
                shape = Indexable
            remote = object.__new__(shape)
            for name, value in (("_peer", self), ("_id", number), ("_kind", kind), ("_base", base)):
                getattr(Remote, name).__set__(remote, value)
            self.remotes[number] = remote
        if kind == "coroutine" and not self.trusted:
            return _wait(remote)
        return remote

    def make_back(self, number: int) -> Any:
        """Our own object that the other end speaks of."""
        return self.exports[number]

    def make_module(self, name: str) -> Any:
        """A module of the standard library: the local one, never the program's."""
        if not is_known_module(name):
            raise pickle.UnpicklingError(f"module {name!r}")
        __import__(name)
        return sys.modules[name]

    def make_named(self, module: str, name: str) -> Any:
        """A function of the standard library by name; only for an end that trusts the other."""
        if not self.trusted:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return standard(module, name)

    # ------------------------------------------------------------------------------- the conversation

    def ask(self, operation: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Have the other end do `operation`; its result, or its exception raised here.

        Raises Gone when it does not answer, or does so in a way that no honest program's end does.
        """
        if self.dead:
            raise Gone(self.dead)
        try:
            write_frame(self.fd, self.dumps(("ask", operation, args, kwargs)))
            while True:
                message = self.loads(read_frame(self.fd))
                if type(message) is not tuple or not message:
                    raise Closed("sent what is no answer")
                if message[0] == "ask" and len(message) == 4:
                    self.answer(message[1], message[2], message[3])
                    continue
                if message[0] not in ("value", "raised") or len(message) != 4:
                    raise Closed("sent what is no answer")
                break
        except Closed as closed:
            self.dead = str(closed)
            raise Gone(self.dead) from None
        kind, value, changed, printed = message
        if changed is not None and not is_scalars(args):
            value = restore(args, kwargs, changed, value)
        if printed and type(printed) is str:
            sys.stdout.write(printed)
        if kind == "raised":
            raise self.exception(value)
        return value

    def answer(self, operation: str, args: Any, kwargs: Any) -> None:
        """Serve one request of the other end. Raises Closed."""
        changed = None
        before = b""
        watch = self.trusted and operation in OPERATIONS and not is_scalars(args)
        try:
            function = self.functions.get(operation) or OPERATIONS[operation]
            if not self.trusted:
                self.check(operation, args)
            if watch:
                before = self.dumps((args, kwargs))
            value, kind = function(*args, **kwargs), "value"
        except (Gone, Inseparable):
            raise
        except BaseException as error:
            value, kind = self.describe(error), "raised"
        printed = self.printed() if self.printed is not None else None
        if watch and before and self.dumps((args, kwargs)) != before:
            changed = (args, kwargs)
        try:
            body = self.dumps((kind, value, changed, printed))
        except RecursionError as error:  # nested too deeply to be told
            body = self.dumps(("raised", self.describe(error), None, printed))
        write_frame(self.fd, body)

    def check(self, operation: str, args: Any) -> None:
        """Refuse what a program has no business to do with a test's objects. Raises TypeError, AttributeError."""
        if operation in self.functions:
            return
        target = args[0] if type(args) is tuple and args else None
        if operation not in CALLBACK_OPERATIONS or id(target) not in self.numbers:
            raise TypeError(f"{operation!r} is not for the program to ask")
        if operation in ("getattr", "setattr"):
            name = args[1] if len(args) > 1 else ""
            public = type(name) is str and not name.startswith("_") and type(target).__module__ == "__main__"
            if not public:
                raise AttributeError(name)

    def describe(self, error: BaseException) -> Raised:
        """An exception as it travels."""
        kind = type(error)
        builtin = getattr(builtins, kind.__name__, None) is kind
        args = error.args if is_scalars(error.args) else ()
        attributes = {k: v for k, v in vars(error).items() if type(k) is str and type(v) in SCALARS}
        number = 0 if builtin else self.export(kind)
        return builtin_base(kind), kind.__name__, args, describe(error), attributes, number

    def exception(self, raised: Any) -> BaseException:
        """The local exception for one that the other end raised."""
        try:
            base, name, args, _, attributes, number = raised
            if number and not self.trusted:
                kind = self.mirrors.of(number, name, base)
            elif number:
                kind = self.exports.get(number) or getattr(builtins, base)
            else:
                kind = getattr(builtins, base)
            if not issubclass(kind, BaseException):
                raise TypeError
            error = kind.__new__(kind, *args)
            error.args = args
            for key, value in attributes.items():
                if type(key) is str and not key.startswith("_"):
                    setattr(error, key, value)
        except (TypeError, ValueError, AttributeError):
            return Gone("sent what is no exception")
        return error


# ---------------------------------------------------------------------------------------------- changed arguments


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


def loads_plain(data: bytes) -> Any:
    """Plain data from untrusted bytes. Raises ValueError for anything else."""
    try:
        return Unpacker(io.BytesIO(data), PLAIN_MAKERS).load()
    except Exception as error:
        raise ValueError(f"not plain data: {describe(error)}") from None


__all__ = "Gone Inseparable Peer Remote is_remote loads_plain".split()
