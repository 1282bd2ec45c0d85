"""Runs untrusted Python programs against tests: programs and tests in, outcomes and durations out.

    with Sandbox(Limits(seconds=3.0)) as sandbox:
        for result in sandbox.run(Job(program, (test,)) for program, test in pairs):
            print(result.outcome, result.seconds, result.message)

Each worker is one server process (`inside/server.py`) that forks a fresh process per program; one thread per worker
here only moves bytes. The stream may be endless: results come in the order of the jobs, and only a bounded number of
jobs is taken ahead of them. What the walls and the verdicts are worth stands in `__init__.py`.

Time: `Limits.seconds` is processor time of program and test together, so that a busy machine changes no verdict. A
step that waits instead of computing is over its time after twice as long by the wall clock; then the program is run
once more, alone: no other program of this sandbox runs meanwhile. `Limits.total_seconds` is wall clock for the whole
program, and bounds our work: tests it leaves unjudged are infra_error, never a verdict. `calibrate` sets the time limit
of a job from its reference solution's own time.

Temporary directories lie where `tempfile` puts them.
"""

import contextlib
import importlib.util
import json
import os
import pickle
import queue
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64decode
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

from plum_hub.outcomes import Outcome, worst
from plum_hub.sandbox.jobs import Job, Limits, Result, Test, Verdict

#: Jobs taken from the stream before the first result is asked for, per worker. High enough that one program that runs
#: into its time limit at the head of the line does not leave the other workers without work for long.
LOOK_AHEAD = 256

START_SECONDS = 60.0  # for a server to import its modules, on a very busy machine
GRACE_SECONDS = 30.0  # beyond a job's own total, before a server is taken for hung
END_SECONDS = 5.0  # for a server to clear up after its input closed
ATTEMPTS = 2  # servers that may die on a job before it is our error

DEFAULT_LIMITS = Limits()

INSIDE = Path(__file__).with_name("inside")

#: Starts `inside/server.py` as a module of the package `inside`, with the rest of this project out of sight. `random`
#: and `threading` would have code run after every fork; there is one thread in a server, and the seed is to stay.
#: The working directory leaves the path here: `-P`, which does so, came with Python 3.11. Our libraries come last: an
#: environment of its own need not have pyseccomp.
START = (
    "import os, sys; register, os.register_at_fork = os.register_at_fork, lambda **_: None; "
    "path = [entry for entry in sys.path if entry]; sys.path[:] = [sys.argv.pop(1), *path, sys.argv.pop(1)]; "
    "from inside import server; sys.path[:] = path; server.main(register)"
)


class SandboxError(RuntimeError):
    """The sandbox does not work here: its interpreter does not start, or a necessary wall is missing."""


class _ServerDied(Exception):
    """The server ended, hung or spoke nonsense."""


class _Server:
    """One server process with its private directory."""

    def __init__(self, limits: Limits, hash_seed: int = 0, python: Path | None = None) -> None:
        """Start it and wait until it is ready. Raises SandboxError."""
        self.base = tempfile.mkdtemp(prefix="plum-sandbox-")
        self.suite: Sequence[Test] | None = None  # what it has ...
        self.tests = b""  # ... and as it was sent
        scratch = os.path.join(self.base, "scratch")
        environment = {
            # Programs that start `python` mean the one that runs them, where it is not just ours.
            "PATH": f"{python.parent}{os.pathsep}{os.defpath}" if python else os.defpath,
            "HOME": scratch,
            "TMPDIR": scratch,
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "PYTHONHASHSEED": str(hash_seed),
            # Numeric libraries start a thread per core at import; their stacks alone can exceed the address space.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MPLBACKEND": "Agg",
        }
        log = os.path.join(self.base, "log")
        # One socket for both ways and not two pipes: it can be shut down while a thread waits on it, and even if
        # another process that was forked from this one still holds a copy.
        self.socket, theirs = socket.socketpair()
        arguments = [str(INSIDE.parent), _seccomp_folder(), self.base, json.dumps(_plain(limits))]
        try:
            with theirs, open(log, "wb") as errors:
                self.process = subprocess.Popen(
                    [str(python or sys.executable), "-s", "-B", "-X", "utf8", "-c", START, *arguments],
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=errors,
                    env=environment,
                    cwd=self.base,
                    start_new_session=True,  # Ctrl-C is for this process; the server ends when its input does
                )
        except OSError as error:
            self.socket.close()
            shutil.rmtree(self.base, ignore_errors=True)
            raise SandboxError(f"the sandbox's interpreter does not start: {error}") from error
        try:
            self.walls: dict[str, Any] = json.loads(self._receive(time.monotonic() + START_SECONDS))
        except _ServerDied as error:
            said = ""
            with contextlib.suppress(OSError):
                said = Path(log).read_text(errors="replace").strip()[-500:]
            self.close()
            raise SandboxError(f"the sandbox's interpreter does not start: {said or error}") from None

    def ask(self, job: Job, limits: Limits, alone: bool) -> dict[str, Any]:
        """The reply to one job. Raises _ServerDied; the server is of no use then."""
        # Sent once for all programs with the same tests. Compared as bytes: 1 == True, and they are not the same test.
        tests = self.tests
        if job.tests is not self.suite:
            self.suite, tests = job.tests, pickle.dumps([_as_tuple(test) for test in job.tests])
        same, self.tests = tests == self.tests, tests
        request = pickle.dumps(
            {
                "program": job.program,
                "tests": None if same else tests,
                "seconds": limits.seconds if job.seconds is None else job.seconds,
                "total_seconds": limits.total_seconds,
                "alone": alone,
                "stop": job.stop,
            }
        )
        patience = 2 * limits.total_seconds + GRACE_SECONDS  # twice: it may judge a job again
        deadline = time.monotonic() + patience
        try:
            self.socket.settimeout(patience)
            self.socket.sendall(len(request).to_bytes(4, "big") + request)
        except OSError as error:  # a timeout, too
            raise _ServerDied(str(error)) from error
        reply: dict[str, Any] = json.loads(self._receive(deadline))
        return reply

    def _receive(self, deadline: float) -> bytes:
        return self._exactly(int.from_bytes(self._exactly(4, deadline), "big"), deadline)

    def _exactly(self, size: int, deadline: float) -> bytes:
        data = bytearray()
        try:
            while len(data) < size:
                self.socket.settimeout(max(0.001, deadline - time.monotonic()))
                chunk = self.socket.recv(size - len(data))
                if not chunk:
                    raise _ServerDied("it ended")
                data += chunk
        except OSError as error:
            raise _ServerDied(str(error)) from error
        return bytes(data)

    def hang_up(self) -> None:
        """Tell it to end, with all it runs. Safe while another thread waits for an answer: it gets _ServerDied."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it: by hanging up, and after some seconds by force. Never raises."""
        self.hang_up()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.socket.close()
        shutil.rmtree(self.base, ignore_errors=True)


