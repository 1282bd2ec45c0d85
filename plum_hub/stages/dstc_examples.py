"""Ten worked examples for DSTC's prompt (`dstc_prompt`): data alone, all of it our own.

Each implementation passes its own tests (tests/test_dstc.py runs them in the sandbox).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """A task with an answer in four parts."""

    instruction: str
    entry_point: str
    reasoning: str
    implementation: str
    explanation: str
    tests: str


EXAMPLES = (
    Example(
        instruction=(
            "Write a Python function that hides an account number for display. All digits except the last four become "
            "`*`; every other character, such as spaces and dashes, stays where it is. A number with four digits or "
            "fewer is shown unchanged."
        ),
        entry_point="mask_account",
        reasoning=(
            "Only digits count, but the other characters keep their places, so cutting the text four characters from "
            "its end would be wrong. I count the digits first; all but the last four of them are hidden. Walking "
            "through the text once, I replace digits until that many are hidden. With four digits or fewer there is "
            "nothing to hide, and the count must not become negative."
        ),
        implementation='''\
def mask_account(number: str) -> str:
    """Replace all digits but the last four by asterisks."""
    to_hide = max(0, sum(character.isdigit() for character in number) - 4)
    shown = []
    for character in number:
        if character.isdigit() and to_hide > 0:
            shown.append("*")
            to_hide -= 1
        else:
            shown.append(character)
    return "".join(shown)
''',
        explanation=(
            "The first line finds out how many digits are too many. The loop then hides exactly these, from the left, "
            "and copies everything else. Letters are copied as well, since the task speaks of digits only."
        ),
        tests="""\
assert mask_account("1234567890") == "******7890"
assert mask_account("12-34 5678") == "**-** 5678"
assert mask_account("1234") == "1234"
assert mask_account("7") == "7"
assert mask_account("") == ""
assert mask_account("no digits") == "no digits"
assert mask_account("12345-") == "*2345-"
""",
    ),
    Example(
        instruction=(
            "Create a function that splits a list of numbers into clusters. The numbers are sorted first; a new "
            "cluster begins wherever a number is more than `gap` greater than the one before it. Return the clusters "
            "as a list of lists."
        ),
        entry_point="cluster",
        reasoning=(
            "Sorting must not change the caller's list, so I work on a sorted copy. Then each number either joins the "
            "last cluster, if it is at most `gap` above that cluster's last number, or begins a new one. An empty "
            "list has no clusters. A difference of exactly `gap` does not split."
        ),
        implementation='''\
def cluster(numbers: list[float], gap: float) -> list[list[float]]:
    """Sorted numbers in groups whose neighbours are at most `gap` apart."""
    clusters: list[list[float]] = []
    for number in sorted(numbers):
        if clusters and number - clusters[-1][-1] <= gap:
            clusters[-1].append(number)
        else:
            clusters.append([number])
    return clusters
''',
        explanation=(
            "`sorted` gives a new list, and the loop looks at one neighbour only, because in a sorted list the "
            "nearest smaller number is the one before. The time goes into sorting."
        ),
        tests="""\
