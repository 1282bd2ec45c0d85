"""Runs untrusted Python programs against tests: programs and tests in, outcomes and durations out.

    with Sandbox(Limits(seconds=3.0)) as sandbox:
        for result in sandbox.run(Job(program, (test,)) for program, test in pairs):
            print(result.outcome, result.seconds, result.message)

Each worker is one clean interpreter (`child.py`) that forks a fresh process per program; one thread per worker here
only moves bytes. The stream may be endless: results come in the order of the jobs, and only a bounded number of jobs
is taken ahead of them.

What holds today, on Linux:

- a program runs in a process of its own, with neither this process' memory, environment, descriptors nor standard
  input; address space, file size, descriptors, processor time and core dumps are limited; it starts in an empty
  directory;
- no verdict is no pass: leaving by any kind of exit, printing what a verdict looks like, or an exit hook passes
  nothing;
- a step over its wall-clock limit is killed from outside with all its descendants, also those in sessions of their own,
  and the tests after it still get their verdicts;
- neither the end of this process, kill -9 included, nor a crash of a program leaves a process behind.

What does NOT hold yet, so do not run programs that are out to harm:

- a program can forge a pass: it shares a process with its tests, so it can return objects equal to everything, read the
  tests and the secret of the report pipe by walking frames, or patch what the tests use;
- the network is open, and so are the files that this user may read or write, outside the scratch directory as well;
- a program can signal every process of this user, its server and this very process included (a server that was killed
  is replaced and the job tried once more; grandchildren of that server may then stay behind);
- the bytes in the scratch directory are bounded per file only, memory per process only, and as root the number of
  processes is not bounded;
- a step close to its time limit may pass on an idle machine and not on a busy one; nothing is run again alone.

Scratch directories lie where `tempfile` puts them: TMPDIR=/dev/shm keeps a slow disk out of the durations.

On macOS there is no subreaper: a descendant that left the session survives its program.
"""

import contextlib
import json
import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

from plum_hub.outcomes import Outcome, worst
from plum_hub.sandbox.child import remove_tree

#: Jobs taken from the stream before the first result is asked for, per worker. High enough that one program that runs
#: into its time limit at the head of the line does not leave the other workers without work for long.
LOOK_AHEAD = 256

START_SECONDS = 60.0  # for a server to import its modules, on a very busy machine
GRACE_SECONDS = 30.0  # beyond a job's own total, before a server is taken for hung
END_SECONDS = 5.0  # for a server to clear up after its input closed
ATTEMPTS = 2  # servers that may die on a job before it is our error

CHILD = Path(__file__).with_name("child.py")


@dataclass(frozen=True)
class Limits:
    """What one program may use."""

    seconds: float = 3.0  # wall clock, for loading the program and for each test
    total_seconds: float = 10.0  # wall clock, for a program with all its tests
    memory_mb: int = 1024  # address space, MiB
    output_bytes: int = 1_000_000  # standard output and error together; also the size of any file it writes


@dataclass(frozen=True)
class Job:
    """A program and its tests: each test is Python source, run below the program in its namespace, one after another.

    The program sees `__name__ == "solution"`, its tests see "__main__".
    """

    program: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """One test of a program. `message` is "" or one line of at most 200 characters."""

    outcome: Outcome
    seconds: float
    message: str


@dataclass(frozen=True)
class Result:
    """A program with all its tests.

    `outcome` is that of loading the program if it did not load, else the worst of its tests (PASSED without tests), and
    `message` belongs to it. There is one verdict per test, in order; a program that did not load gives every test the
    load's outcome, at 0 seconds.
    """

    outcome: Outcome
    seconds: float
    message: str
    tests: tuple[Verdict, ...]


class SandboxError(RuntimeError):
    """The sandbox itself does not work here: its interpreter does not start."""


class _ServerDied(Exception):
    """The server ended, hung or spoke nonsense."""


