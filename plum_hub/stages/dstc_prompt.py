"""DSTC's prompt and its answers (arXiv 2411.13611, section 3 and Appendix B): a program and its tests in one text.

    asked = prompt("Reverse the words of a sentence.", "reverse_words", seed=0)
    parts, missing = parse(answer, "reverse_words")
    test = suite(parts["test_code"])

One worked example out of ten, then the task; the answer is to have four parts, [Reasoning], [Implementation],
[Explanation] and [Tests]. The directions and all examples are our own; the paper took its examples from
StarCoder2-Instruct's. The task ends with the name of its function while answers are sampled, so that each program can
be run on the others' tests; `plum_hub.stages.dstc` trains on the task without that line.

How code is found in an answer is told in `extract` and `parts`; here the tests are made fit to be run on other people's
programs: `parse` takes out the program's import and any copy of the program, which would stand in for the one that is
to be tested.

Not covered: `unittest` classes and pytest's fixtures as tests.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from dataclasses import dataclass
from typing import Any

from plum_hub.stages.extract import PYTHON, extract, fenced_blocks, final_answer, parsed
from plum_hub.stages.parts import parse_parts, split_tests


@dataclass(frozen=True)
class Example:
    """A task with an answer in four parts."""

    instruction: str
    entry_point: str
    reasoning: str
    implementation: str
    explanation: str
    tests: str


DIRECTIONS = """\
Below you find a worked example and then an open task. Answer the open task as the example is answered, in four parts. \
Each part begins with its marker, alone on a line:

[Reasoning] Work out what the task asks for, which cases are easily missed, and how you will go about it.
[Implementation] Write the complete Python solution in one code block, imports included.
[Explanation] Say briefly how the solution works and what it does not handle.
[Tests] Write one code block of tests that check the solution from many sides: ordinary input, edge cases, errors. Use \
plain `assert` statements that call the solution by its name, and import in this block whatever the tests need.
"""
OPENING = "The answer has four parts: [Reasoning], [Implementation], [Explanation] and [Tests]."
ENTRY_POINT = "The main function name is `{entry_point}`."

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


def prompt(instruction: str, entry_point: str, seed: int) -> str:
    """What the policy is asked: directions, one example, the task. Which example is a matter of instruction and seed.

    Args:
        entry_point: the name its answers' tests will call; "" leaves the line out.
    """
    digest = hashlib.sha256(f"{seed}:{instruction}".encode()).digest()
    example = EXAMPLES[int.from_bytes(digest[:8], "big") % len(EXAMPLES)]
    return "\n".join(
        [
            DIRECTIONS,
            "## Example\n\n### Task\n",
            with_entry_point(example.instruction, example.entry_point),
            "\n### Answer\n",
            answer(example),
            "## Open task\n\n### Task\n",
            with_entry_point(instruction, entry_point),
            "\n### Answer\n",
            OPENING,
        ]
    )


def with_entry_point(instruction: str, entry_point: str) -> str:
    """The instruction as it is sampled from: it ends with the name of its function, if there is one."""
    if not entry_point:
        return instruction.rstrip()
    return f"{instruction.rstrip()}\n{ENTRY_POINT.replace('{entry_point}', entry_point)}"


def answer(example: Example) -> str:
    """An example's answer in the format asked for."""
    return (
        f"{OPENING}\n\n[Reasoning]\n{example.reasoning}\n\n"
        f"[Implementation]\n```python\n{example.implementation}```\n\n"
        f"[Explanation]\n{example.explanation}\n\n"
        f"[Tests]\n```python\n{example.tests}```\n"
    )


# ------------------------------------------------------------------------------------------------------- answers

_TESTS_HEAD = re.compile(r"^\W*tests?\b\W*$", re.MULTILINE | re.IGNORECASE)
_NEXT_TASK = re.compile(r"^##+ *(?:example|open task|task|instruction|response|answer)\b.*$", re.MULTILINE | re.I)


def parse(text: str, entry_point: str = "") -> tuple[dict[str, str], str]:
    """The parts of an answer, and what is missing, as `plum_hub.stages.parts.parse_parts` has them.

    Headings may be missing or of another form where the code blocks tell which is which: those that assert something
    and are no part of the program are the tests. A task that the model made up after its answer is left out.

    Returns:
        `analysis` (the reasoning), `solution`, `start_code` (always "": there is none in this format), `test_code`
        (code without prose, fit to be run on other programs); and "", `unparsable`, `no_solution` or `no_test_code`.
    """
    text = _one_answer(final_answer(text)[0])
    parts, reason = parse_parts(text, entry_point)
    if reason or parsed(parts["test_code"]) is None:
        solution, tests = _by_blocks(text, entry_point)
        if solution.strip() and tests.strip():
            parts, reason = {**parts, "solution": solution, "test_code": tests}, ""
    parts["start_code"] = ""
    if not reason:
        parts["test_code"] = _for_others(parts["test_code"], parts["solution"], entry_point)
        if not parts["test_code"].strip():
            reason = "no_test_code"
    return parts, reason


