"""The nano task family: an instruction in English, a Python function of a few lines, tests that tell right from wrong.

A program is a typed pipeline: one to three steps over a list of integers, a string, a list of words or an integer, and
a returned value. Each step and each ending is an `Idiom`: a few ways to ask for it, the right expression, and one wrong
expression of the kind people write (an off-by-one, the neighbouring method, the lost minus sign).

    from plum_hub.nano import tasks
    tasks.heldout()[0].instruction, tasks.heldout()[0].tests

Everything derives from fixed seeds in this file: the same tasks on every machine, whatever the seed of a run.
Not covered: loops, branches, recursion, classes, imports, more than one argument. The gold programs are put together
from the table below, so they are run here in-process; programs of any other origin belong in the sandbox.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

ENTRY_POINT = "solve"

#: rows per split
SIZES = {"demos": 4500, "instructions": 600, "more_instructions": 600, "dev": 300, "heldout": 300}
#: probability of a pipeline of 1, 2 and 3 steps
STEP_COUNTS = (0.25, 0.55, 0.20)
HIDDEN_TESTS = 12


@dataclass(frozen=True)
class Kind:
    """What flows through a pipeline: the variable that holds it, its annotation, and how to speak of it."""

    variable: str
    annotation: str
    nouns: tuple[str, ...]


KINDS = {
    "ints": Kind("xs", "list[int]", ("a list of integers", "a list of numbers")),
    "text": Kind("s", "str", ("a string", "a piece of text")),
    "words": Kind("ws", "list[str]", ("a list of words", "a list of strings")),
    "int": Kind("n", "int", ("an integer", "a whole number")),
}


@dataclass(frozen=True)
class Idiom:
    """One step or ending.

    `takes` and `gives` are keys of `KINDS`; an ending gives the annotation of what it returns. `right` and `wrong` are
    expressions, `asks` the ways to ask for it; all three may hold `{k}` (a digit in the inclusive range `digits`),
    `{c}` and `{d}` (two different letters).
    """

    takes: str
    gives: str
    right: str
    wrong: str
    asks: tuple[str, ...]
    digits: tuple[int, int] = (2, 9)

    @property
    def name(self) -> str:
        """Names the idiom: no two of the table share it."""
        return f"{self.takes}>{self.gives}:{self.right}"


SHORT = (2, 4)  # for positions and word lengths: a larger number would leave most inputs as they are

STEPS: tuple[Idiom, ...] = (
    # list of integers -> list of integers
    Idiom("ints", "ints", "[x for x in xs if x % 2 == 0]", "[x for x in xs if x % 2 == 1]",
          ("keep only the even numbers", "remove the odd numbers")),
    Idiom("ints", "ints", "[x for x in xs if x > {k}]", "[x for x in xs if x >= {k}]",
          ("keep the numbers greater than {k}", "drop every number that is {k} or less")),
    Idiom("ints", "ints", "[x for x in xs if x > 0]", "[x for x in xs if x >= 0]",
          ("keep only the positive numbers", "discard zero and the negative numbers")),
    Idiom("ints", "ints", "[x for x in xs if x % {k} == 0]", "[x for x in xs if x // {k} == 0]",
          ("keep the multiples of {k}", "keep the numbers divisible by {k}"), (2, 5)),
    Idiom("ints", "ints", "[x * {k} for x in xs]", "[x ** {k} for x in xs]",
          ("multiply each number by {k}", "scale every number by {k}"), SHORT),
    Idiom("ints", "ints", "[x + {k} for x in xs]", "[x - {k} for x in xs]",
          ("add {k} to each number", "increase every number by {k}")),
    Idiom("ints", "ints", "[x * x for x in xs]", "[x * 2 for x in xs]",
          ("square each number", "replace every number by its square")),
    Idiom("ints", "ints", "[abs(x) for x in xs]", "[-x for x in xs]",
          ("take the absolute value of each number", "make every number non-negative by dropping its sign")),
    Idiom("ints", "ints", "[x // {k} for x in xs]", "[int(x / {k}) for x in xs]",
          ("floor-divide each number by {k}", "divide every number by {k}, rounding down"), (2, 5)),
    Idiom("ints", "ints", "[min(x, {k}) for x in xs]", "[max(x, {k}) for x in xs]",
          ("cap each number at {k}", "limit every number to at most {k}")),
    Idiom("ints", "ints", "sorted(xs)", "sorted(xs, key=abs)",
          ("sort the numbers in ascending order", "sort from smallest to largest")),
    Idiom("ints", "ints", "sorted(xs, reverse=True)", "sorted(xs)",
          ("sort the numbers in descending order", "sort from largest to smallest")),
    Idiom("ints", "ints", "xs[::-1]", "sorted(xs)[::-1]",
          ("reverse the list", "put the numbers in reverse order of appearance")),
    Idiom("ints", "ints", "xs[:{k}]", "xs[1:{k}]",
          ("keep the first {k} numbers", "take the leading {k} elements"), SHORT),
    Idiom("ints", "ints", "xs[-{k}:]", "xs[{k}:]",
          ("keep the last {k} numbers", "take the trailing {k} elements"), SHORT),
    Idiom("ints", "ints", "list(dict.fromkeys(xs))", "sorted(set(xs))",
          ("remove duplicates keeping the first occurrences", "drop repeated numbers but keep the order")),
    Idiom("ints", "ints", "xs[::2]", "xs[1::2]",
          ("keep every other number starting with the first", "take the elements at even positions")),
    Idiom("ints", "ints", "[sum(xs[:i + 1]) for i in range(len(xs))]", "[sum(xs[:i]) for i in range(len(xs))]",
          ("compute the running totals", "replace each number by the sum so far")),
    Idiom("ints", "ints", "[b - a for a, b in zip(xs, xs[1:])]", "[a - b for a, b in zip(xs, xs[1:])]",
          ("take the differences of consecutive numbers", "subtract each number from the next one")),
    Idiom("ints", "ints", "xs[1:] + xs[:1]", "xs[-1:] + xs[:-1]",
          ("rotate the list left by one", "move the first number to the end")),
    # string -> string
    Idiom("text", "text", "s.upper()", "s.title()",
          ("convert it to upper case", "make all letters upper case")),
    Idiom("text", "text", "s.lower()", "s.swapcase()",
          ("convert it to lower case", "make all letters lower case")),
    Idiom("text", "text", "s.swapcase()", "s.lower()",
          ("swap the case of every letter", "turn upper case into lower case and the reverse")),
    Idiom("text", "text", "s[::-1]", "' '.join(s.split()[::-1])",
          ("reverse the characters", "write it backwards")),
    Idiom("text", "text", "s.replace(' ', '')", "s.strip()",
          ("remove all spaces", "delete every space")),
    Idiom("text", "text", "s.strip()", "s.rstrip()",
          ("strip the spaces at both ends", "trim leading and trailing spaces")),
    Idiom("text", "text", "''.join(c for c in s if c.lower() not in 'aeiou')",
          "''.join(c for c in s if c not in 'aeiou')",
          ("remove the vowels in either case", "delete all vowels")),
    Idiom("text", "text", "''.join(c for c in s if c.isdigit())", "''.join(c for c in s if c.isalnum())",
          ("keep only the digits", "delete everything but digits")),
    Idiom("text", "text", "''.join(c for c in s if c.isalpha())", "''.join(c for c in s if c.isalnum())",
          ("keep only the letters", "delete everything but letters")),
    Idiom("text", "text", "s[:{k}]", "s[1:{k}]",
          ("keep the first {k} characters", "take the leading {k} characters")),
    Idiom("text", "text", "s[-{k}:]", "s[{k}:]",
          ("keep the last {k} characters", "take the trailing {k} characters")),
    Idiom("text", "text", "''.join(c * 2 for c in s)", "s * 2",
          ("double every character", "write each character twice")),
    Idiom("text", "text", "s * {k}", "s + '{k}'",
          ("repeat the whole string {k} times", "concatenate {k} copies of it"), SHORT),
    Idiom("text", "text", "s.replace('{c}', '{d}')", "s.replace('{d}', '{c}')",
          ("replace every '{c}' with '{d}'", "change each '{c}' into '{d}'")),
    Idiom("text", "text", "s.replace('{c}', '')", "s.replace('{c}', '', 1)",
          ("delete every '{c}'", "remove all '{c}' letters")),
    Idiom("text", "text", "''.join(sorted(s))", "''.join(sorted(set(s)))",
          ("sort its characters", "put the characters in sorted order")),
    # list of words -> list of words
    Idiom("words", "words", "sorted(ws)", "sorted(ws, key=len)",
          ("sort the words alphabetically", "put the words in dictionary order")),
    Idiom("words", "words", "sorted(ws, key=len)", "sorted(ws)",
          ("sort the words by length", "order the words from shortest to longest")),
    Idiom("words", "words", "ws[::-1]", "[w[::-1] for w in ws]",
          ("reverse the order of the words", "put the words in reverse order")),
    Idiom("words", "words", "[w[::-1] for w in ws]", "ws[::-1]",
          ("reverse each word", "write every word backwards")),
    Idiom("words", "words", "[w.upper() for w in ws]", "[w.title() for w in ws]",
          ("convert each word to upper case", "make every word upper case")),
    Idiom("words", "words", "[w for w in ws if len(w) > {k}]", "[w for w in ws if len(w) >= {k}]",
          ("keep the words longer than {k} letters", "keep words of more than {k} letters"), (2, 5)),
    Idiom("words", "words", "[w for w in ws if len(w) < {k}]", "[w for w in ws if len(w) <= {k}]",
          ("keep the words shorter than {k} letters", "keep words of fewer than {k} letters"), (4, 7)),
    Idiom("words", "words", "[w for w in ws if '{c}' in w]", "[w for w in ws if '{c}' not in w]",
          ("keep the words that contain '{c}'", "keep words with the letter '{c}'")),
    Idiom("words", "words", "[w for w in ws if not w.startswith('{c}')]", "[w for w in ws if not w.endswith('{c}')]",
          ("drop the words that start with '{c}'", "remove words beginning with '{c}'")),
    Idiom("words", "words", "list(dict.fromkeys(ws))", "sorted(set(ws))",
          ("remove duplicate words keeping the first occurrences", "drop repeated words but keep the order")),
    Idiom("words", "words", "ws[:{k}]", "ws[1:{k}]",
          ("keep the first {k} words", "take the leading {k} words"), SHORT),
    Idiom("words", "words", "ws[-{k}:]", "ws[{k}:]",
          ("keep the last {k} words", "take the trailing {k} words"), SHORT),
    # integer -> integer
    Idiom("int", "int", "n * {k}", "n ** {k}", ("multiply it by {k}", "scale it by {k}"), SHORT),
    Idiom("int", "int", "n + {k}", "n - {k}", ("add {k} to it", "increase it by {k}")),
    Idiom("int", "int", "n * n", "n * 2", ("square it", "multiply it by itself")),
    Idiom("int", "int", "abs(n)", "-n", ("take its absolute value", "drop its sign")),
    Idiom("int", "int", "n // {k}", "int(n / {k})",
          ("floor-divide it by {k}", "divide it by {k}, rounding down"), (2, 5)),
    Idiom("int", "int", "n % {k}", "n // {k}", ("take the remainder modulo {k}", "reduce it modulo {k}"), (3, 9)),
    # from one kind to another
    Idiom("text", "words", "s.split()", "s.split(' ')", ("split it into words", "break it into words at whitespace")),
    Idiom("words", "text", "' '.join(ws)", "''.join(ws)",
          ("join the words with single spaces", "glue the words together with spaces")),
    Idiom("words", "ints", "[len(w) for w in ws]", "[len(set(w)) for w in ws]",
          ("replace each word by its length", "take the word lengths")),
    Idiom("int", "ints", "[int(c) for c in str(abs(n))]", "[int(c) for c in str(abs(n))[::-1]]",
          ("list its decimal digits from left to right", "split it into its decimal digits")),
    Idiom("ints", "int", "len(xs)", "len(set(xs))", ("count the numbers", "take the length of the list")),
)  # fmt: skip

ENDINGS: tuple[Idiom, ...] = (
    Idiom("ints", "list[int]", "xs", "xs[1:]", ("the resulting list", "the list")),
    Idiom("ints", "int", "sum(xs)", "sum(set(xs))", ("the sum", "the total of the numbers")),
    Idiom("ints", "int", "max(xs, default=0)", "max(xs, default=0, key=abs)",
          ("the maximum, or 0 if there is none", "the largest number (0 for an empty list)")),
    Idiom("text", "str", "s", "s.strip()", ("the resulting string", "the string")),
    Idiom("text", "int", "len(s)", "len(s.split())", ("its length", "the number of characters")),
    Idiom("text", "int", "sum(c.lower() in 'aeiou' for c in s)", "sum(c in 'aeiou' for c in s)",
          ("how many vowels it has", "the number of vowels in either case")),
    Idiom("words", "list[str]", "ws", "ws[1:]", ("the resulting words", "the words")),
    Idiom("words", "str", "max(ws, key=len, default='')", "max(ws, default='')",
          ("the longest word, or '' if there is none", "the first longest word ('' for an empty list)")),
    Idiom("words", "int", "len(ws)", "len(set(ws))", ("how many words there are", "the number of words")),
    Idiom("int", "int", "n", "-n", ("the result", "the number")),
    Idiom("int", "bool", "n % 2 == 0", "n % 2 == 1", ("whether it is even", "True if it is even, otherwise False")),
)  # fmt: skip

TEMPLATES = (
    "Write a Python function `solve` that takes {noun}. It should {steps}, and return {ending}.",
    "Given {noun}, {steps}; return {ending}. Name the function `solve`.",
    "Implement `solve({variable})`: {steps}, then return {ending}.",
    "I have {noun}. Please write `solve` to {steps} and return {ending}.",
)
LETTERS = "aeinorst"
VOCABULARY = [
    "apple", "Stone", "river", "ant", "tree", "Orange", "sun", "nest", "Rain", "tea", "iris", "eve", "seat", "otter",
    "Noon", "area", "radio", "Sit", "toast", "era", "on", "it", "Anna", "level", "train", "store", "noise", "at",
    "eraser", "Inn", "rest",
]  # fmt: skip


@dataclass(frozen=True)
class Use:
    """An idiom with its digit and letters filled in."""

    idiom: Idiom
    k: int
    c: str
    d: str

    def fill(self, pattern: str) -> str:
        """`pattern` with this use's digit and letters."""
        return pattern.format(k=self.k, c=self.c, d=self.d)


