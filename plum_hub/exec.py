"""`plum exec`: programs with tests as JSON lines in, verdicts as JSON lines out, in the same order, as they are known.

A line in, and the line that comes out for it:

    {"id": 7, "program": "def f(x):\\n    return x + 1", "tests": ["assert f(1) == 2"], "seconds": 2.0}
    {"id": 7, "outcome": "passed", "message": "", "seconds": 0.004,
     "tests": [{"outcome": "passed", "seconds": 0.001, "message": ""}]}

`id` is any JSON and comes back as it is; `seconds` is this program's own time limit, below --timeout, and may be left
out. A test is Python source with assertions, or one of

    {"type": "calls", "entry_point": "f", "inputs": [[1], [2]], "expected": [2, 3], "oracle": "equal", "atol": 0}
    {"type": "stdin", "input": "1\\n", "output": "2\\n"}
    {"type": "unittest", "code": "import unittest\\nclass T(unittest.TestCase): ..."}
    {"type": "record", "entry_point": "f", "inputs": [[1], [2]]}      (gives "values": [2, 3] beside its outcome)

See `plum_hub.sandbox.jobs` for what they mean. Python values that JSON does not have are written {"$tuple": [1, 2]}
and so on (`encode`), so that what `record` gives can be the `expected` of `calls`.

The input may be an endless pipe: a result is written as soon as it and all before it are known, and only so many lines
are read ahead that memory stays flat. A line that is not valid ends the run with an error that names it, after the
results of all lines before it were written.
"""

from __future__ import annotations

import base64
import json
import math
import os
import stat
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from pathlib import Path
from queue import SimpleQueue
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from plum_hub.errors import UserError
from plum_hub.outcomes import Outcome
from plum_hub.progress import bar, console, say
from plum_hub.sandbox import Calls, Job, Limits, Record, Result, Sandbox, Stdin, Unittest, Verdict

AHEAD_BYTES = 64 << 20  # of lines read and not yet answered; a single longer line is taken alone
LINE_BYTES = 256 << 20  # the longest line


# ------------------------------------------------------------------------------------------- Python values in JSON

MOST_VALUES = 4 << 20  # items of a test's values, and kilobytes of text: a few shared lists can be worth terabytes
INT_BITS = 14_000  # about the 4300 digits that Python reads and writes

_PLAIN: dict[str, Callable[[Any], Any]] = {
    "$tuple": tuple,
    "$set": set,
    "$frozenset": frozenset,
    "$dict": dict,  # pairs, for keys that are no strings
    "$bytes": lambda text: base64.b64decode(text, validate=True),
    "$int": lambda text: int(text, 16),  # one of thousands of digits
    "$float": float,  # "nan", "inf", "-inf"
    "$complex": lambda parts: complex(*map(float, parts)),  # as texts
}


def encode(value: Any) -> Any:
    """`value` as JSON: what JSON lacks becomes an object with one key that begins with `$`.

    Instances of subclasses go by their base (a namedtuple is a tuple); what is no such data at all becomes
    {"$repr": text}, which cannot be read back.

    Raises:
        ValueError: more than can be written.
        RecursionError: nested too deep.
    """
    left = MOST_VALUES

    def coded(value: Any) -> Any:
        nonlocal left
        left -= 1 + (len(value) >> 10 if isinstance(value, (str, bytes)) else 0)
        if left < 0:
            raise ValueError("too many values")
        if value is None or isinstance(value, (bool, str)):
            return value
        match value:
            case int():
                return value if value.bit_length() < INT_BITS else {"$int": hex(value)}
            case float():
                return value if math.isfinite(value) else {"$float": repr(value)}
            case complex():
                return {"$complex": [repr(value.real), repr(value.imag)]}
            case bytes():
                return {"$bytes": base64.b64encode(value).decode()}
            case list():
                return [coded(item) for item in value]
            case tuple():
                return {"$tuple": [coded(item) for item in value]}
            case frozenset():
                return {"$frozenset": [coded(item) for item in value]}
            case set():
                return {"$set": [coded(item) for item in value]}
            case dict():
                if all(isinstance(key, str) for key in value) and not (len(value) == 1 and _PLAIN.keys() & value):
                    return {key: coded(item) for key, item in value.items()}
                return {"$dict": [[coded(key), coded(item)] for key, item in value.items()]}
        return {"$repr": coded(repr(value))}

    return coded(value)