def suite(test_code: str) -> str:
    """The tests of an answer as ONE test, which passes if all of its assertions hold; "" if nothing would be checked.

    Functions named `test*` that nothing calls are called at its end, as `split_tests` has it.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: it is not Python, or not for Python's own parser.
    """
    tests = split_tests(test_code)
    return tests[0] if len(tests) == 1 else test_code if tests else ""


def _one_answer(text: str) -> str:
    """The text up to the next task that the model makes up."""
    head = _TESTS_HEAD.search(text)
    following = _NEXT_TASK.search(text, head.end()) if head else None
    return text[: following.start()] if following else text


def _by_blocks(text: str, entry_point: str) -> tuple[str, str]:
    """Program and tests of a text without (enough) headings."""
    solution = extract(text, entry_point).code
    tests = [
        block.body.rstrip("\n") + "\n"
        for block in fenced_blocks(text)
        if block.language in PYTHON and block.body.strip() not in solution and _asserts(parsed(block.body))
    ]
    return solution, "\n".join(tests)


def _asserts(tree: ast.Module | None) -> bool:
    return tree is not None and any(isinstance(node, ast.Assert) for node in ast.walk(tree))


def _for_others(tests: str, solution: str, entry_point: str) -> str:
    """Tests without what ties them to their own program, and with a call of `check`, should they define one."""
    tree, program = parsed(tests), parsed(solution)
    if tree is None:
        return tests
    own = {node.name for node in _definitions(program)}
    tested = {entry_point} if entry_point in own else own
    gone: set[int] = set()
    for node in tree.body:
        if _is_copy(node, tested) or _is_import_of(node, own):
            start = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
            gone |= set(range(start, (node.end_lineno or node.lineno) + 1))
    lines = [line for number, line in enumerate(tests.split("\n"), 1) if number not in gone]
    tests = "\n".join(lines).strip("\n") + "\n"
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    checks = [node for node in _definitions(tree) if node.name == "check" and isinstance(node, ast.FunctionDef)]
    if entry_point and checks and "check" not in called and len(checks[-1].args.args) == 1:
        tests += f"\ncheck({entry_point})\n"
    return tests if tests.strip() else ""


_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _definitions(tree: ast.Module | None) -> list[_Definition]:
    return [node for node in tree.body if isinstance(node, _Definition)] if tree else []


def _is_copy(node: ast.stmt, tested: set[str]) -> bool:
    """Whether it defines again what is to be tested: other programs would never be reached."""
    return isinstance(node, _Definition) and node.name in tested


def _is_import_of(node: ast.stmt, own: set[str]) -> bool:
    """Whether it imports the program, from a module that only its author thought of."""
    if not isinstance(node, ast.ImportFrom):
        return False
    module = (node.module or "").partition(".")[0]
    return module not in sys.stdlib_module_names and all(alias.name in own for alias in node.names)


# --------------------------------------------------------------------------------- names for instructions without


def entry_point(row: dict[str, Any]) -> str:
    """The function's name for a row of self-oss-instruct-sc2-exec-filter-50k, whose instructions do not say it.

    It is read off the gold response: the definition that its own tests call most; where it has none, the one that the
    instruction names, else the last one that no other uses. Nothing else of the gold response is used anywhere.

    Args:
        row: `instruction` and `response`.

    Returns:
        The name of a function or class; "" where the response defines none.
    """
    text = str(row.get("response") or "")
    solution, tests = _by_blocks(text, "")
    program = parsed(solution)
    names = [node.name for node in _definitions(program)]
    if not program or not names:
        return ""
    tree = parsed(tests)
    calls = [node.func.id for node in ast.walk(tree or ast.Module([], [])) if _is_call(node)]  # type: ignore[attr-defined]
    called = [name for name in names if name in calls]
    if called:
        return max(called, key=calls.count)
    words = set(re.findall(r"\w+", str(row.get("instruction") or "")))
    if named := [name for name in names if name in words]:
        return named[0]
    used = {
        inner.id
        for node in _definitions(program)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Name) and inner.id != node.name
    }
    public = [name for name in names if name not in used and not name.startswith("_")]
    return (public or names)[-1]


def _is_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