assert cluster([1, 2, 10, 11, 30], 2) == [[1, 2], [10, 11], [30]]
assert cluster([11, 1, 10, 2], 2) == [[1, 2], [10, 11]]
assert cluster([], 5) == []
assert cluster([4], 0) == [[4]]
assert cluster([1, 3, 5], 2) == [[1, 3, 5]]
assert cluster([2, 2, 3], 0) == [[2, 2], [3]]
values = [3, 1]
cluster(values, 1)
assert values == [3, 1]
""",
    ),
    Example(
        instruction=(
            "Write a function that works out the stock of a shop. It gets the stock in the morning as a dictionary "
            "from article to amount, and the day's movements as a list of pairs (article, change), where deliveries "
            "are positive and sales negative. It returns the stock in the evening without articles that ran out, and "
            "raises a ValueError that names the article as soon as more would be sold than there is. The dictionary "
            "that was passed in must stay as it is."
        ),
        entry_point="evening_stock",
        reasoning=(
            "I copy the dictionary so that the caller's is not touched. Movements are applied in their order, because "
            "a sale before the delivery is an error even if the sum works out. An article that is not in the morning's "
            "stock starts at 0. Articles at 0 are left out at the end and not in between, as they may be delivered "
            "again."
        ),
        implementation='''\
def evening_stock(morning: dict[str, int], movements: list[tuple[str, int]]) -> dict[str, int]:
    """The stock after all movements, without what ran out."""
    stock = dict(morning)
    for article, change in movements:
        left = stock.get(article, 0) + change
        if left < 0:
            raise ValueError(f"not enough of {article}")
        stock[article] = left
    return {article: amount for article, amount in stock.items() if amount > 0}
''',
        explanation=(
            "Each movement is checked before it is stored, so the error comes with the first impossible sale. The last "
            "line filters out what is used up, also articles that were at 0 in the morning already."
        ),
        tests="""\
assert evening_stock({"pen": 5}, [("pen", -2), ("ink", 3)]) == {"pen": 3, "ink": 3}
assert evening_stock({"pen": 5}, []) == {"pen": 5}
assert evening_stock({"pen": 5}, [("pen", -5)]) == {}
assert evening_stock({"pen": 1}, [("pen", -1), ("pen", 4)]) == {"pen": 4}
assert evening_stock({}, []) == {}
morning = {"pen": 2}
evening_stock(morning, [("pen", -1)])
assert morning == {"pen": 2}
try:
    evening_stock({"pen": 1}, [("pen", -2), ("pen", 5)])
    raised = ""
except ValueError as error:
    raised = str(error)
assert "pen" in raised
""",
    ),
    Example(
        instruction=(
            "Implement a class `RecentFiles` that keeps the names of the files opened last. It is created with the "
            "largest number of names to keep (at least 1, otherwise ValueError). `open(name)` puts a name to the "
            "front, without keeping it twice; `names()` returns the names, the latest first; `len()` gives how many "
            "there are."
        ),
        entry_point="RecentFiles",
        reasoning=(
            "A list with the latest name in front is enough, since such lists are short. Opening a name that is in "
            "the list moves it: I remove it and insert it at the front. Then whatever is too much falls off the end. "
            "`names()` must return a copy, or a caller could change the inside of the object."
        ),
        implementation='''\
class RecentFiles:
    """The names of the files opened last, the latest first."""

    def __init__(self, most: int) -> None:
        if most < 1:
            raise ValueError("at least one name has to be kept")
        self._most = most
        self._names: list[str] = []

    def open(self, name: str) -> None:
        """Put a name to the front."""
        if name in self._names:
            self._names.remove(name)
        self._names.insert(0, name)
        del self._names[self._most :]

    def names(self) -> list[str]:
        """All names, the latest first."""
        return list(self._names)

    def __len__(self) -> int:
        return len(self._names)
''',
        explanation=(
            "`open` looks for the name, which takes time in proportion to the length of the list; for thousands of "
            "names an OrderedDict would be the better choice. Deleting from `most` on does nothing while the list is "
            "short."
        ),
        tests="""\
recent = RecentFiles(2)
assert recent.names() == []
recent.open("a")
recent.open("b")
assert recent.names() == ["b", "a"]
recent.open("a")
assert recent.names() == ["a", "b"]
recent.open("c")
assert recent.names() == ["c", "a"]
assert len(recent) == 2
recent.names().append("x")
assert recent.names() == ["c", "a"]
try:
    RecentFiles(0)
    refused = False
except ValueError:
    refused = True
