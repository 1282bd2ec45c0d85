"""From a model's text to a program: pure functions on strings.

    extract("Sure:\\n```python\\ndef f(): ...\\n```").code

How the program is found (`extract`): what the model thought aloud and the markers of its chat format are put aside; a
text that is Python as it stands is the program; else its Python code blocks are, else the Python between its prose.

Of several blocks the first that defines something stays, joined by those that define other names; examples, tests and
blocks that only use it are left out. Where a later block defines the same again, the first stays, unless the later one
defines all of that and more, is announced as the complete, final or corrected program, or comes after words that take
the earlier one back ("Wait, that is wrong"): in answers of ChatGPT and GPT-3.5 (Evol-Instruct-Code) second definitions
are mostly excerpts, variants, and counter-examples ("with a logical error"), and the announced ones are the whole of
what came in pieces.

A program that is broken stays as broken as it was written: leaving out the broken part of it would turn a syntax error,
which PLUM drops, into a program that runs and is rejected.

Not covered: a fence that opens and closes on one line of prose; doctest sessions (`>>>`) and notebook commands (`!pip`)
as programs; blocks that only make sense as a patch of an earlier one. A test generator's answer with its parts and its
tests is taken apart in `parts`.
"""

from __future__ import annotations

import ast
import bisect
import builtins
import codeop
import re
import textwrap
import warnings
from dataclasses import dataclass
from typing import Any, Literal

PYTHON = {"", "python", "python3", "python2", "py", "py3", "ipython", "ipython3"}
_FENCE = re.compile(r"^(?P<before>[^`]*?)(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)$")
_QUOTE = re.compile(r"^[ \t]*(?:>[ \t]?)+")
_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d+[.)])?[ \t]*")  # what may stand before a ~~~ fence: nothing, or a list's mark
_DEFINES = re.compile(r"^(?:async def|def|class)[ \t]+(\w+)", re.MULTILINE)
_USAGE_NAME = re.compile(r"main|run|(?:run_)?tests?|check|(?:tests?|example|demo|usage)_\w*|Test\w*|\w*Tests?")
_USAGE_INTRO = re.compile(r"\b(?:examples?|usage|used|use (?:it|this|the)|test(?:s|ed|ing)?|demo\w*|output)\b", re.I)
_WHOLE_INTRO = re.compile(r"\b(?:complete|completed|full|final|whole|correct(?:ed)?|fixed|together)\b", re.I)
_TAKEN_BACK = re.compile(  # said of what stands above, not of what follows
    r"^\W*(?:oops|whoops|wait|hold on)\b|\bI(?:'ve| have)? made (?:an?|some) (?:\w+ )?(?:mistake|error|typo)"
    r"|\bmy (?:mistake|bad)\b"
    r"|\b(?:that|it|(?:the|my) (?:above|first|previous|earlier|initial)(?: \w+){0,2}|the \w+ above)(?:'s| is| was)"
    r" (?:actually )?(?:wrong|incorrect|not (?:right|correct|quite right|quite correct)|broken|buggy)\b"
    r"|\bhere(?:'s| is) the right (?:one|version|way|code|program|solution|implementation|answer)\b",
    re.IGNORECASE | re.MULTILINE,
)

#: Lines that only code has: outside of the run of Python that was found, they tell that it is a part of the program.
_CODE = re.compile(
    r"(?:async def|def|class)[ \t]+\w+[ \t]*[(:]|@\w"
    r"|[ \t]+(?:(?:return|raise|if|elif|for|while|with)\b.*[^.]$|(?:else|try|finally|except.*):|pass$|break$|continue$"
    r"|[\w.\[\]]+ *[-+*/]?= *\S|\w[\w.]*\(.*\)$)"
)
_REST = re.compile(r"\s|\S{0,2}\s\s|[\w.\[\]]+ *[-+*/]?= *\S|return\b.*[^.\w]$|[)\]}]")  # right behind it