def decode(value: Any) -> Any:
    """What `encode` made `value` of. Raises ValueError where it made no such thing."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((name, content),) = value.items()
        if name in _PLAIN:
            try:
                return _PLAIN[name](decode(content))
            except (TypeError, ValueError) as error:
                raise ValueError(f"no such {name}: {error}") from None
    return {key: decode(item) for key, item in value.items()}


# ------------------------------------------------------------------------------------------------- a line of input

Values = Annotated[list[Any], AfterValidator(decode)]
Arguments = Annotated[list[list[Any]], AfterValidator(decode)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Strict(BaseModel):
    """Nothing is converted, and keys it does not know are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class CallsTest(_Strict):
    """`jobs.Calls`."""

    type: Literal["calls"]
    entry_point: str
    inputs: Arguments
    expected: Values
    oracle: Literal["equal", "livecodebench", "evalplus-humaneval", "evalplus-mbpp"] = "equal"
    atol: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0

    @model_validator(mode="after")
    def _one_each(self) -> CallsTest:
        if len(self.inputs) != len(self.expected):
            raise ValueError(f"{len(self.inputs)} inputs and {len(self.expected)} expected values: give one for each")
        return self

    def test(self) -> Calls:
        return Calls(self.entry_point, self.inputs, self.expected, self.oracle, self.atol)


class StdinTest(_Strict):
    """`jobs.Stdin`."""

    type: Literal["stdin"]
    input: str
    output: str

    def test(self) -> Stdin:
        return Stdin(self.input, self.output)


class UnittestTest(_Strict):
    """`jobs.Unittest`."""

    type: Literal["unittest"]
    code: str

    def test(self) -> Unittest:
        return Unittest(self.code)


class RecordTest(_Strict):
    """`jobs.Record`."""

    type: Literal["record"]
    entry_point: str
    inputs: Arguments

    def test(self) -> Record:
        return Record(self.entry_point, self.inputs)


def _kind(test: Any) -> str | None:
    if isinstance(test, str):
        return "source"
    kind = test.get("type") if isinstance(test, dict) else getattr(test, "type", None)
    return kind if isinstance(kind, str) else None


KINDS = ("source", "calls", "stdin", "unittest", "record")
AnyTest = Annotated[
    Annotated[str, Tag("source")]
    | Annotated[CallsTest, Tag("calls")]
    | Annotated[StdinTest, Tag("stdin")]
    | Annotated[UnittestTest, Tag("unittest")]
    | Annotated[RecordTest, Tag("record")],
    Discriminator(
        _kind,
        custom_error_type="test",
        custom_error_message="a test is Python source, or an object with `type`: calls, stdin, unittest or record",
    ),
]


class Line(_Strict):
    """One program with its tests."""

    id: Any
    program: str
    tests: list[AnyTest]
    seconds: Positive | None = None

    def job(self) -> Job:
        tests = tuple(test if isinstance(test, str) else test.test() for test in self.tests)
        return Job(self.program, tests, self.seconds)


def parse(text: bytes) -> Line:
    """One line of input. Raises ValueError with one line that says what is wrong with it."""
    if len(text) > LINE_BYTES:
        raise ValueError(f"longer than {LINE_BYTES >> 20} MiB")
    try:
        line = json.loads(text.strip())
        if not isinstance(line, dict):
            raise ValueError("a line is an object with id, program and tests")
        return Line.model_validate(line)
    except ValidationError as error:
        raise ValueError(_explain(error)) from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} (column {error.colno})") from None
    except RecursionError:
        raise ValueError("nested too deep") from None


def _explain(error: ValidationError) -> str:
    """The most telling validation error: key and what is wrong with it."""
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    where = first["loc"]
    if where[:1] == ("tests",):
        where = tuple(part for at, part in enumerate(where) if at != 2 or part not in KINDS)
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).removeprefix(".")
    if first["type"] == "extra_forbidden":
        return f"unknown key `{key}`"
    message = first["msg"].removeprefix("Value error, ")
    return f"`{key}`: {message}" if key else message


# --------------------------------------------------------------------------------------------- from lines to lines


