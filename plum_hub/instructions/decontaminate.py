"""Finding a benchmark's tasks inside instructions: how much of a task's prompt, examples or program a text holds.

    index = build([Task("humaneval/HumanEval/0", (prompt,), prompt + solution), ...])
    found = index.find(text)            # None, or the task, how much of which part, and the words that gave it away

A text is contaminated by a task if it holds

- prompt: SHARE of the prompt's word 5-grams, or RUN words of it in a row;
- examples: SHARE of the word 5-grams of the prompt's code lines (signature, doctests, asserts, sample input): they
  stay what they are when the prose around them is translated;
- prose: SHARE of the word 5-grams of the prompt's docstring, up to its first example;
- program: SHARE of the 12-grams of the canonical solution's tokens, with every name replaced by the order of its
  appearance in the 12-gram: renaming, re-spacing and re-indenting change nothing.

Where a part is too short for that (MBPP has prompts of ten words), all of it, word by word, but for the stock phrase
that a prompt begins with.

The name of a function that is defined or called in a test counts as the same as any other. Full-width letters,
invisible characters, HTML entities, Markdown's escapes, `\n` in place of line ends and numbers before the lines change
nothing.

Why not any shared n-gram, the rule of GPT-3 (arXiv 2005.14165, appendix C) and phi-1 (2306.11644), both of 13 words?
In instructions it mostly finds runs of numbers and stock phrases: of 5,936 Evol-Instruct-Code rows 78 share ten words
with a task of the four benchmarks and 13 share thirteen ("1 2 3 4 5 6 7 8 9 output", what a prime is), hardly one of
them a copy. StarCoder (2305.06161, section 4.1) asks for the whole docstring or solution, Cosmopedia for half of the
benchmark's text; this is between. n-grams of COMMON tasks or more are the benchmarks' own stock phrases and count for
nothing, and so do evenly spaced numbers.

Not covered: paraphrases; less than SHARE of a task and less than RUN words in a row; a task translated and its
variables renamed at once, without its solution; programs of one line under other names.
"""

from __future__ import annotations

import builtins
import html
import keyword
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

Part = Literal["prompt", "examples", "prose", "program"]
PARTS: tuple[Part, ...] = ("prompt", "examples", "prose", "program")

WORDS = 5  # words an n-gram
TOKENS = 12  # program tokens an n-gram
SHARE: dict[Part, float] = {"prompt": 0.7, "examples": 0.5, "prose": 0.7, "program": 0.8}  # of a part's n-grams
LEAST: dict[Part, int] = {"prompt": 6, "examples": 6, "prose": 6, "program": 8}  # n-grams that a share is taken of
SHORTEST = 6  # words of a part that is looked for as a whole, 5 of them in one stretch
RUN = 20  # words in a row, half of them different words
COMMON = 3  # tasks

_WORD = re.compile(r"\d+(?:\.\d+)?|\w+")
_TOKEN = re.compile(r"\d+(?:\.\d+)?|\w+|->|[-+*/%=<>!&|^]=|\*\*|//|<<|>>|[^\w\s\"'`;]")
_NAME = re.compile(r"[^\W\d]\w*")
_KEPT = {*keyword.kwlist, *dir(builtins)} - {"_"}
_DOCSTRING = re.compile(r'("""|\'\'\').*?\1', re.DOTALL)
_COMMENT = re.compile(r"#.*")
_PROSE = re.compile(r"[^\W\d_]{2,}(?:[ ,]+[^\W\d_]+){2,}|^\s*(?:\"\"\"|''')\s*\w")  # three plain words in a row
_QUOTED = re.compile(r'("""|\'\'\')(.*?)\1', re.DOTALL)
_EXAMPLE = re.compile(r">>>|\bexamples?\b|\be\.g\.|^\s*(?:[\w.]+\(.*\)|_) *(?:=|-|➞)", re.IGNORECASE | re.MULTILINE)
_FUNCTION = re.compile(r"(?:\bdef|(?:\bassert|>>>)(?:\s+not)?)\s+([^\W\d]\w*)\s*\(")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_NUMBERED = re.compile(r"^[ \t]*(\d+)(?:[.):|][ \t]?|[ \t]|$)", re.MULTILINE)
_ESCAPE = re.compile(r"\\([ntr\"'])")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}
_CODE = re.compile(r"\s*(?:>>>|assert\b|def \w+\(|class \w+|import |from \w+[\w.]* import|@)")


