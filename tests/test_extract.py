"""From texts to programs and tests."""

import pytest

from plum_hub.stages.extract import cut, extract_code, fill, parse_plum_response, split_assertions, split_tests

RESPONSE = """\
[Analysis]
Square a number. [not a head]
[Solution]
```python
def square(n):
    return n * n
```
**[Start Code]**
def square(n):
[Test Code]
```python
import math
assert square(2) == 4
assert square(math.inf) == math.inf, "infinite"
```
"""


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("def f():\n    return 1", "def f():\n    return 1\n"),
        ("Here:\n```python\nx = 1\n```\nDone.", "x = 1\n"),
        ("```\nplain = 1\n```", "plain = 1\n"),
        ("```bash\npip install x\n```\n```python\na = 1\n```\n```py\ndef b():\n    pass\n```", "def b():\n    pass\n"),
        ("```python\ndef f():\n    pass\n```\nUse it:\n```python\ndef main(): f()\n```", "def f():\n    pass\n"),
        ("  \n", ""),
    ],
)
def test_extract_code(text: str, code: str) -> None:
    assert extract_code(text) == code


def test_four_parts_are_parsed_with_and_without_fences() -> None:
    parts = parse_plum_response(RESPONSE)
    assert parts
    assert parts["analysis"] == "Square a number. [not a head]"
    assert parts["solution"] == "def square(n):\n    return n * n\n"
    assert parts["start_code"] == "def square(n):\n"
    assert parts["test_code"].startswith("import math\n")


@pytest.mark.parametrize("missing", ["[Solution]", "[Test Code]"])
def test_a_response_without_a_needed_part_is_none(missing: str) -> None:
    assert parse_plum_response(RESPONSE.replace(missing, "Next:")) is None


def test_each_top_level_assert_is_a_test_with_what_it_needs() -> None:
    parts = parse_plum_response(RESPONSE)
    assert parts
    assert split_tests(parts["test_code"]) == [
        "import math\nassert square(2) == 4",
        'import math\nassert square(math.inf) == math.inf, "infinite"',
    ]


def test_asserts_inside_functions_stay_one_test() -> None:
    code = "def check(f):\n    assert f(1) == 1\n    assert f(2) == 4\ncheck(square)"
    assert split_tests(code) == [code]
    loop = "for n, r in [(1, 1), (2, 4)]:\n    assert square(n) == r"
    assert split_tests(loop) == [loop]


def test_a_block_that_would_check_nothing_is_called_or_is_no_test() -> None:
    code = "import math\ndef test_one():\n    assert square(1) == 1\ndef test_two():\n    assert square(2) == 4\n"
    assert split_tests(code) == [code + "test_one()\ntest_two()"]
    assert split_tests(code + "test_one()\ntest_two()") == [code + "test_one()\ntest_two()"]
    assert split_tests("class T:\n    def test(self):\n        assert square(1) == 1\n") == []
    assert split_tests("def check(f):\n    assert f(1) == 1\n") == []


def test_a_template_is_filled_in_one_pass() -> None:
    values = {"instruction": "print {entry_point} and {x}", "entry_point": "f"}
    assert fill("{entry_point}: {instruction} {other}", values) == "f: print {entry_point} and {x} {other}"


def test_what_is_no_test_at_all() -> None:
    assert split_tests("print(square(2))") == []
    with pytest.raises(SyntaxError):
        split_tests("assert square(2 ==")


def test_loose_assertions_lose_what_is_not_a_whole_test_of_the_function() -> None:
    text = (
        "assert \n    f(1) == 2, 'first'\n"
        "assert f([1,\n  2]) == sorted([2, 1])\n"
        "assert f\n"
        "assert g(1) == 2\n"
        "assert \n    assert f(3) == 4\n"
        "assert ____ == f(1)\n"
        "assert f(x for x in (1, 2)) == 3\n"
        "assert f(1) == 2\n"
        "assert f(7) == 12345 and f(8) == 1"
    )
    assert split_assertions(text, "f") == [
        "assert f(1) == 2",
        "assert f([1, 2]) == sorted([2, 1])",
        "assert f(3) == 4",
        "assert f((x for x in (1, 2))) == 3",
    ]


def test_cut() -> None:
    assert cut("    return 1\n\ndef g():\n#", ("\n#", "\ndef")) == "    return 1\n"
    assert cut("    return 1", ("\ndef",)) == "    return 1"