assert refused
""",
    ),
    Example(
        instruction=(
            "Write a recursive function that gets a nested list of integers, such as `[1, [2, [3]], 4]`, and returns "
            "the sum of the integers on each level of nesting as a list, the outermost level first. A level that "
            "exists but holds no integer has the sum 0."
        ),
        entry_point="sums_by_level",
        reasoning=(
            "A level's sum has the integers that stand in it directly. For each inner list I get its own sums, which "
            "belong one level further in, and add them place by place; inner lists may be of different depth, so the "
            "shorter one is filled up with zeros. The empty list still is one level, with the sum 0."
        ),
        implementation='''\
from itertools import zip_longest


def sums_by_level(nested: list) -> list[int]:
    """The sum of the integers on each level, outermost first."""
    here = 0
    below: list[int] = []
    for item in nested:
        if isinstance(item, list):
            pairs = zip_longest(below, sums_by_level(item), fillvalue=0)
            below = [first + second for first, second in pairs]
        else:
            here += item
    return [here, *below]
''',
        explanation=(
            "The recursion ends at lists without lists in them, where `below` stays empty. `zip_longest` adds up "
            "branches of different depth. Very deep nesting, near a thousand levels, would reach Python's recursion "
            "limit."
        ),
        tests="""\
assert sums_by_level([1, [2, [3]], 4]) == [5, 2, 3]
assert sums_by_level([]) == [0]
assert sums_by_level([[]]) == [0, 0]
assert sums_by_level([5]) == [5]
assert sums_by_level([[1, [1]], [2], 7]) == [7, 3, 1]
assert sums_by_level([[[4]]]) == [0, 0, 4]
assert sums_by_level([-1, [1], 1]) == [0, 1]
""",
    ),
    Example(
        instruction=(
            "Write a function that counts the working days from one date to another, both included. Saturdays, "
            "Sundays and the dates in `holidays` are no working days. Dates are texts like `2024-05-31`. If the last "
            "date is before the first, the result is 0."
        ),
        entry_point="working_days",
        reasoning=(
            "`date.fromisoformat` reads these texts and rejects others. I go from day to day, both ends included, and "
            "count those with `weekday()` below 5 that are no holiday. Holidays may fall on a weekend or be listed "
            "twice; a set of dates takes care of both, since each day is looked at once. If the last date comes "
            "first, the range is empty."
        ),
        implementation='''\
from collections.abc import Iterable
from datetime import date, timedelta


def working_days(first: str, last: str, holidays: Iterable[str] = ()) -> int:
    """The number of working days from `first` to `last`."""
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    free = {date.fromisoformat(text) for text in holidays}
    days = (start + timedelta(days=number) for number in range((end - start).days + 1))
    return sum(day.weekday() < 5 and day not in free for day in days)
''',
        explanation=(
            "`range` is empty for a negative number of days, which gives the 0 that is asked for. The function takes "
            "time in proportion to the number of days; over centuries one would count whole weeks instead."
        ),
        tests="""\
from datetime import date

assert date(2024, 5, 31).weekday() == 4  # a Friday
assert working_days("2024-05-31", "2024-05-31") == 1
assert working_days("2024-05-31", "2024-06-02") == 1
assert working_days("2024-05-27", "2024-06-02") == 5
assert working_days("2024-05-27", "2024-06-02", ["2024-05-30", "2024-05-30"]) == 4
assert working_days("2024-05-27", "2024-06-02", ["2024-06-01"]) == 5
assert working_days("2024-06-02", "2024-05-27") == 0
assert working_days("2024-02-26", "2024-03-01") == 5
""",
    ),
    Example(
        instruction=(
            "Develop a parser for durations such as `1h 20m`, `45s` or `2d3h`. The units are d, h, m and s; each is "
            "used at most once, in this order, and has a whole number before it. Spaces between the parts are "
            "allowed. Return the seconds, and raise ValueError for any other text."
        ),
        entry_point="parse_duration",
        reasoning=(
            "One regular expression with four optional parts in the given order describes all valid texts, and "
            "`fullmatch` rejects what is left over. It also matches the empty text, in which no part is present; that "
            "has to be refused separately. `0s` is a valid text, so I must look at whether a part is there and not at "
            "whether the sum is 0. `[0-9]` is safer than `\\d`, which takes digits of other scripts."
        ),
        implementation='''\
import re

UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
PATTERN = re.compile(r"\\s*".join(rf"(?:([0-9]+){unit})?" for unit in UNITS))


def parse_duration(text: str) -> int:
    """The seconds of a duration like `1h 20m`."""
    found = PATTERN.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        raise ValueError(f"not a duration: {text!r}")
    return sum(int(number) * size for number, size in zip(found.groups(), UNITS.values()) if number)
''',
        explanation=(
            "The pattern is put together from the units, so order and sizes stand in one place. A part that is missing "
            "gives None as its group, and an existing one is a text that is never empty, so `any` tells whether there "
            "is one."
        ),
        tests="""\