@dataclass(frozen=True)
class Task:
    """A benchmark's task: its name, its prompt in one or several wordings, and its canonical solution, if any."""

    name: str
    prompts: tuple[str, ...]
    program: str = ""


@dataclass(frozen=True)
class Found:
    """The task that a text holds, how much of which part, and the first words or tokens they share."""

    task: str
    how: str
    words: str

    def __str__(self) -> str:
        return f'{self.task}, {self.how}: "{self.words}"'


@dataclass
class Index:
    """The n-grams of all tasks' parts; made by `build`."""

    parts: list[tuple[str, Part, int]] = field(default_factory=list)  # task, part, n-grams that tell
    where: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))  # n-gram -> positions in `parts`
    skeletons: set[str] = field(default_factory=set)  # the programs' n-grams, names left blank: a quick first look
    runs: dict[str, str] = field(default_factory=dict)  # RUN words -> task
    # an n-gram -> (stretches of words, task, part) of parts too short for a share
    short: dict[str, list[tuple[list[str], str, Part]]] = field(default_factory=lambda: defaultdict(list))

    def find(self, text: str) -> Found | None:
        """The task that the text holds most of, or None; ties go to the first task by name."""
        readings = _readings(text)
        read = [_words(reading) for reading in dict.fromkeys([*map(_nameless, readings), *readings])]
        grams = dict.fromkeys(gram for words in read for gram in _word_grams(words))
        grams.update(dict.fromkeys(gram for reading in readings for gram in _program_grams(reading, self.skeletons)))
        hits = Counter[int]()
        for gram in grams:
            hits.update(self.where.get(gram, ()))
        held = []
        for at, count in hits.items():
            name, part, size = self.parts[at]
            if count >= SHARE[part] * size:
                held.append((-count / size, name, PARTS.index(part), at))
        if held:
            less, name, rank, at = min(held)
            first = next(gram for gram in grams if at in self.where.get(gram, ()))
            return Found(name, f"{-less:.0%} of its {PARTS[rank]}", first)
        for run in (run for words in read for run in _runs(words)):
            if run in self.runs:
                return Found(self.runs[run], f"{RUN} words in a row of its prompt", run)
        for words in read:
            joined = f" {' '.join(words)} "
            for i in range(len(words) - WORDS + 1):
                for stretches, name, part in self.short.get(" ".join(words[i : i + WORDS]), ()):
                    if all(f" {stretch} " in joined for stretch in stretches):
                        return Found(name, f"all of its {part}", " ... ".join(stretches))
        return None


def build(tasks: Iterable[Task]) -> Index:
    """The index of all tasks. Several tasks of one name are one task in several wordings."""
    index = Index()
    parts: list[tuple[str, Part, list[str], set[str]]] = []  # task, part, its stretches, its n-grams
    for task in tasks:
        for prompt in filter(str.strip, task.prompts):
            prompt = _nameless(_plain(prompt))
            parts.append((task.name, "prompt", [prompt], set(_word_grams(_words(prompt)))))
            stretches = _code_lines(prompt)
            examples = {gram for stretch in stretches for gram in _word_grams(_words(stretch))}
            parts.append((task.name, "examples", stretches, examples))
            if prose := _prose(prompt):
                parts.append((task.name, "prose", [prose], set(_word_grams(_words(prose)))))
            for run in _runs(_words(prompt)):
                index.runs.setdefault(run, task.name)
        if task.program:
            program = _DOCSTRING.sub("", _plain(task.program))
            parts.append((task.name, "program", [program], set(_program_grams(program))))
    sharing: dict[str, set[str]] = defaultdict(set)
    for name, _, _, grams in parts:
        for gram in grams:
            sharing[gram].add(name)
    for name, part, stretches, grams in parts:
        telling = [gram for gram in grams if len(sharing[gram]) < COMMON]
        if len(telling) >= LEAST[part]:
            for gram in telling:
                index.where[gram].append(len(index.parts))
                if part == "program":
                    index.skeletons.add(re.sub(r"_\d+", "_", gram))
            index.parts.append((name, part, len(telling)))
            continue
        found = [words for stretch in stretches if (words := _words(stretch))]
        if part in ("prompt", "prose"):
            found = [_without_stock(found[0], telling)]
        longest = max(found, key=len, default=[])
        if len(longest) >= WORDS and sum(map(len, found)) >= SHORTEST and not "".join(longest).isdecimal():
            index.short[" ".join(longest[:WORDS])].append(([" ".join(words) for words in found], name, part))
    return index