_Task = tuple[Job, "Future[Result]"]


class Sandbox:
    """A pool of workers; use it as a context manager. Safe to share between threads."""

    def __init__(
        self,
        limits: Limits = DEFAULT_LIMITS,
        workers: int | None = None,
        unsafe: bool | None = None,
        hash_seed: int = 0,
        python: Path | None = None,
    ) -> None:
        """`workers` is the number of programs run at once; by default one per core.

        `unsafe` runs programs although necessary walls are missing here; by default only if the environment variable
        PLUM_UNSAFE is 1. `hash_seed` is the programs' PYTHONHASHSEED: the order of their sets of strings.
        `python` is the interpreter that runs them, 3.10 or later, with its libraries; by default this one. Raises
        ValueError below one worker.
        """
        self.limits = limits
        self.hash_seed = hash_seed
        self.python = python
        self.workers = (os.cpu_count() or 1) if workers is None else workers
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        self.unsafe = os.environ.get("PLUM_UNSAFE") == "1" if unsafe is None else unsafe
        #: What stands here, once entered: `namespaces` (root, user or ""), `own_root`, `seccomp`, `landlock` (its ABI),
        #: `proc`, `processes` (their number is bounded), `notes` (why something is missing).
        self.walls: dict[str, Any] = {}
        #: The most jobs taken from a stream beyond the results handed out.
        self.look_ahead = LOOK_AHEAD * self.workers
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._servers: dict[int, _Server] = {}  # by worker number
        self._lock = threading.Lock()
        self._turns = _Turns()
        self._closed = False
        self._process = os.getpid()

    def __enter__(self) -> "Sandbox":
        if self._closed or self._threads:
            raise SandboxError("a Sandbox is entered once")
        self.walls = self._server(0).walls
        missing = missing_walls(self.walls)
        if missing and not self.unsafe:
            self.close()
            raise SandboxError(
                f"untrusted programs are not run here: nothing keeps them from {' and '.join(missing)}. "
                "`plum sandbox doctor` tells what to do; --unsafe (or PLUM_UNSAFE=1) runs them all the same"
            )
        # Daemons: the interpreter must not wait for a running program at its exit.
        self._threads = [
            threading.Thread(target=self._work, args=(number,), name=f"sandbox-{number}", daemon=True)
            for number in range(self.workers)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop all workers and whatever they run; results not handed out yet are lost. May be called twice."""
        with self._lock:
            self._closed = True
            servers = list(self._servers.values())
        for server in servers:
            server.hang_up()
        if not self._threads:  # nobody else is there to end it
            self._drop(0)
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """The results of `jobs`, in their order, as they are asked for.

        At most `look_ahead` jobs are taken from `jobs` beyond the results handed out, so a stream of any length runs in
        flat memory. Several calls may be under way at once.

        Raises SandboxError when the sandbox is not open or cannot start its interpreter, and whatever `jobs` raises. A
        program's own failure never raises: it is an outcome.
        """
        if self._closed or not self._threads:
            raise SandboxError("use the Sandbox in a with statement")
        if self._process != os.getpid():
            raise SandboxError("a Sandbox does not survive a fork: open one in each process")
        return self._stream(iter(jobs))

    def _stream(self, jobs: Iterator[Job]) -> Iterator[Result]:
        waiting: deque[Future[Result]] = deque()
        try:
            for job in islice(jobs, self.look_ahead - 1):
                waiting.append(self.submit(job))
            for job in jobs:
                waiting.append(self.submit(job))
                yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def submit(self, job: Job) -> "Future[Result]":
        """Put one job in the queue. Raises SandboxError when the sandbox is not open."""
        if not self._threads:
            raise SandboxError("use the Sandbox in a with statement")
        future: Future[Result] = Future()
        with self._lock:
            if self._closed:
                raise SandboxError("the Sandbox was closed")
            self._tasks.put((job, future))
        return future

    def _work(self, number: int) -> None:
        while (task := self._tasks.get()) is not None:
            job, future = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(self._one(number, job))
            except BaseException as error:  # to whoever asked, not to this thread
                future.set_exception(error)
        self._drop(number)

    def _one(self, number: int, job: Job) -> Result:
        alone = False
        attempts = 0
        while attempts < ATTEMPTS:
            with self._turns.alone() if alone else self._turns.together():
                server = self._server(number)
                try:
                    reply = server.ask(job, self.limits, alone)
                except _ServerDied:
                    self._drop(number)
                    attempts += 1
                    continue
            if "again" in reply:
                alone = True
                continue
            return _to_result(reply)
        verdict = Verdict(Outcome.INFRA_ERROR, 0.0, "the sandbox's server died on this program, more than once")
        return Result(verdict.outcome, 0.0, verdict.message, (verdict,) * len(job.tests))

    def _server(self, number: int) -> _Server:
        server = self._servers.get(number)
        if server is None and not self._closed:
            server = _Server(self.limits, self.hash_seed, self.python)
            with self._lock:
                self._servers[number] = server
        if server is None or self._closed:
            raise SandboxError("the Sandbox was closed")
        return server

    def _drop(self, number: int) -> None:
        with self._lock:
            server = self._servers.pop(number, None)
        if server is not None:
            server.close()


class _Turns:
    """Programs run together, or one alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._waiting = 0  # for being alone: no new ones start meanwhile

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._running >= 0 and not self._waiting)
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            self._waiting += 1
            self._changed.wait_for(lambda: self._running == 0)
            self._waiting -= 1
            self._running = -1
        try:
            yield
        finally:
            with self._changed:
                self._running = 0
                self._changed.notify_all()


