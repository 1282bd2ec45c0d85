"""From texts to programs and tests."""

import ast
import time

import pytest

from plum_hub.stages.extract import (
    cut,
    extract,
    extract_code,
    fill,
    without_last,
)
from plum_hub.stages.parts import parse_parts, split_assertions, split_tests

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
    parts, missing = parse_parts(RESPONSE)
    assert missing == ""
    assert parts["analysis"] == "Square a number. [not a head]"
    assert parts["solution"] == "def square(n):\n    return n * n\n"
    assert parts["start_code"] == "def square(n):\n"
    assert parts["test_code"].startswith("import math\n")


@pytest.mark.parametrize(
    ("heading", "missing"), [("[Analysis]", ""), ("[Solution]", "no_solution"), ("[Test Code]", "no_test_code")]
)
def test_a_response_without_a_part_says_which_needed_one_is_missing(heading: str, missing: str) -> None:
    assert parse_parts(RESPONSE.replace(heading, "Next:"))[1] == missing


def test_each_top_level_assert_is_a_test_with_what_it_needs() -> None:
    parts, _ = parse_parts(RESPONSE)
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


F = "def add(a, b):\n    return a + b\n"
NODE = "class Node:\n    def __init__(self, value):\n        self.value = value\n        self.next = None\n"
LIST = "class LinkedList:\n    def __init__(self):\n        self.head = Node(0)\n"