@dataclass(frozen=True)
class Program:
    """A pipeline: one to three steps and an ending."""

    steps: tuple[Use, ...]
    ending: Use

    @property
    def uses(self) -> tuple[Use, ...]:
        """Steps and ending in order; positions in it are what `code` takes as `wrong`."""
        return (*self.steps, self.ending)

    @property
    def takes(self) -> Kind:
        """What the function is given."""
        return KINDS[self.steps[0].idiom.takes]

    @property
    def signature(self) -> tuple[str, ...]:
        """The combination of idioms, digits and letters aside: what keeps the splits apart."""
        return tuple(use.idiom.name for use in self.uses)

    @property
    def header(self) -> str:
        """The `def` line."""
        kind = self.takes
        return f"def {ENTRY_POINT}({kind.variable}: {kind.annotation}) -> {self.ending.idiom.gives}:"

    def code(self, wrong: frozenset[int] = frozenset()) -> str:
        """Python source of the function, no newline at its end; positions in `wrong` get the wrong expression."""
        texts = [use.fill(use.idiom.wrong if i in wrong else use.idiom.right) for i, use in enumerate(self.uses)]
        assigned = (KINDS[use.idiom.gives].variable for use in self.steps)
        lines = [f"{variable} = {text}" for variable, text in zip(assigned, texts[:-1], strict=True)]
        return "\n    ".join([self.header, *lines, f"return {texts[-1]}"])


