"""Plain data on the wire: what is copied, how it is pickled, and what an untrusted pickle may make.

pickle copies the exact built-in types itself; further types of data travel as a call of a *maker*, and makers are all
that a pickle from a program can reach: no class, no function, nothing that could be changed for what comes after.
"""

import builtins
import collections
import importlib
import io
import pickle
import sys
import types
from typing import Any

from .common import describe

#: The name of this module in the sandbox, which pickles hold; elsewhere it may be imported by another.
MODULE = "inside.values"

MISSING: Any = type("Missing", (), {"__slots__": ()})()

SCALARS = frozenset({int, float, str, bool, type(None), bytes, complex})
MUTABLE = frozenset(
    {
        list,
        dict,
        set,
        bytearray,
        collections.deque,
        collections.Counter,
        collections.OrderedDict,
        collections.defaultdict,
    }
)
PLAIN = SCALARS | MUTABLE | {tuple, frozenset}

#: Types copied as (maker, arguments). pickle itself copies the exact built-in types.
VALUES: dict[type, Any] = {
    collections.Counter: lambda v: ("Counter", (dict(v),)),
    collections.OrderedDict: lambda v: ("OrderedDict", (list(v.items()),)),
    collections.defaultdict: lambda v: ("defaultdict", (_factory(v.default_factory), dict(v))),
    collections.deque: lambda v: ("deque", (list(v), v.maxlen)),
    range: lambda v: ("range", (v.start, v.stop, v.step)),
    slice: lambda v: ("slice", (v.start, v.stop, v.step)),
    complex: lambda v: ("complex", (v.real, v.imag)),
    bytearray: lambda v: ("bytearray", (bytes(v),)),
    type({}.keys()): lambda v: ("keys", (list(v),)),
    type({}.values()): lambda v: ("list", (list(v),)),
    type({}.items()): lambda v: ("items", (list(v),)),
}

#: The same for modules that only those programs import that need them.
LAZY: dict[tuple[str, str], Any] = {
    ("decimal", "Decimal"): lambda v: (str(v),),
    ("fractions", "Fraction"): lambda v: (v.numerator, v.denominator),
    ("datetime", "datetime"): lambda v: v.__reduce__()[1],
    ("datetime", "date"): lambda v: v.__reduce__()[1],
    ("datetime", "time"): lambda v: v.__reduce__()[1],
    ("datetime", "timedelta"): lambda v: (v.days, v.seconds, v.microseconds),
    ("datetime", "timezone"): lambda v: v.__getinitargs__(),
}


def copied(value: Any) -> tuple[str, tuple[Any, ...]] | None:
    """(maker, arguments) of a value that is plain data beyond pickle's own; None for other values."""
    kind = type(value)
    copier = VALUES.get(kind)
    if copier is not None:
        made: tuple[str, tuple[Any, ...]] = copier(value)
        return made
    place = kind.__module__, kind.__qualname__
    if place in LAZY and getattr(sys.modules.get(place[0]), place[1], None) is kind:
        return place[1], LAZY[place](value)
    return None


def _lazily(module: str, name: str) -> Any:
    return lambda *args: getattr(importlib.import_module(module), name)(*args)


CONSTRUCTORS: dict[str, Any] = {
    "Counter": collections.Counter,
    "OrderedDict": collections.OrderedDict,
    "defaultdict": lambda name, items: collections.defaultdict(TYPES.get(name), items),
    "keys": lambda keys: dict.fromkeys(keys).keys(),
    "items": lambda items: dict(items).items(),
    "deque": collections.deque,
    "range": range,
    "slice": slice,
    "complex": complex,
    "bytearray": bytearray,
    "list": list,
    **{name: _lazily(module, name) for module, name in LAZY},
}

#: Not among them, or a program's name for an exception could be one that swallows a test's own assertions.
CATCHING = ("AssertionError", "Exception", "BaseException")

#: Classes that go by their name: those whose own behaviour no program can choose.
TYPES: dict[str, type] = {
    name: value
    for name, value in vars(builtins).items()
    if isinstance(value, type)
    and name not in {"type", "super", "property", "classmethod", "staticmethod", *CATCHING}
    and not name.startswith("_")
} | {"NoneType": type(None)}
TYPE_NAMES = {value: name for name, value in TYPES.items()}

#: What an instance of a subclass is worth as plain data; of those that change, it is asked for anew each time.
BASES: tuple[tuple[type, Any], ...] = (  # (the value,) or the name of its type
    (int, lambda v: (int.__add__(v, 0),)),
    (float, lambda v: (float.__add__(v, 0.0),)),
    (str, lambda v: ("".join(str.__iter__(v)),)),
    (bytes, lambda v: (bytes.__getitem__(v, slice(None)),)),
    (tuple, lambda v: (tuple(tuple.__iter__(v)),)),
    (list, lambda v: "list"),
    (dict, lambda v: "dict"),
    (set, lambda v: "set"),
    (frozenset, lambda v: (frozenset(frozenset.__iter__(v)),)),
)