_THOUGHT = "think|thinking|thought|thoughts|reasoning|reflection|scratchpad"
_OPEN_THOUGHT = re.compile(rf"^[ \t]*<({_THOUGHT})>", re.MULTILINE | re.IGNORECASE)
_CLOSE_THOUGHT = re.compile(rf"(?<![\"'`])</(?:{_THOUGHT})>(?![\"'`])", re.IGNORECASE)
_TURN = re.compile(  # a turn's head, at the very beginning
    r"\s*(?:<\|im_start\|>assistant|<\|start_header_id\|>assistant<\|end_header_id\|>|<\|assistant\|>"
    r"|<start_of_turn>model|\[/INST\]|\#\#\# Response:|<s>)[ \t]*\n?",
)
_END = re.compile(  # a turn's end; what follows belongs to nobody. At a line's end: elsewhere it may be in a string
    r"(?:<\|(?:im_end|endoftext|end_of_text|eot_id|eom_id|end|EOT|assistant_end)\|>|<｜end▁of▁sentence｜>|<end_of_turn>"
    r"|(?<![\"'\w])</s>)(?=[ \t]*$|<\|)"
    r"|^(?:<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>|<\|user\|>|\#\#\# Instruction:)",
    re.MULTILINE,
)

How = Literal["fence", "fences", "unclosed_fence", "bare", "none"]


@dataclass(frozen=True)
class Extracted:
    """The program in a model's answer."""

    code: str  # "" exactly when `how` is "none"
    how: How  # one code block, several joined, one that never ends, no block around it, no program at all
    truncated: bool  # the text ends within a block or a thought: cut off, or at a stop string


@dataclass(frozen=True)
class Block:
    """A fenced block of a text."""

    language: str
    body: str
    closed: bool
    intro: str  # the last line of prose before it
    between: str  # all of the prose since the block before it
    lines: tuple[int, int]  # of the text: the body's first, and the one after its last


def extract_code(text: str) -> str:
    """`extract(text).code`."""
    return extract(text).code


def extract(text: str, entry_point: str = "") -> Extracted:
    """The program in a model's answer; the module's docstring says how it is found.

    Args:
        entry_point: the name that the task gives, if it gives one: a block that defines it is part of the program.
    """
    text, open_thought = final_answer(text)
    if not text.strip():
        return Extracted("", "none", open_thought)
    tree = parsed(text)
    if tree is not None:
        # Prose of one word is Python, too.
        if all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Name | ast.Constant) for node in tree.body):
            return Extracted("", "none", open_thought)
        return Extracted(text.strip("\n") + "\n", "bare", open_thought)
    blocks = fenced_blocks(text)
    python = [block for block in blocks if block.language in PYTHON and block.body.strip()]
    if not python:
        others = [block for block in blocks if block.body.strip()]
        if others:  # another language: not a program for us, and a syntax error as such
            return Extracted(others[0].body, "fence", not blocks[-1].closed)
        code = _between_prose(text)
        return Extracted(code, "bare" if code else "none", open_thought)
    chosen = _choose(python, entry_point)
    last = chosen[-1]
    body = last.body if last.closed else _without_the_cut(last.body, entry_point)
    code = "\n".join([*(block.body.rstrip("\n") + "\n" for block in chosen[:-1]), body])
    how: How = "fences" if len(chosen) > 1 else "fence" if last.closed else "unclosed_fence"
    return Extracted(code, how, open_thought or not blocks[-1].closed)


def final_answer(text: str) -> tuple[str, bool]:
    """`text` without thoughts and chat markers, and whether it ends within a thought."""
    text = text.replace("\r\n", "\n").removeprefix("\ufeff")
    if found := _TURN.match(text):
        text = text[found.end() :]
    text, unclosed = _without_thoughts(text)
    for end in _END.finditer(text):
        if text[: end.start()].strip():
            text = text[: end.start()]
            break
    return text, unclosed


