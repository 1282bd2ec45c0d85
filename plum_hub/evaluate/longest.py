"""The longest run of lines that is Python: how evalplus, BigCodeBench and LeetCodeDataset find a program in a text.

They parse every run, for a thousand lines half a million of them. Here a run that does not parse tells by its error how
much shorter it must be, which finds the very same run (`tests/test_evalplus.py` holds it against evalplus'
`code_extract`). Texts that take more than `LINES` parsed lines all the same, some seconds, are left to
`plum_hub.stages.extract`.
"""

from __future__ import annotations

import ast
import warnings
from itertools import accumulate

from plum_hub.stages.extract import extract_code

LINES = 500_000


def longest_python(text: str) -> str | None:
    """Of all runs of two lines or more that parse, the one with the most lines that are not blank; of several the one
    that begins first, then the one that ends first. None if there is none."""
    lines = text.split("\n")
    filled = [0, *accumulate(bool(line.strip()) for line in lines)]
    best, left = (0, 0), LINES
    for start in range(len(lines)):
        most, end = filled[best[1]] - filled[best[0]], len(lines)
        while end > start + 1 and filled[end] - filled[start] > most:
            left -= end - start
            if left < 0:
                return extract_code(text)
            wrong = wrong_line("\n".join(lines[start:end]))
            if wrong is None:
                first = end
                while first > start + 2 and not lines[first - 1].strip():
                    first -= 1
                # A last line that ends in a backslash parses only with the blank one below it.
                while first < end and wrong_line("\n".join(lines[start:first])) is not None:
                    first += 1
                best = (start, first)
                break
            # What has the wrong line in it is wrong.
            end = min(end - 1, start + wrong - 1) if wrong else end - 1
    return "\n".join(lines[slice(*best)]) if best[1] else None


def wrong_line(source: str) -> int | None:
    """The line of `source`, from 1 on, at which Python gives up; 0 if it does not tell; None if all is Python."""
    try:
        parse(source)
    except SyntaxError as error:  # of an f-string some versions count from its own beginning
        return 0 if not error.lineno or "f-string" in str(error.msg) else error.lineno
    except ValueError:  # a null character, before Python 3.12
        return source[: source.find("\0")].count("\n") + 1 if "\0" in source else 0
    except (RecursionError, MemoryError):
        return 0
    return None


def parse(source: str) -> ast.Module:
    """`ast.parse` without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)