#: How to get at those that change.
CONTENTS = {
    "list": lambda v: list(list.__iter__(v)),
    "dict": lambda v: dict(dict.items(v)),
    "set": lambda v: set(set.__iter__(v)),
}

#: Modules outside the standard library that go by their name: a test's `np` is its own, never the program's.
LIBRARIES = frozenset("numpy pandas scipy sympy sklearn networkx".split())


#: Modules whose functions the tester may run in place of the program's references to them: they compute, no more.
PURE = frozenset(
    "builtins math cmath operator _operator itertools functools _functools collections _collections re string "
    "statistics fractions decimal _decimal datetime heapq _heapq bisect _bisect copy json typing textwrap numbers "
    "enum random".split()
)
PURE_BUILTINS = frozenset(
    "abs all any ascii bin bool bytearray bytes callable chr complex dict divmod enumerate filter float format "
    "frozenset hash hex int isinstance issubclass iter len list map max min next oct ord pow print range repr reversed "
    "round set slice sorted str sum tuple zip".split()
)


def is_known_module(name: str, module: Any = None) -> bool:
    """Whether a module is the same on both sides; `module`, if given, must be the one imported by that name."""
    if type(name) is not str or (module is not None and sys.modules.get(name) is not module):
        return False
    if "__main__" in name or name in ("antigravity", "this", "unittest.mock"):
        return False
    return name.partition(".")[0] in sys.stdlib_module_names or name in LIBRARIES


def standard_name(value: Any) -> tuple[str, str] | None:
    """(module, name) of a function or class of the standard library."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if type(value) not in (types.BuiltinFunctionType, types.FunctionType, type) or type(module) is not str:
        return None
    if module not in PURE or (module == "builtins" and name not in PURE_BUILTINS):
        return None
    return (module, name) if name and getattr(sys.modules.get(module), name, None) is value else None


def standard(module: str, name: str) -> Any:
    """The function or class of that name. Raises UnpicklingError when the standard library has none."""
    if type(module) is str and type(name) is str and module in PURE:
        __import__(module)
        value = getattr(sys.modules[module], name, None)
        if standard_name(value) == (module, name):
            return value
    raise pickle.UnpicklingError(f"{module}.{name}")


def _factory(factory: Any) -> str:
    return TYPE_NAMES.get(factory, "") if type(factory) is type else ""


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


class Later:
    """What a pickle gets in place of a reference, a class or a module, until all of it is read.

    Pickles can set attributes of whatever they hold: of this one, none.
    """

    __slots__ = ("args", "function")

    function: Any
    args: tuple[Any, ...]

    def __init__(self, function: Any, args: tuple[Any, ...]) -> None:
        object.__setattr__(self, "function", function)
        object.__setattr__(self, "args", args)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)

    def __delattr__(self, name: str) -> None:
        raise AttributeError(name)


def settle(value: Any, memo: dict[int, tuple[Any, Any]]) -> Any:
    """`value` with what each `Later` stands for; containers are filled anew in place. `memo` starts empty."""
    kind = type(value)
    if kind in SCALARS:
        return value
    if id(value) in memo:
        return memo[id(value)][1]
    memo[id(value)] = value, value  # the first keeps it alive, so that its id stays its own
    settled = value
    if kind is Later:
        settled = value.function(*(settle(part, memo) for part in value.args))
    elif kind is list or kind is collections.deque:
        for place, item in enumerate(value):
            value[place] = settle(item, memo)
    elif kind is tuple or kind is frozenset:
        parts = [settle(item, memo) for item in value]
        if any(new is not old for new, old in zip(parts, value, strict=True)):
            settled = kind(parts)
    elif kind is set or (kind in MUTABLE and isinstance(value, dict)):
        held = list(value) if kind is set else list(value.items())
        parts = [settle(item, memo) for item in held]
        if any(new is not old for new, old in zip(parts, held, strict=True)):
            value.clear()
            value.update(parts if kind is set else dict(parts))
    memo[id(value)] = value, settled
    return settled


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

    def __init__(self, file: io.BytesIO, peer: Any) -> None:
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


def array_of(dtype: str, shape: tuple[int, ...], data: bytes | list[Any]) -> Any:
    """A numpy array (or scalar, for an empty shape) of numbers or text."""
    import numpy

    kind = numpy.dtype(dtype)
    if kind.hasobject:
        raise pickle.UnpicklingError("an array of objects")
    array = numpy.frombuffer(data, kind).reshape(shape).copy()
    return array if shape else array[()]


PLAIN_MAKERS = {name: Maker(function) for name, function in CONSTRUCTORS.items()} | {"array": Maker(array_of)}


def loads_plain(data: bytes) -> Any:
    """Plain data from untrusted bytes. Raises ValueError for anything else."""
    try:
        return Unpacker(io.BytesIO(data), PLAIN_MAKERS).load()
    except Exception as error:
        raise ValueError(f"not plain data: {describe(error)}") from None
