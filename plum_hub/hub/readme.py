"""The `model-index` of a README that is somebody's: read it, and put another in its place without touching the rest.

Metadata that is read and dumped again is not what it was: `language: [no]` becomes `false`, `1.10` becomes `1.1`, and
comments are gone. So the lines of the top-level key `model-index` are replaced, or added where there are none, and
every other byte stays, line endings and byte order mark included. A card without metadata gets some.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from plum_hub.errors import UserError

KEY = "model-index"
#: The key's line, and those after it that are indented or items of a list, with what blank and comment lines are among
#: them, but not after them.
BLOCK = re.compile(rf"^{KEY}[ \t]*:[^\n]*\n(?:(?:[ \t]*\r?\n|#[^\n]*\n)*(?:[ \t]+\S|-(?=\s))[^\n]*\n)*", re.MULTILINE)
MARK = "\ufeff"


def index(content: bytes, repo: str) -> list[dict[str, Any]]:
    """The `model-index` as the card has it, [] where there is none.

    Args:
        repo: what the card is of, for the error.

    Raises:
        UserError: the metadata cannot be read.
    """
    from huggingface_hub import ModelCard

    try:
        text = content.decode().removeprefix(MARK)
        ModelCard(text)  # whether each entry is whole
        return _metadata(text).get(KEY) or []
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise _unreadable(repo, str(error).splitlines()[0]) from None


def with_index(content: bytes, new: list[dict[str, Any]], repo: str) -> bytes:
    """The card with another `model-index`.

    Raises:
        UserError: the metadata cannot be read, or are written in such a way that more than that would change.
    """
    from huggingface_hub.repocard import REGEX_YAML_BLOCK  # the Hub's own

    text = content.decode()
    mark = MARK if text.startswith(MARK) else ""
    text = text.removeprefix(MARK)
    before = _metadata(text)
    found = REGEX_YAML_BLOCK.search(text)
    end = "\r\n" if "\r\n" in text else "\n"
    block = yaml.safe_dump({KEY: new}, sort_keys=False, allow_unicode=True, line_break=end)
    if not found:
        changed = f"---{end}{block}---{end}{end}{text}"
    else:
        closing = text.index("---", found.end(2))
        front, rest = text[found.end(1) : closing], text[closing:]
        places = [one.span() for one in BLOCK.finditer(front)] or [(len(front), len(front))]
        start, stop = places[-1]  # of a key that is there twice, the last counts
        changed = found[1] + front[:start] + block + front[stop:] + rest
        if KEY in before and start == stop:
            raise _unreadable(repo, f"no line begins with `{KEY}:`")
    try:
        after = _metadata(changed)
    except (ValueError, yaml.YAMLError) as error:
        raise _unreadable(repo, str(error).splitlines()[0]) from None
    # As text: not a number is not equal to itself, and True is equal to 1.
    others = [repr({key: value for key, value in one.items() if key != KEY}) for one in (before, after)]
    if others[0] != others[1] or repr(after[KEY]) != repr(new):
        raise _unreadable(repo, f"`{KEY}` is no block of lines of its own")
    return (mark + changed).encode()


def _metadata(text: str) -> dict[str, Any]:
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    found = REGEX_YAML_BLOCK.search(text)
    data = yaml.safe_load(found[2]) if found else None
    if data is not None and not isinstance(data, dict):
        raise ValueError("they are no mapping")
    return data or {}


def _unreadable(repo: str, why: str) -> UserError:
    return UserError(f"the metadata of {repo}'s card cannot be read ({why}): repair it, then push")