# Answers in the styles that models answer in: name -> (text, how, names that the program defines, truncated).
ZOO: dict[str, tuple[str, str, set[str], bool]] = {
    "chat": (f"Sure! Here is the function:\n\n```python\n{F}```\n\nIt adds `a` and `b`.", "fence", {"add"}, False),
    "capital tag": (f"``` Python\n{F}```", "fence", {"add"}, False),
    "python3": (f"```python3\n{F}```", "fence", {"add"}, False),
    "attributes": (f"```{{.python .numberLines}}\n{F}```", "fence", {"add"}, False),
    "file name": (f"```python:solution.py\n{F}```", "fence", {"add"}, False),
    "no tag": (f"Solution:\n```\n{F}```", "fence", {"add"}, False),
    "tildes": (f"~~~py\n{F}~~~\nDone.", "fence", {"add"}, False),
    "four marks": (f"````python\n{F}````", "fence", {"add"}, False),
    "windows": (f"```python\n{F}```\nBye".replace("\n", "\r\n"), "fence", {"add"}, False),
    "list item": (
        "1. Write it:\n\n   ```python\n   def add(a, b):\n       return a + b\n   ```\n",
        "fence",
        {"add"},
        False,
    ),
    "indented code": ("```python\n    def add(a, b):\n        return a + b\n```", "fence", {"add"}, False),
    "quote": ("> ```python\n> def add(a, b):\n>     return a + b\n> ```\n", "fence", {"add"}, False),
    "end on the code's line": ("```python\ndef add(a, b):\n    return a + b```", "fence", {"add"}, False),
    "begin in a sentence": (f"Try this: ```python\n{F}``` Good luck!", "fence", {"add"}, False),
    "usage block": (f"```python\n{F}```\nExample usage:\n```python\nprint(add(1, 2))\n```", "fence", {"add"}, False),
    "test block": (
        f"```python\n{F}```\nTests:\n```python\nimport unittest\nclass TestAdd(unittest.TestCase):\n"
        "    def test_it(self):\n        self.assertEqual(add(1, 2), 3)\n```",
        "fence",
        {"add"},
        False,
    ),
    "output block": (f"```python\n{F}```\nOutput:\n```\n3\n```\n", "fence", {"add"}, False),
    "shell first": (f"```bash\npip install numpy\n```\n```python\n{F}```", "fence", {"add"}, False),
    "two classes": (
        f"First:\n```python\n{NODE}```\nThen:\n```python\n{LIST}```",
        "fences",
        {"Node", "LinkedList"},
        False,
    ),
    "imports apart": (
        "```python\nimport math\n```\n```python\ndef area(r):\n    return math.pi * r\n```",
        "fences",
        {"area"},
        False,
    ),
    "helper after": (
        "```python\ndef f(n):\n    return g(n)\n```\nwith the helper used above:\n"
        "```python\ndef g(n):\n    return n\n```",
        "fences",
        {"f", "g"},
        False,
    ),
    "steps, then the whole": (
        "1. Import:\n```python\nimport re\n```\n2. Define:\n```python\ndef words(t):\n```\n3. Find:\n```python\n"
        "    found = re.findall(r'\\w+', t)\n```\nThe complete code:\n```python\nimport re\n\ndef words(t):\n"
        "    return re.findall(r'\\w+', t)\n```",
        "fence",
        {"words"},
        False,
    ),
    "thought": (
        f"<think>\nMaybe\n```python\ndef no(): pass\n```\n</think>\n\n```python\n{F}```",
        "fence",
        {"add"},
        False,
    ),
    "thought from the prompt": (f"so I add.\n```python\ndef no(): 1\n```\n</think>\n{F}", "bare", {"add"}, False),
    "reasoning": (f"<reasoning>\ndef no(): pass\n</reasoning>\n<answer>\n{F}</answer>", "bare", {"add"}, False),
    "thought cut off": ("<think>\nI try\n```python\ndef no(): pass\n```\nbut", "none", set(), True),
    "cut off after a statement": (f"Here:\n```python\n{F}", "unclosed_fence", {"add"}, True),
    "cut off in the example": (f"```python\n{F}\nprint(add(1,", "unclosed_fence", {"add"}, True),
    "cut off in prose": (f"```python\n{F}```\nExample:\n```python\nprint(add(1", "fence", {"add"}, True),
    "forgotten end": (f"```python\n{F}\nThis adds the two numbers, as asked.", "unclosed_fence", {"add"}, True),
    "forgotten end, next block": (
        f"```python\n{F}\n```python\nprint(add(1, 2))\n```",
        "unclosed_fence",
        {"add"},
        False,
    ),
    "bare": (F, "bare", {"add"}, False),
    "bare with prose": (f"Here is the code:\n\n{F}\nThis function adds two numbers.\n", "bare", {"add"}, False),
    "bare, prose with an example": (f"{F}\nExample usage:\nprint(add(1, 2))\n", "bare", {"add"}, False),
    "chat markers": (f"<|im_start|>assistant\n{F}<|im_end|>\n<|im_start|>user\nThanks", "bare", {"add"}, False),
    "llama markers": (f"```python\n{F}```<|eot_id|>", "fence", {"add"}, False),
    "end of text": (f"{F}</s>", "bare", {"add"}, False),
    "next turn": (f"{F}\n### Instruction:\nWrite def other(): pass\n", "bare", {"add"}, False),
    "fence in a docstring": (
        '```python\ndef add(a, b):\n    """Adds.\n\n    ```\n    add(1, 2)\n    ```\n    """\n'
        "    return a + b\n```\nOk.",
        "fence",
        {"add"},
        False,
    ),
    "flat fence in a docstring": (
        'Ok:\n```python\ndef add(a, b):\n    """Adds.\n```\nadd(1, 2)\n```\n"""\n    return a + b\n```\nOk.',
        "fence",
        {"add"},
        False,
    ),
    "a script": ("```python\nn = int(input())\nprint(n * 2)\n```", "fence", set(), False),
    "refusal": ("I'm sorry, but I can't help with that.", "none", set(), False),
    "one word": ("Sorry", "none", set(), False),
    "nothing": ("\n", "none", set(), False),
}


@pytest.mark.parametrize("name", ZOO)
def test_the_program_is_found_in_every_style(name: str) -> None:
    text, how, names, truncated = ZOO[name]
    found = extract(text)
    assert (found.how, found.truncated) == (how, truncated), found
    tree = ast.parse(found.code)
    assert {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)} == names
    assert bool(found.code) == (how != "none")
    if found.code and not truncated:
        assert extract(found.code).code.strip() == found.code.strip(), "what was found is found again"


@pytest.mark.parametrize(
    "text",
    [
        "def add(a, b):\n    c = a +\n    return c\n",
        "def f(n):\n    y = 1\n    x = n +\n    return x\n",
        "def helper(n):\n    return n\n\ndef add(a, b:\n    return helper(a) + b\n",
        "def helper(n):\n    return n\n\nx = = 3\n",
        "def add(a, b):\n    return a\n  return b\n",
        "def add(a, b):\n    a = a.repl\nce('a', '')\n    b = a\n    return a + b\n",
        "def add(a, b):\n    a = a + 1\nx   return a + b\n",
    ],
)
def test_a_broken_program_stays_broken(text: str) -> None:
    cut_off = (
        [] if "x = =" in text or "x   r" in text else [f"```python\n{text}"]
    )  # there, a broken last statement is left out
    for wrapped in (text, f"```python\n{text}```", *cut_off):
        with pytest.raises(SyntaxError):
            ast.parse(extract_code(wrapped))