def _without_stock(words: list[str], telling: list[str]) -> list[str]:
    """A short prompt without the stock phrase that it begins with, such as "Write a Python function to"."""
    starts = [i for i in range(len(words) - SHORTEST + 1) if " ".join(words[i : i + WORDS]) in telling]
    return words[starts[0] :] if starts else words


def _plain(text: str) -> str:
    """`text` without its clothes: entities, full-width letters, invisible characters, Markdown's escapes."""
    text = unicodedata.normalize("NFKC", html.unescape(text))
    return re.sub(r"\\([_*])", r"\1", _INVISIBLE.sub("", text))


def _readings(text: str) -> list[str]:
    """`text` plainly, and with its `\\n` as line ends or its lines without their numbers, where it may have such."""
    readings = [_plain(text)]
    if readings[-1].count("\\n") > 1:
        readings.append(_ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), readings[-1]))
    numbers = [int(number[:9]) for number in _NUMBERED.findall(readings[-1])]
    if any(after == before + 1 for before, after in pairwise(numbers)):
        readings.append(_NUMBERED.sub("", readings[-1]))
    return readings


def _nameless(text: str) -> str:
    """`text` with the names of its functions left blank: those that it defines, or calls in an assert or a doctest."""
    names = {name for name in _FUNCTION.findall(text) if name not in _KEPT}
    return _NAME.sub(lambda name: "_" if name[0] in names else name[0], text) if names else text


def _prose(prompt: str) -> str:
    """What a prompt's docstring says before its first example."""
    found = max(_QUOTED.findall(prompt), key=lambda quoted: len(quoted[1]), default=("", ""))[1]
    return _EXAMPLE.split(found, maxsplit=1)[0].strip()


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _word_grams(words: list[str]) -> Iterator[str]:
    """The n-grams in order, without those of evenly spaced numbers."""
    for i in range(len(words) - WORDS + 1):
        gram = words[i : i + WORDS]
        if not _evenly_spaced(gram):
            yield " ".join(gram)


def _evenly_spaced(gram: list[str]) -> bool:
    """Whether this is 1 2 3 4 5, 2 4 6 8 10, 0 0 0 0 0 or a b c d e."""
    if all(word.isdecimal() for word in gram):
        numbers = [int(word) for word in gram]
    elif all(len(word) == 1 for word in gram):
        numbers = [ord(word) for word in gram]
    else:
        return False
    return len({after - before for before, after in pairwise(numbers)}) == 1


def _runs(words: list[str]) -> Iterator[str]:
    for i in range(len(words) - RUN + 1):
        run = words[i : i + RUN]
        if sum(word.isalpha() and len(word) > 1 for word in set(run)) >= RUN // 2:
            yield " ".join(run)


def _program_grams(text: str, skeletons: set[str] | None = None) -> Iterator[str]:
    """The n-grams of a program's tokens, without layout, comments, docstrings and quotes, names by order of appearance.

    A name is what is no keyword, no builtin and no attribute. Prose is read the same way; it only lacks the operators
    that a program's n-grams have. With `skeletons`, only n-grams that are one of these with their names left blank.
    """
    tokens = _TOKEN.findall(_COMMENT.sub("", _DOCSTRING.sub("", text)))
    plain = [
        "_" if _NAME.fullmatch(token) and token not in _KEPT and (not i or tokens[i - 1] != ".") else token
        for i, token in enumerate(tokens)
    ]
    for i in range(len(tokens) - TOKENS + 1):
        blank = plain[i : i + TOKENS]
        if skeletons is not None and " ".join(blank) not in skeletons:
            continue
        order: dict[str, str] = {}
        yield " ".join(
            order.setdefault(token, f"_{len(order)}") if kept == "_" else kept
            for token, kept in zip(tokens[i : i + TOKENS], blank, strict=True)
        )


def _code_lines(prompt: str) -> list[str]:
    """The stretches of a prompt that are code or data rather than prose: what a translation leaves as it is."""
    stretches: list[list[str]] = [[]]
    for line in prompt.splitlines():
        if line.strip() in ("", '"""', "'''"):
            continue
        if _CODE.match(line) or not _PROSE.search(line):
            stretches[-1].append(line)
        elif stretches[-1]:
            stretches.append([])
    return ["\n".join(lines) for lines in stretches]