class _Server:
    """One fork server process with its private directory."""

    def __init__(self) -> None:
        """Start it and wait until it is ready. Raises SandboxError."""
        self.base = tempfile.mkdtemp(prefix="plum-sandbox-")
        scratch = os.path.join(self.base, "scratch")
        environment = {
            "PATH": os.defpath,
            "HOME": scratch,
            "TMPDIR": scratch,
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "PYTHONHASHSEED": "0",
            # Numeric libraries start a thread per core at import; their stacks alone can exceed the address space.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        log = os.path.join(self.base, "log")
        # One socket for both ways and not two pipes: it can be shut down while a thread waits on it, and even if
        # another process that was forked from this one still holds a copy.
        self.socket, theirs = socket.socketpair()
        try:
            with theirs, open(log, "wb") as errors:
                self.process = subprocess.Popen(
                    [sys.executable, "-s", "-P", "-B", "-X", "utf8", str(CHILD), self.base],
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=errors,
                    env=environment,
                    cwd=self.base,
                    start_new_session=True,  # Ctrl-C is for this process; the server ends when its input does
                )
        except OSError as error:
            self.socket.close()
            remove_tree(self.base)
            raise SandboxError(f"the sandbox's interpreter does not start: {error}") from error
        try:
            self._receive(time.monotonic() + START_SECONDS)
        except _ServerDied as error:
            said = ""
            with contextlib.suppress(OSError):
                said = Path(log).read_text(errors="replace").strip()[-500:]
            self.close()
            raise SandboxError(f"the sandbox's interpreter does not start: {said or error}") from None

    def ask(self, job: Job, limits: Limits) -> dict[str, Any]:
        """The reply to one job. Raises _ServerDied; the server is of no use then."""
        request = json.dumps({"program": job.program, "tests": job.tests, **asdict(limits)}).encode()
        deadline = time.monotonic() + limits.total_seconds + GRACE_SECONDS
        try:
            self.socket.settimeout(limits.total_seconds + GRACE_SECONDS)
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
        remove_tree(self.base)  # it does so itself, unless it was killed


_Task = tuple[Job, "Future[Result]"]


class Sandbox:
    """A pool of workers; use it as a context manager. Safe to share between threads."""

    def __init__(self, limits: Limits = Limits(), workers: int | None = None) -> None:
        """`workers` is the number of programs run at once; by default one per core. Raises ValueError below one."""
        self.limits = limits
        self.workers = (os.cpu_count() or 1) if workers is None else workers
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        #: The most jobs taken from a stream beyond the results handed out.
        self.look_ahead = LOOK_AHEAD * self.workers
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._servers: dict[int, _Server] = {}  # by worker number
        self._lock = threading.Lock()
        self._closed = False
        self._process = os.getpid()

    def __enter__(self) -> "Sandbox":
        if self._closed or self._threads:
            raise SandboxError("a Sandbox is entered once")
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
                waiting.append(self._submit(job))
            for job in jobs:
                waiting.append(self._submit(job))
                yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def _submit(self, job: Job) -> "Future[Result]":
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
        for _ in range(ATTEMPTS):
            server = self._server(number)
            try:
                return _to_result(server.ask(job, self.limits))
            except _ServerDied:
                self._drop(number)
        verdict = Verdict(Outcome.INFRA_ERROR, 0.0, "the sandbox's server died on this program, more than once")
        return Result(verdict.outcome, 0.0, verdict.message, (verdict,) * len(job.tests))

    def _server(self, number: int) -> _Server:
        server = self._servers.get(number)
        if server is None and not self._closed:
            server = _Server()
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


def _to_result(reply: dict[str, Any]) -> Result:
    """The reply of `child.py` as a Result."""
    load, *tests = (
        Verdict(Outcome(outcome), round(seconds, 6), message)
        for outcome, seconds, message in [reply["load"], *reply["tests"]]
    )
    decisive = load
    if load.outcome is Outcome.PASSED and tests:
        outcome = worst([test.outcome for test in tests])
        decisive = next(test for test in tests if test.outcome is outcome)
    return Result(decisive.outcome, round(reply["seconds"], 6), decisive.message, tuple(tests))