assert parse_duration("1h 20m") == 4800
assert parse_duration("45s") == 45
assert parse_duration("2d3h") == 2 * 86400 + 3 * 3600
assert parse_duration(" 1d 1h 1m 1s ") == 86400 + 3600 + 61
assert parse_duration("0s") == 0
assert parse_duration("90m") == 5400


def is_refused(text):
    try:
        parse_duration(text)
    except ValueError:
        return True
    return False


assert is_refused("")
assert is_refused("20m 1h")
assert is_refused("5")
assert is_refused("1h 2h")
assert is_refused("1.5h")
""",
    ),
    Example(
        instruction=(
            "Write a function that shares an amount of cents among people in proportion to their weights. The shares "
            "are whole cents and add up to the amount: each gets the whole part of the exact share, and the cents "
            "that are left go to those with the largest remainders, to the earlier person if remainders are equal. "
            "All weights are positive whole numbers."
        ),
        entry_point="share_cents",
        reasoning=(
            "Floating-point division could get the remainders wrong, so I stay with whole numbers: `divmod(amount * "
            "weight, total)` gives the whole part, and a remainder that is over the same total for everyone, so "
            "remainders can be compared as they are. The number of cents left is smaller than the number of people, "
            "so nobody gets two of them. A stable sort keeps equal remainders in the order of the people."
        ),
        implementation='''\
def share_cents(amount: int, weights: list[int]) -> list[int]:
    """Whole cents in proportion to `weights`, which add up to `amount`."""
    total = sum(weights)
    parts = [divmod(amount * weight, total) for weight in weights]
    shares = [whole for whole, _ in parts]
    by_remainder = sorted(range(len(weights)), key=lambda person: -parts[person][1])
    for person in by_remainder[: amount - sum(shares)]:
        shares[person] += 1
    return shares
''',
        explanation=(
            "This is the method of the largest remainder. `sorted` with the negative remainder puts large ones first "
            "and leaves equal ones as they were. The slice takes as many people as there are cents left."
        ),
        tests="""\
assert share_cents(100, [1, 1]) == [50, 50]
assert share_cents(100, [1, 1, 1]) == [34, 33, 33]
assert share_cents(5, [1, 2]) == [2, 3]
assert share_cents(0, [3, 4]) == [0, 0]
assert share_cents(7, [9]) == [7]
assert share_cents(1, [1, 5, 1]) == [0, 1, 0]
for amount in range(50):
    assert sum(share_cents(amount, [3, 5, 7, 1])) == amount
