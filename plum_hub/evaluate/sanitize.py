"""evalplus' `sanitize`, at a price that can be paid: the program in a model's answer.

All is evalplus' own code, but for the search for the longest run of lines that parses, which is `longest`.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

from plum_hub.errors import UserError
from plum_hub.evaluate.longest import longest_python


def sanitize(text: str, entry_point: str) -> str:
    """The program in `text`, by evalplus' rules: imports, and what `entry_point` needs.

    Raises:
        UserError: evalplus is not installed, or not all of it.
    """
    text = text.encode("utf-8", "replace").decode()  # evalplus' parser takes no lone surrogates
    found: str = _evalplus()(text, entry_point)
    return found


def longest(text: str) -> str:
    """evalplus' `code_extract`: the longest run of lines that is Python, the first line if there is none."""
    found = longest_python(text)
    return text.partition("\n")[0] if found is None else found


@functools.cache
def _evalplus() -> Callable[[str, str], str]:
    """evalplus' function, with our `longest` in place of its `code_extract`; evalplus itself stays as it is."""
    try:
        from evalplus import sanitize as theirs
    except ImportError as error:
        raise UserError(f'evalplus is not complete here ({error}): pip install "plum-hub[eval]"') from None
    names: dict[str, Any] = {**vars(theirs), "code_extract": longest}
    for name in ("extract_target_code_or_empty", "sanitize"):
        function = getattr(theirs, name)
        names[name] = types.FunctionType(function.__code__, names, name, function.__defaults__)
    found: Callable[[str, str], str] = names["sanitize"]
    return found