@dataclass(frozen=True)
class Task:
    """One instruction with its gold solution and hidden tests (empty where a split has none).

    `solution` serves the programmatic test generator and the tests of this package. It never reaches training.
    """

    id: str
    instruction: str
    entry_point: str
    solution: str
    tests: tuple[str, ...]
    program: Program


@lru_cache(maxsize=64)
def define(code: str) -> Callable[[Any], Any]:
    """The function that `code` defines; for programs of this table only (see the module's text)."""
    names: dict[str, Any] = {}
    exec(code, names)
    return names[ENTRY_POINT]


def run(code: str, value: Any) -> Any:
    """What the function defined by `code` returns for `value`."""
    return define(code)(value)


def runs_as(code: str, value: Any) -> str:
    """The `repr` of what `run` returns, or the name of the exception: something to compare two programs by."""
    try:
        return repr(run(code, value))
    except Exception as error:  # a wrong variant may raise anything; that too tells it from the right one
        return type(error).__name__


def draw_program(rng: random.Random) -> Program:
    """A random pipeline; no idiom occurs twice in it."""
    kind = rng.choice(list(KINDS))
    steps: list[Use] = []
    for _ in range(rng.choices((1, 2, 3), STEP_COUNTS)[0]):
        used = [use.idiom for use in steps]
        idiom = rng.choice([i for i in STEPS if i.takes == kind and i not in used])
        steps.append(draw_use(rng, idiom))
        kind = idiom.gives
    return Program(tuple(steps), draw_use(rng, rng.choice([i for i in ENDINGS if i.takes == kind])))