def missing_walls(walls: dict[str, Any]) -> list[str]:
    """What nothing keeps a program from, of what must not be possible: phrases for a message."""
    namespaces, seccomp, landlock = walls["namespaces"], walls["seccomp"], walls["landlock"]
    missing = []
    if not namespaces and not seccomp:
        missing += ["using the network", "ending your processes"]
    elif not seccomp:
        missing.append("making dangerous system calls")
    if not walls["own_root"] and not landlock:
        missing.append("reading and writing your files")
    return missing


def calibrate(
    sandbox: Sandbox, references: Iterable[Job], factor: float = 10.0, floor: float = 0.3
) -> list[float | None]:
    """Time limits from reference solutions: `Job.seconds` for other programs with the same tests.

    Args:
        references: each a reference solution with its tests, run here and now.
        factor: times the slowest step of the reference, loading included.
        floor: seconds, at least.

    Returns:
        Seconds, never above `Limits.seconds`; None where the reference itself does not pass.
    """
    ceiling = sandbox.limits.seconds
    found: list[float | None] = []
    for result in sandbox.run(references):
        tests = [test.seconds for test in result.tests]
        slowest = max(result.seconds - sum(tests), *tests, 0.0)  # the first is that of loading
        passed = result.outcome is Outcome.PASSED
        found.append(min(ceiling, max(floor, factor * slowest)) if passed else None)
    return found


def _seccomp_folder() -> str:
    """Where our pyseccomp lies, "" if we have none; one file, which runs with any Python."""
    found = importlib.util.find_spec("pyseccomp")
    return os.path.dirname(found.origin) if found and found.origin else ""


def _plain(limits: Limits) -> dict[str, Any]:
    return {name: getattr(limits, name) for name in Limits.__dataclass_fields__}


def _as_tuple(test: Test) -> Any:
    return (
        test if isinstance(test, str) else (type(test).__name__, *(getattr(test, field.name) for field in fields(test)))
    )


def _to_result(reply: dict[str, Any]) -> Result:
    """The reply of `inside/server.py` as a Result."""
    load = _to_verdict([*reply["load"][:3], None])
    tests = tuple(_to_verdict(step) for step in reply["tests"])
    decisive = load
    if load.outcome is Outcome.PASSED and tests:
        outcome = worst([test.outcome for test in tests])
        decisive = next(test for test in tests if test.outcome is outcome)
    return Result(decisive.outcome, round(reply["seconds"], 6), decisive.message, tests)


def _to_verdict(step: list[Any]) -> Verdict:
    outcome, seconds, message, packed = step
    verdict = Verdict(Outcome(outcome), round(seconds, 6), message)
    if packed is None:
        return verdict
    from plum_hub.sandbox.inside.values import loads_plain

    recorded, times, digested = loads_plain(b64decode(packed))
    return replace(verdict, values=recorded, times=times, digested=digested)