def _without_thoughts(text: str) -> tuple[str, bool]:
    """`text` without thoughts, and whether it ends within one."""
    if not _CLOSE_THOUGHT.search(text) and not _OPEN_THOUGHT.search(text):
        return text, False
    programs = _whole_programs(text)

    def first(mark: re.Pattern[str], at: int) -> re.Match[str] | None:
        while found := mark.search(text, at):
            place = found.start()
            i = bisect.bisect(programs, place, key=lambda program: program[0]) - 1
            if i < 0 or place >= programs[i][1]:
                return found
            at = programs[i][1]
        return None

    kept, at, unclosed = "", 0, False
    # Chat templates may begin the thought in the prompt: then the text starts within it.
    closing, opening = first(_CLOSE_THOUGHT, 0), first(_OPEN_THOUGHT, 0)
    if closing and not (opening and opening.start() < closing.start()):
        at = closing.end()
    while (opening := first(_OPEN_THOUGHT, at)) and parsed(text[at:]) is None:
        kept += text[at : opening.start()]
        closing = first(re.compile(rf"</{opening[1]}>", re.IGNORECASE), opening.end())
        at, unclosed = (closing.end(), False) if closing else (len(text), True)
    return kept + text[at:], unclosed


def _whole_programs(text: str) -> list[tuple[int, int]]:
    """Where in `text` Python stands, from and to: all of it, or its blocks. A thought's mark in it is a string's."""
    if parsed(text) is not None:
        return [(0, len(text))]
    ends = [-1, *(found.start() for found in re.finditer("\n", text)), len(text)]
    return [
        (ends[block.lines[0]] + 1, ends[block.lines[1]])
        for block in fenced_blocks(text)
        if block.language in PYTHON and parsed(block.body) is not None
    ]