def test_a_broken_block_is_not_replaced_by_a_whole_one_that_defines_something_else() -> None:
    text = "```python\ndef add(a, b:\n    return a\n```\nwith\n```python\ndef other():\n    pass\n```"
    assert "def add(a, b:" in extract_code(text)


@pytest.mark.parametrize(
    ("first", "intro", "second", "wins"),
    [
        (F, "And here is a version with a logical error:", F.replace("+", "-"), "+"),
        (F, "To explain, look at the signature:", "def add(a, b):\n    ...\n", "+"),
        (F.replace("+", "-"), "That subtracts. Here's the corrected version:", F, "+"),
        (F.replace("+", "-"), "Wait, that is wrong. Here is the right one:", F, "+"),
        (F.replace("+", "-"), "Oops, I made a mistake: it should be", F, "+"),
        (F.replace("+", "-"), "Hold on, this fails the first test.\n\nIt must add:", F, "+"),
        (F.replace("+", "-"), "The code above is incorrect, it subtracts.\n\nInstead:", F, "+"),
        (F, "This common attempt is wrong:", F.replace("+", "-"), "+"),
        (F, "A version with a mistake in it:", F.replace("+", "-"), "+"),
        (F, "Another way, if you can wait for it:", F.replace("+", "-"), "+"),
        (F, "Wait, that is wrong:", "def add(a, b):\n    return a -\n", "+"),
        (F.replace("+", "-"), "Now with a helper:", "def plus(a, b):\n    return a + b\n" + F, "+"),
    ],
)
def test_of_two_definitions_the_first_stays_unless_the_later_is_more(
    first: str, intro: str, second: str, wins: str
) -> None:
    code = extract_code(f"```python\n{first}```\n{intro}\n```python\n{second}```\n")
    assert f"return a {wins} b" in code
    assert code.count("def add") == 1


def test_a_correction_keeps_the_helpers_of_other_blocks() -> None:
    helper = "def plus(a, b):\n    return a + b\n"
    wrong, right = (f"def add(a, b):\n    return plus(a, {x})\n" for x in "ab")
    text = f"```python\n{helper}```\nand\n```python\n{wrong}```\nWait, that is wrong.\n```python\n{right}```\n"
    assert extract_code(text) == f"{helper}\n{wrong}", "without the name, who knows what is corrected"
    assert extract(text, "add").code == f"{helper}\n{right}"


@pytest.mark.parametrize(
    "code",
    [
        "def strip(text):\n    '''Removes </think> and what is before it.'''\n    return text\n",
        'def strip(text):\n    """\n    <think>\n    a thought\n    </think>\n    """\n    return text\n',
        "def strip(text):\n    # up to </think> here\n    return text\n",
    ],
)
def test_the_mark_of_a_thought_in_a_string_of_the_program_is_the_programs(code: str) -> None:
    for before in ("", "<think>\nHm: ```python\ndef no(): pass\n```\n</think>\n", "so I add.\n</think>\n"):
        assert extract_code(f"{before}Here:\n```python\n{code}```\nDone.") == code
        assert extract_code(f"{before}{code}") == code
        assert extract(f"{before}```python\n{code}").code.strip() == code.strip()
    thought = f"I try\n```python\ndef no():\n    pass\nwhich is wrong\n</think>\nSo:\n```python\n{code}```"
    assert extract_code(thought) == code, "a thought that leaves its block open"


def test_the_entry_point_decides_where_it_is_known() -> None:
    text = (
        "```python\ndef draft(a, b):\n    return a\n```\nExample of a test:\n"
        "```python\ndef test_sum(a, b):\n    return 1\n```"
    )
    assert extract(text).code.startswith("def draft")
    assert extract(text, "test_sum").code.startswith("def test_sum")
    cut_off = f"```python\n{F}\ndef more(a):\n    return (a +"
    assert "def more" in extract(cut_off).code, "it might be the program itself"
    assert extract(cut_off, "add").code.strip() == F.strip()
    assert "def add" in extract(cut_off, "more").code