class _Room:
    """How much may be read ahead of what was answered: a number of lines, and of bytes."""

    def __init__(self, lines: int) -> None:
        self._most, self._lines, self._bytes = lines, 0, 0
        self._changed = threading.Condition()

    def take(self, size: int) -> None:
        """Wait until there is room for one more line of `size` bytes."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._lines or (self._lines < self._most and self._bytes + size <= AHEAD_BYTES)
            )
            self._lines, self._bytes = self._lines + 1, self._bytes + size

    def give(self, size: int) -> None:
        """One line of `size` bytes was answered."""
        with self._changed:
            self._lines, self._bytes = self._lines - 1, self._bytes - size
            self._changed.notify()


_Read = tuple[int, bytes] | OSError | None  # a line with its number; why no more can be read; the end
_DONE = "done"  # a program is finished


def execute(
    source: BinaryIO, name: str, write: Callable[[bytes], None], sandbox: Sandbox, advance: Callable[[int], None]
) -> Iterator[Result]:
    """Run the programs of `source`; yields each result after its line was given to `write`.

    Args:
        source: JSON lines, read by a thread of its own for as long as there are any. It is not closed here: a thread
            that waits for input would hold that up.
        name: of the source, for error messages.

    Raises:
        UserError: a line is not valid, or the source cannot be read; the results of the lines before were written.
        SandboxError: the sandbox does not work here.
    """
    events: SimpleQueue[_Read | str] = SimpleQueue()
    room = _Room(sandbox.look_ahead)
    threading.Thread(target=_read, args=(source, events.put, room), name="plum-exec-reader", daemon=True).start()
    waiting: deque[tuple[Any, int, Future[Result]]] = deque()  # id, size of the line
    problem, reading = "", True
    while reading or waiting:
        event = events.get()
        if event == _DONE:
            while waiting and waiting[0][2].done():
                id, size, future = waiting.popleft()
                result = future.result()
                write(_answer(id, result))
                room.give(size)
                advance(1)
                yield result
        elif not reading:
            pass  # read before it was known that a line before it is not valid
        elif isinstance(event, tuple):
            number, text = event
            try:
                line = parse(text)
                if line.seconds and line.seconds > sandbox.limits.seconds:
                    raise ValueError(f"`seconds`: {line.seconds:g} is above --timeout {sandbox.limits.seconds:g}")
            except ValueError as error:
                problem, reading = f"{name}:{number}: {error}", False
                continue
            future = sandbox.submit(line.job())
            waiting.append((line.id, len(text), future))
            future.add_done_callback(lambda _: events.put(_DONE))
        else:
            problem, reading = f"{name}: {event.strerror}" if isinstance(event, OSError) else "", False
    if problem:
        raise UserError(f"{problem}; the results of all lines before it are written")


def _read(source: BinaryIO, put: Callable[[_Read], None], room: _Room) -> None:
    """The reader's thread."""
    try:
        # One byte more than is allowed tells a line that is too long, without its being read to its end.
        for number, text in enumerate(iter(lambda: source.readline(LINE_BYTES + 1), b""), 1):
            if text.strip():
                room.take(len(text))
                put((number, text))
    except OSError as error:
        put(error)
    else:
        put(None)


def _answer(id: Any, result: Result) -> bytes:
    """A line of output."""
    tests = [_verdict(verdict) for verdict in result.tests]
    line = {"id": id, "outcome": result.outcome, "message": result.message, "seconds": result.seconds, "tests": tests}
    return json.dumps(line).encode() + b"\n"


def _verdict(verdict: Verdict) -> dict[str, Any]:
    said = {"outcome": verdict.outcome, "seconds": verdict.seconds, "message": verdict.message}
    if verdict.values is None:
        return said
    try:
        return said | {"values": encode(verdict.values)}
    except (ValueError, RecursionError):
        return said | {"message": "its values are too many, or nested too deep, to be written"}


# ------------------------------------------------------------------------------------------------------ the command


def run(file: Path | None, output: Path | None, limits: Limits, workers: int | None) -> None:
    """`plum exec`: results to `output` or standard output; at the end one line of counts to standard error.

    Args:
        file: JSON lines; None for standard input.
        workers: programs at once; None for one per core.

    Raises:
        UserError: a line that is not valid, or a file that cannot be read or written.
        SandboxError: the sandbox does not work here.
        BrokenPipeError: nobody reads the results any more.
    """
    if file and output and output.exists() and file.samefile(output):
        raise UserError(f"{output} is the input, too: write the results to another file")
    if (file is None and sys.stdin is None) or (output is None and sys.stdout is None):
        raise UserError("standard input or output is closed")  # its number may belong to another file by now
    source = open(file or 0, "rb", closefd=file is not None)  # noqa: SIM115 - see `execute`
    counts: Counter[Outcome] = Counter()
    start = time.monotonic()
    with Sandbox(limits, workers) as sandbox, open(output, "wb", buffering=0) if output else nullcontext() as sink:
        descriptor = sink.fileno() if sink else 1

        def write(data: bytes) -> None:
            try:
                left = memoryview(data)
                while left:
                    left = left[os.write(descriptor, left) :]
            except BrokenPipeError:
                raise
            except OSError as error:
                raise UserError(f"{output or 'standard output'} cannot be written: {error.strerror}") from None

        try:
            with _progress(source, descriptor) as advance:
                for result in execute(source, str(file or "stdin"), write, sandbox, advance):
                    counts[result.outcome] += 1
        except KeyboardInterrupt:
            say(f"stopped; written: {_counted(counts, time.monotonic() - start)}")
            raise
    say(_counted(counts, time.monotonic() - start))


def _counted(counts: Counter[Outcome], seconds: float) -> str:
    kinds = ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome])
    done = counts.total()
    return f"{done} programs in {seconds:.1f} s, {done / seconds:.1f}/s{f': {kinds}' if kinds else ''}"


@contextmanager
def _progress(source: BinaryIO, descriptor: int) -> Iterator[Callable[[int], None]]:
    """Progress on a terminal: a bar if the number of lines can be known, else a count; none among the results."""
    if not console.is_terminal or os.isatty(descriptor):
        yield lambda done: None
    elif stat.S_ISREG(os.fstat(source.fileno()).st_mode):
        total = sum(1 for line in source if line.strip())
        source.seek(0)
        with bar("exec", total) as advance:
            yield advance
    else:
        with console.status("exec") as status:
            finished = 0

            def count(done: int) -> None:
                nonlocal finished
                finished += done
                status.update(f"exec: {finished} programs")

            yield count