def draw_use(rng: random.Random, idiom: Idiom) -> Use:
    """`idiom` with a random digit and letters."""
    c, d = rng.sample(LETTERS, 2)
    return Use(idiom, rng.randint(*idiom.digits), c, d)


def draw_instruction(rng: random.Random, program: Program) -> str:
    """One of the ways to ask for `program`."""
    asks = [use.fill(rng.choice(use.idiom.asks)) for use in program.uses]
    return rng.choice(TEMPLATES).format(
        noun=rng.choice(program.takes.nouns),
        variable=program.takes.variable,
        steps=", then ".join(asks[:-1]),
        ending=asks[-1],
    )


def draw_input(rng: random.Random, kind: Kind) -> Any:
    """A random argument of `kind`; one in ten is short or empty, and repeats, signs, cases and double spaces abound."""
    short = rng.random() < 0.1
    if kind.variable == "n":
        return rng.randint(-9, 9) if short else rng.randint(-99, 199)
    if kind.variable == "xs":
        numbers = [rng.randint(-9, 12) for _ in range(rng.randint(0, 2) if short else rng.randint(4, 8))]
        return [*numbers, rng.choice(numbers)] if len(numbers) > 3 else numbers
    words = [rng.choice(VOCABULARY) for _ in range(rng.randint(0, 1) if short else rng.randint(3, 6))]
    if len(words) > 3:
        words.insert(rng.randint(0, len(words)), rng.choice(words))
    if kind.variable == "ws":
        return words
    text = " ".join(word + rng.choice(("", "", str(rng.randint(0, 99)), " ")) for word in words)
    return rng.choice(("", " ")) + text + rng.choice(("", " "))