def test_long_and_hostile_texts_take_no_time() -> None:
    start = time.perf_counter()
    for text in (
        "x = 1\n(" * 3000,
        "def f(:\n" * 3000,
        "```\n" * 5000,
        "```python\n" * 3000,
        "<think>" * 5000,
        "<think>\na\n</think>\n```python\n" * 1000,
        "```python\n'</think> '\n```\n" * 1000,
        "[" * 9000,
    ):
        extract(text)
        parse_parts(text)
    assert time.perf_counter() - start < 20


PART = {
    "Analysis": "Add two numbers.",
    "Solution": f"```python\n{F}```",
    "Start Code": "```python\ndef add(a, b):\n    pass\n```",
    "Test Code": "```python\nassert add(1, 2) == 3\nassert add(0, 0) == 0\n```",
}
TEST = "assert add(1, 2) == 3\nassert add(0, 0) == 0"


@pytest.mark.parametrize(
    "heading",
    [
        *("[{}]", "### {}", "## {}:", "**{}**", "**{}:**", "**{}**:", "**[{}]**", "### [{}]", "{}:"),
        *("1. {}:", "**1. {}**", "### 2. {}", "### Step 3: {}", "__{}__"),
    ],
)
@pytest.mark.parametrize("letters", [str, str.lower, str.upper])
def test_headings_in_many_forms(heading: str, letters: type[str]) -> None:
    text = "\n\n".join(f"{letters(heading.format(name))}\n{body}" for name, body in PART.items())
    parts, reason = parse_parts(text)
    assert reason == ""
    assert parts["analysis"] == PART["Analysis"]
    assert parts["solution"] == F
    assert parts["start_code"] == "def add(a, b):\n    pass\n"
    assert parts["test_code"].strip() == TEST


@pytest.mark.parametrize("name", ["Test", "Tests", "Test Cases", "Test case", "TEST CODE", "Unit Tests"])
def test_names_of_the_test_part_and_another_order(name: str) -> None:
    bodies = [("Tests", name, TEST), ("Solution", "Reference Solution", PART["Solution"])]
    text = "\n".join(f"[{shown}]\n{body}\n" for _, shown, body in bodies)
    parts, reason = parse_parts(text)
    assert (reason, parts["solution"], parts["test_code"].strip()) == ("", F, TEST)


def test_the_rest_of_a_headings_line_belongs_to_the_part() -> None:
    text = f"**Analysis:** Add them.\n**Solution:** ```python\n{F}```\n**Tests:**\n```python\n{TEST}\n```"
    parts, reason = parse_parts(text)
    assert (reason, parts["analysis"], parts["solution"], parts["test_code"].strip()) == ("", "Add them.", F, TEST)


def test_a_comment_in_a_program_is_no_heading() -> None:
    text = f"### Solution\n```python\n# Test Code\n# Solution:\n{F}```\n### Tests\n```python\n# Solution\n{TEST}\n```"
    parts, reason = parse_parts(text)
    assert reason == ""
    assert parts["solution"].endswith(F)
    assert parts["test_code"].strip() == f"# Solution\n{TEST}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I cannot help with that.", "unparsable"),
        (f"```python\n{F}```", "unparsable"),
        ("[Analysis]\nHard.\n[Test Code]\nassert add(1, 2) == 3\n", "no_solution"),
        ("[Analysis]\nHard.\n[Solution]\nSee above.\n[Test Code]\nassert add(1, 2) == 3\n", "no_solution"),
        (f"[Analysis]\nHard.\n[Solution]\n{F}", "no_test_code"),
        (f"[Solution]\n{F}[Test Code]\nTry some numbers.\n", "no_test_code"),
        (f"<think>\n[Solution]\n{F}[Test Code]\n{TEST}\n", "unparsable"),
    ],
)
def test_what_is_missing_has_a_name(text: str, reason: str) -> None:
    assert parse_parts(text)[1] == reason


def test_test_code_between_prose_and_in_several_blocks() -> None:
    start = f"[Solution]\n{F}[Test Code]\n"
    for body in (
        f"These check the function:\n{TEST}\nAll of them pass.",
        "Small:\n```python\nassert add(1, 2) == 3\n```\nZero:\n```python\nassert add(0, 0) == 0\n```",
    ):
        parts, reason = parse_parts(start + body)
        assert reason == ""
        assert split_tests(parts["test_code"]) == TEST.split("\n")


def test_without_last() -> None:
    assert without_last("a = 1\nassert f(1) == 12") == "a = 1\n"
    assert without_last("a = 1\nassert f([1,\n  2") == "a = 1\n"
    assert without_last("assert f(") == ""
    assert without_last("") == ""