def parsed(code: str) -> ast.Module | None:
    """The syntax tree of a program; None where it is no Python, or Python's own parser cannot hold it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd escapes in a model's code are none of our warnings
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def fenced_blocks(text: str) -> list[Block]:
    """The fenced blocks of `text`, in order.

    A fence ends at a line of at least as many of its marks, not much further in than it began, or at marks that end or
    begin a line of other text. Where Python is broken at that place and whole at a later one, the marks were inside a
    string of the program.
    """
    lines = text.split("\n")
    blocks: list[Block] = []
    at = after = 0
    intro = ""
    while at < len(lines):
        line = lines[at]
        quote = _QUOTE.match(line)
        found = _FENCE.match(line[quote.end() :] if quote else line)
        if not found or (found["fence"][0] == "~" and not _ITEM.fullmatch(found["before"])):
            intro = line if line.strip() else intro
            at += 1
            continue
        if found["before"].strip() and not _ITEM.fullmatch(found["before"]):
            intro = found["before"]
        language, first = _language(found["info"])
        inside = [_QUOTE.sub("", inner) if quote else inner for inner in lines[at + 1 :]]
        body, used, closed = _body(inside, found["fence"], _width(found["before"]), language)
        between = "\n".join([*lines[after:at], found["before"]])
        place = (at + 1, at + 1 + used - closed)
        blocks.append(Block(language, first + _level(body, found["before"]), closed, intro, between, place))
        after = at = at + 1 + used
        intro = ""
    return blocks


def _language(info: str) -> tuple[str, str]:
    """A fence's language, and code that begins on the fence's own line."""
    info = info.strip()
    if re.match(r"(?:def|class|import|from)\s", info):
        return "", info + "\n"
    found = re.match(r"[{.\s]*([\w+#-]*)", info)
    return (found[1].lower() if found else ""), ""


def _width(before: str) -> int:
    return len(before) if not before.strip() or _ITEM.fullmatch(before) else 0


def _level(lines: list[str], before: str) -> str:
    """The body of a block, moved left by as much as its fence is moved right."""
    width = _width(before)
    if width and all(not line[:width].strip() for line in lines):
        lines = [line[width:] for line in lines]
    body = "".join(line + "\n" for line in lines)
    if lines and body[:1] in " \t" and parsed(body) is None and parsed(textwrap.dedent(body)) is not None:
        return textwrap.dedent(body)
    return body


def _body(lines: list[str], fence: str, indent: int, language: str) -> tuple[list[str], int, bool]:
    """The lines of a block, the number of lines used, and whether it was closed."""
    mark = re.escape(fence[0]) * len(fence)
    alone = re.compile(rf"^([ \t]*){mark}+[ \t]*$")
    ends: list[tuple[list[str], int, bool]] = []
    for number, line in enumerate(lines):
        if found := alone.match(line):
            if len(found[1].expandtabs(4)) <= indent + 3 or _is_last(lines[number + 1 :], fence):
                ends.append((lines[:number], number + 1, True))
        elif line.lstrip().startswith(fence) and line.count(fence) == 1:
            if _language(line.strip().lstrip(fence[0]))[0] in PYTHON - {""} and line.strip().lstrip(fence[0]).isalnum():
                ends.append((lines[:number], number, False))  # the next block begins: this one's end was forgotten
            else:
                ends.append((lines[:number], number + 1, True))
        elif line.rstrip().endswith(fence) and line.count(fence) == 1:
            ends.append(([*lines[:number], line.rstrip()[: -len(fence)]], number + 1, True))
        if len(ends) == 6:
            break
    whole = (lines, len(lines), False)
    if not ends:
        return whole
    if language in PYTHON and len(ends) > 1:
        for end in ends:
            if parsed(textwrap.dedent("\n".join(end[0]))) is not None:
                return end
    return ends[0]


def _is_last(lines: list[str], fence: str) -> bool:
    return not any(line.strip().startswith(fence) for line in lines)


def _choose(blocks: list[Block], entry_point: str) -> list[Block]:
    """The blocks that make the program, in order."""
    trees = [parsed(block.body) for block in blocks]
    defined = [
        _names(tree) if tree else set(_DEFINES.findall(block.body)) for block, tree in zip(blocks, trees, strict=True)
    ]
    candidates = [i for i, names in enumerate(defined) if names]
    if not candidates:  # scripts
        return [blocks[next((i for i, tree in enumerate(trees) if tree), 0)]]
    whole = set().union(*(names for names, tree in zip(defined, trees, strict=True) if tree))
    # A broken block counts only for what no whole one defines: `def f(x):` alone, as the first step of an explanation.
    candidates = [i for i in candidates if trees[i] or defined[i] - whole]
    real = [i for i in candidates if entry_point in defined[i] or not all(map(_USAGE_NAME.fullmatch, defined[i]))]
    chosen: list[int] = []
    names: set[str] = set()
    for i in real or candidates[:1]:
        new = defined[i]
        if not chosen:
            chosen, names = [i], set(new)
        elif new & names:
            announced = _WHOLE_INTRO.search(blocks[i].intro) and not _USAGE_INTRO.search(blocks[i].intro)
            instead = announced or _TAKEN_BACK.search(blocks[i].between)
            if trees[i] and (new > names or (instead and (new >= names or entry_point in new))):
                # a helper of its own block may still be wanted
                chosen = [*(j for j in chosen if not defined[j] & new and defined[j] & _needs(trees[i])), i]
                names = set().union(*(defined[j] for j in chosen))
        elif new & set().union(*(_needs(trees[j]) for j in chosen)) or not _USAGE_INTRO.search(blocks[i].intro):
            chosen.append(i)
            names |= new
    if entry_point and entry_point not in names:
        chosen = [i for i in candidates if entry_point in defined[i]][:1] or chosen
    if len(chosen) > 1 and any(trees[i] is None for i in chosen):
        first = next(i for i in chosen if trees[i] is None)
        return [blocks[first]]  # broken: see the module's docstring
    needed = set().union(*(_needs(trees[i]) for i in chosen))
    supply = [i for i, tree in enumerate(trees) if tree and i not in chosen and _passive(tree) & needed]
    return [blocks[i] for i in sorted({*chosen, *(i for i in supply if not defined[i])})]


def _names(tree: ast.Module) -> set[str]:
    """The functions and classes of a program, named lambdas included."""
    found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def _passive(tree: ast.Module) -> set[str]:
    """What a block of nothing but imports and assignments binds."""
    bound: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            bound |= {
                name.id for name in ast.walk(node) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
            }
        else:
            return set()
    return bound


def _needs(tree: ast.Module | None) -> set[str]:
    """Names that a program reads and nowhere binds."""
    if tree is None:
        return set()
    bound = _names(tree) | set(dir(builtins))
    read: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
    return read - bound


def _without_the_cut(body: str, entry_point: str) -> str:
    """The code of a block that never ends, without its last statement if that was cut off or is prose, and what remains
    still is a program."""
    if parsed(body) is not None:
        return body
    rest = without_last(body)
    lost = set(_DEFINES.findall(body[len(rest) :]))
    while (last := rest.rstrip("\n").rpartition("\n"))[2].startswith("@"):
        rest = last[0] + "\n"
    tree = parsed(rest)
    names = _names(tree) if tree else set()
    # Without a name to go by, a definition that was cut off may be the program itself.
    is_program = entry_point in names if entry_point else names and all(map(_USAGE_NAME.fullmatch, lost))
    if is_program and _cut_off(body[len(rest) :]):
        return rest
    return _between_prose(body) or body


def _cut_off(statement: str) -> bool:
    """Whether a broken statement may only want its end: without its last line, it is whole or begins well."""
    head = statement.strip("\n").rpartition("\n")[0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return not head or parsed(head) is not None or codeop.compile_command(head, symbol="exec") is None
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
        return False


def _between_prose(text: str) -> str:
    """The longest run of whole lines that is Python and defines something, in a text without fences.

    A text that looks like code but is broken is returned as it stands; one that does not look like code is "".
    """
    lines = text.split("\n")
    starts = [
        i
        for i, line in enumerate(lines)
        if re.match(r"(?:async def|def|class|import|from|@)\b|@|[A-Za-z_]\w* = ", line)
    ]
    if not any(_DEFINES.match(line) or line.startswith(("import ", "from ")) for line in lines):
        return ""
    best = (0, 0)
    for start in starts[:40]:
        if start < best[1]:
            continue
        end = end_of_run(lines, start)
        tree = parsed("\n".join(lines[start:end]))
        if end - start > best[1] - best[0] and tree is not None and _names(tree):
            best = (start, end)
    outside = lines[: best[0]] + lines[best[1] :]
    follows = next((line for line in lines[best[1] :] if line.strip()), "")
    broken = any(_CODE.match(line) for line in outside) or bool(_REST.match(follows))
    if best == (0, 0) or broken:
        return text.strip("\n") + "\n"
    return "\n".join(lines[best[0] : best[1]]).strip("\n") + "\n"


def end_of_run(lines: list[str], start: int) -> int:
    """The end of the longest run of Python from `start` that does not stop within an indented part."""
    ends = [i for i in range(start + 1, len(lines) + 1) if i == len(lines) or re.match(r"\S", lines[i])]
    while ends:
        code = "\n".join(lines[start : ends[-1]])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ast.parse(code)
            return ends[-1]
        except SyntaxError as error:
            # Nothing beyond the error's line can mend it.
            limit = start + (error.lineno or 1)
            ends = [end for end in ends[:-1] if end <= limit]
        except (ValueError, RecursionError, MemoryError):
            return start
    return start


def fill(template: str, values: dict[str, Any]) -> str:
    """`template` with `{name}` replaced by `values[name]`, in one pass: braces in a value, or of another name, stay."""
    if not values:
        return template
    names = "|".join(map(re.escape, values))
    return re.sub(rf"\{{({names})\}}", lambda match: str(values[match[1]]), template)


def cut(text: str, stop: tuple[str, ...]) -> str:
    """`text` up to the first of `stop`."""
    ends = [at for word in stop if (at := text.find(word)) >= 0]
    return text[: min(ends)] if ends else text


def without_last(code: str) -> str:
    """`code` without its last top-level statement, which may be half of one; where `code` is broken, without the lines
    from the last one on that begins a statement."""
    tree = parsed(code)
    lines = code.split("\n")
    if tree is not None:
        start = tree.body[-1].lineno - 1 if tree.body else 0
    else:
        start = max((i for i, line in enumerate(lines) if re.match(r"[^\s#)\]}]", line)), default=0)
    return "".join(line + "\n" for line in lines[:start])