def every_idiom_shows(rng: random.Random, program: Program) -> bool:
    """Whether the wrong expression at each position alone changes the result for at least a quarter of random inputs.

    Without this many tasks would hold steps that make no difference (sorting before a sum), or one in a hundred inputs.
    """
    inputs = [draw_input(rng, program.takes) for _ in range(12)]
    gold = program.code()
    wants = [runs_as(gold, value) for value in inputs]
    variants = (program.code(frozenset({i})) for i in range(len(program.uses)))
    return all(sum(runs_as(code, v) != want for v, want in zip(inputs, wants, strict=True)) >= 3 for code in variants)


def telling_inputs(rng: random.Random, program: Program, count: int, pool: int) -> list[Any]:
    """`count` distinct inputs out of `pool` random ones, first those that tell the gold program from one with a bug.

    For every position of the pipeline an input on which the wrong expression there shows is chosen if the pool has one;
    the rest are the pool's first.
    """
    gold = program.code()
    drawn = [draw_input(rng, program.takes) for _ in range(pool)]
    inputs = [value for i, value in enumerate(drawn) if value not in drawn[:i]]
    wants = [runs_as(gold, value) for value in inputs]
    chosen: list[int] = []
    for position in range(len(program.uses)):
        buggy = program.code(frozenset({position}))
        shows = [i for i, value in enumerate(inputs) if runs_as(buggy, value) != wants[i]]
        if shows and not set(shows) & set(chosen):
            chosen.append(shows[0])
    order = chosen + [i for i in range(len(inputs)) if i not in chosen]
    return [inputs[i] for i in sorted(order[:count])]


