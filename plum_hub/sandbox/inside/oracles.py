"""What "equal" means for a call's result: the rules of the harnesses whose data is scored.

evalplus' rule follows evalplus 0.3.1 (`evalplus.eval.unsafe_execute` and its special oracles), which cannot be called
apart from its own executor.
"""

import math
from collections.abc import Callable
from typing import Any

Oracle = Callable[[Any, Any, Any], bool]  # got, wanted, the arguments

NOT_NONE = frozenset(("check_str", "text_match_three", "text_starta_endb"))
AS_SETS = frozenset(
    (
        "similar_elements find_char_long common_in_nested_lists extract_singly larg_nnum "
        "intersection_array find_dissimilar Diff"
    ).split()
)
SPECIAL = frozenset("are_equivalent sum_div surface_Area digit_distance_nums find_zero".split())


def is_equality(name: str, entry_point: str, atol: float) -> bool:
    """Whether an oracle comes down to `==`, as long as no value is of floats alone: then values may be digested."""
    return name == "equal" or (atol == 0 and entry_point not in NOT_NONE | AS_SETS | SPECIAL)


def oracle(name: str, entry_point: str, atol: float) -> Oracle:
    """The comparison called `name` for the function `entry_point`. Raises ValueError for an unknown one."""
    if name == "equal":
        return lambda got, wanted, _: same(got, wanted)
    if name == "livecodebench":
        return lambda got, wanted, _: same(list(got) if isinstance(got, tuple) else got, wanted)
    if name in ("evalplus-humaneval", "evalplus-mbpp"):
        return Evalplus(name.removeprefix("evalplus-"), entry_point, atol).agrees
    raise ValueError(f"no oracle {name!r}")


def same(got: Any, wanted: Any) -> bool:
    """`got == wanted`; of arrays, all of it."""
    equal = got == wanted
    if type(equal).__module__ == "numpy":
        return bool(equal.all()) and getattr(got, "shape", ()) == getattr(wanted, "shape", ())
    return bool(equal)


def is_floats(value: Any) -> bool:
    """A float, or a list or tuple of floats, or an array of them."""
    if isinstance(value, float):
        return True
    if isinstance(value, list | tuple) and value:
        return all(isinstance(item, float) for item in value)
    return str(getattr(value, "dtype", "")) in ("float64", "float32")


class Evalplus:
    """One function's comparison; the tolerance, once switched on by a float, stays on for later calls."""

    def __init__(self, dataset: str, entry_point: str, atol: float) -> None:
        self.dataset, self.entry_point, self.atol = dataset, entry_point, atol

    def agrees(self, got: Any, wanted: Any, arguments: Any) -> bool:
        """Whether evalplus would accept `got`. Raises what the comparison raises: a wrong answer, too."""
        exact = got == wanted  # of arrays no bool, which only matters where it is asked for
        name = self.entry_point
        if self.dataset == "mbpp":
            if name == "are_equivalent":  # Mbpp/164
                exact = True
            elif name == "sum_div":  # Mbpp/295
                exact = exact or got == 0
            elif name == "surface_Area":  # Mbpp/581
                exact = exact or abs(got - surface_area(*arguments)) <= self.atol
            elif name == "digit_distance_nums":  # Mbpp/558
                exact = exact or got == digit_distance(*arguments)
            elif name in AS_SETS:
                exact = set(got) == set(wanted)
            elif name in NOT_NONE:
                exact = got == wanted if isinstance(got, bool) else wanted == (got is not None)
        elif name == "find_zero":  # as evalplus has it since 2024-11: 0.3.1 forgets to count, and fails every program
            return abs(polynomial(arguments[0], float(got))) <= self.atol  # once: an object could change its mind
        if self.atol == 0 and is_floats(wanted):
            self.atol = 1e-6
        if exact or self.atol == 0:
            return bool(exact)
        if type(got) is not type(wanted):
            return False
        if isinstance(wanted, list | tuple) and len(got) != len(wanted):
            return False
        return close(got, wanted, self.atol)


def close(got: Any, wanted: Any, atol: float) -> bool:
    """numpy.allclose with evalplus' tolerances; numpy itself is needed for anything but numbers."""
    if type(wanted) in (float, int) and type(got) in (float, int):
        return got == wanted or (math.isfinite(wanted) and abs(got - wanted) <= atol + 1e-07 * abs(wanted))
    if type(wanted) in (list, tuple) and all(type(item) in (float, int) for item in (*wanted, *got)):
        return all(close(a, b, atol) for a, b in zip(got, wanted, strict=True))
    import numpy

    if numpy.shape(got) != numpy.shape(wanted):  # evalplus would stretch one to the other
        return False
    return bool(numpy.allclose(got, wanted, rtol=1e-07, atol=atol))


def surface_area(base_edge: float, height: float) -> int:
    """Mbpp/581, with the height as the distance from the base to the apex."""
    slant = math.sqrt((base_edge / 2) ** 2 + height**2)
    return round(base_edge**2 + 4 * (base_edge * slant) / 2)


def digit_distance(first: Any, second: Any) -> int:
    """Mbpp/558, with the shorter number padded by zeros."""
    width = max(len(str(first)), len(str(second)))
    return sum(abs(int(a) - int(b)) for a, b in zip(str(first).zfill(width), str(second).zfill(width), strict=True))


def polynomial(coefficients: list[float], x: float) -> float:
    """HumanEval/32."""
    return sum(coefficient * math.pow(x, i) for i, coefficient in enumerate(coefficients))