""",
    ),
    Example(
        instruction=(
            "Write a function that finds an order in which tasks can be done. It gets a dictionary from each task to "
            "the list of tasks that have to be done before it; tasks may occur in these lists alone. Of the tasks "
            "that are possible next, the alphabetically first is taken. If tasks wait for each other in a circle, "
            "return an empty list."
        ),
        entry_point="task_order",
        reasoning=(
            "I need all tasks, also those that only occur as something to be done before. For each I keep the set of "
            "tasks it still waits for; a set, because a list might name one twice. Then, until nothing is left, I "
            "take the alphabetically first task that waits for nothing, and strike it out for the others. If there is "
            "none although some are left, they form a circle. A task that waits for itself is such a circle."
        ),
        implementation='''\
def task_order(before: dict[str, list[str]]) -> list[str]:
    """An order of all tasks in which each comes after those it waits for; [] if there is none."""
    waits = {task: set(needed) for task, needed in before.items()}
    for needed in before.values():
        for task in needed:
            waits.setdefault(task, set())
    order = []
    while waits:
        ready = [task for task, needed in waits.items() if not needed]
        if not ready:
            return []
        task = min(ready)
        order.append(task)
        del waits[task]
        for needed in waits.values():
            needed.discard(task)
    return order
''',
        explanation=(
            "Each round takes out one task, so the loop ends. Looking through all tasks in every round is quadratic, "
            "which is fine for hundreds of tasks; a heap would do it faster for more. No tasks at all give an empty "
            "order, which cannot be told from a circle; the task allows that."
        ),
        tests="""\
assert task_order({"eat": ["cook"], "cook": ["shop"], "shop": []}) == ["shop", "cook", "eat"]
assert task_order({"b": [], "a": [], "c": ["b"]}) == ["a", "b", "c"]
assert task_order({"eat": ["cook"]}) == ["cook", "eat"]
assert task_order({"a": ["b"], "b": ["a"]}) == []
assert task_order({"a": ["a"]}) == []
assert task_order({}) == []
assert task_order({"c": ["a", "a"], "b": ["a"]}) == ["a", "b", "c"]
needs = {"x": ["y"]}
task_order(needs)
assert needs == {"x": ["y"]}
""",
    ),
    Example(
        instruction=(
            "Write a generator function that yields overlapping windows of any iterable as tuples: `size` items each, "
            "every window `step` items after the last one. Windows that would be incomplete at the end are left out. "
            "`size` and `step` below 1 raise a ValueError. The iterable may be endless, so it must not be read as a "
            "whole."
        ),
        entry_point="windows",
        reasoning=(
            "A deque with `maxlen=size` always holds the latest items. After reading `size` items the first window "
            "is complete, then after every `step` further ones. If `step` is greater than `size`, items between the "
            "windows are passed over; counting the items read handles that as well. A generator runs nothing before "
            "its first item is asked for, so the errors come then."
        ),
        implementation='''\
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any


def windows(items: Iterable[Any], size: int, step: int = 1) -> Iterator[tuple[Any, ...]]:
    """Windows of `size` items, each beginning `step` items after the last one."""
    if size < 1 or step < 1:
        raise ValueError("size and step are at least 1")
    latest: deque[Any] = deque(maxlen=size)
    for count, item in enumerate(items, 1):
        latest.append(item)
        if count >= size and (count - size) % step == 0:
            yield tuple(latest)
''',
        explanation=(
            "The deque drops the oldest item by itself. A window is complete when the number of items read is `size` "
            "plus a multiple of `step`. Never more than `size` items are held, so endless input is no problem."
        ),
        tests="""\
from itertools import count, islice


def test_ordinary():
    assert list(windows([1, 2, 3, 4], 2)) == [(1, 2), (2, 3), (3, 4)]
    assert list(windows("abcde", 2, 2)) == [("a", "b"), ("c", "d")]
    assert list(windows(range(7), 2, 3)) == [(0, 1), (3, 4)]


def test_edges():
    assert list(windows([1, 2], 3)) == []
    assert list(windows([], 1)) == []
    assert list(windows([1, 2], 2)) == [(1, 2)]
    assert list(islice(windows(count(), 3), 2)) == [(0, 1, 2), (1, 2, 3)]


def test_errors():
    for size, step in ((0, 1), (1, 0)):
        try:
            list(windows([1], size, step))
        except ValueError:
            continue
        assert False, "no error"


test_ordinary()
test_edges()
test_errors()
""",
    ),
)