def write_assert(value: Any, result: Any) -> str:
    """One line of test code."""
    return f"assert {ENTRY_POINT}({value!r}) == {result!r}"


def hidden_tests(rng: random.Random, program: Program) -> tuple[str, ...]:
    """`HIDDEN_TESTS` asserts on inputs that tell wrong idioms apart."""
    code = program.code()
    return tuple(
        write_assert(v, run(code, v)) for v in telling_inputs(rng, program, HIDDEN_TESTS, pool=3 * HIDDEN_TESTS)
    )


def draw_pairs(rng: random.Random) -> Iterator[tuple[Program, str]]:
    """Endless programs with their instructions."""
    while True:
        program = draw_program(rng)
        yield program, draw_instruction(rng, program)


@cache
def splits() -> dict[str, tuple[Task, ...]]:
    """All splits by name (see `SIZES`); no two tasks of any split share an instruction.

    `heldout` and `dev` are drawn first: pipelines of at least two steps, whose signatures occur once there and nowhere
    else. Their ending is part of the signature, so the same steps may occur elsewhere with another ending.
    """
    texts: set[str] = set()
    reserved: set[tuple[str, ...]] = set()
    found: dict[str, tuple[Task, ...]] = {}
    for split in ("heldout", "dev", "demos", "instructions", "more_instructions"):
        rng = random.Random(f"plum-hub nano {split}")
        unseen = split in ("heldout", "dev")
        tasks: list[Task] = []
        for program, text in draw_pairs(rng):
            if len(tasks) == SIZES[split]:
                break
            if text in texts or program.signature in reserved or (unseen and len(program.steps) < 2):
                continue
            if split != "demos" and not every_idiom_shows(rng, program):
                continue
            texts.add(text)
            if unseen:
                reserved.add(program.signature)
            tests = hidden_tests(rng, program) if unseen else ()
            tasks.append(Task(f"nano/{split}/{len(tasks)}", text, ENTRY_POINT, program.code(), tests, program))
        found[split] = tuple(tasks)
    return found


def heldout() -> list[Task]:
    """The 300 tasks to report on: combinations of idioms that no other split holds."""
    return list(splits()["heldout"])


def dev() -> list[Task]:
    """The 300 tasks to tune on, unseen in the same sense."""
    return list(splits()["dev"])
