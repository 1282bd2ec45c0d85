"""The one exception that commands turn into one clear line and a non-zero exit, and what such a line may end with."""

from __future__ import annotations

from collections.abc import Iterable


class UserError(Exception):
    """A mistake of the user's: one clear line with the fix, no traceback."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Words that ask whether the nearest of the known words was meant, for the end of an error; "" if none is near."""
    import difflib

    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean `{close[0]}`?" if close else ""
