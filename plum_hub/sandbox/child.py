"""The program that runs in the sandbox's own clean interpreter: a fork server for untrusted code.

It is started by `engine.py` as a script, one process per worker, with a scrubbed environment and a socket as its
standard input:

    python -s -P -B -X utf8 child.py WORK_DIRECTORY

(not `python -I`: that flag also ignores PYTHONHASHSEED, and then the order of sets, hence a verdict, would depend on
which worker a program meets.) It imports the usual modules once, says it is ready with an empty reply, then reads one
job after another from the socket and writes one reply each, as frames: four bytes of length, big-endian, then JSON in
ASCII.

    request  {"program": str, "tests": [str],
              "seconds": float, "total_seconds": float, "memory_mb": int, "output_bytes": int}
    reply    {"seconds": float, "load": [outcome, seconds, message], "tests": [[outcome, seconds, message], ...]}

For every job it forks a *runner*: own session, resource limits, an empty scratch directory, no inherited descriptor but
its output and a report pipe. The runner loads the program, then runs the tests one by one in the same namespace, and
reports after each step. This process watches the wall clock from outside. When a step is over time, or the runner dies,
the step gets its verdict, the runner and all its descendants are killed, and a new runner goes on with the next test.

It ends, with everything below it, when the socket is shut down or its parent is gone.

Standard library only: the runners inherit whatever is in memory here. What this does *not* guard against is listed in
`engine.py`.
"""

import contextlib
import ctypes
import errno
import gc
import importlib
import json
import os
import random
import resource
import select
import signal
import stat
import sys
import time
import types

# Own names for what the runner uses after the program ran: a program that replaces a builtin must not break its report.
from builtins import compile, enumerate, exec, isinstance, len, str, type  # noqa: UP029
from collections.abc import Callable
from math import ceil
from typing import Any, NoReturn

#: Modules nearly every program imports: loaded once here, free in every runner.
WARM = (
    "abc array bisect calendar cmath collections collections.abc contextlib copy dataclasses datetime decimal enum "
    "fractions functools hashlib heapq inspect io itertools json math numbers operator os queue random re statistics "
    "string struct sys textwrap threading time traceback typing unittest"
)

MESSAGE_LIMIT = 200  # characters
MAX_PROCESSES = 4096  # of the user, not of the program: a lower bound would fail threads on a busy desktop
MAX_OPEN_FILES = 256
PROCESS_CLEAR_SECONDS = 10.0  # to kill what a program left behind, before giving up on this whole server
OUT_OF_TIME = "not judged: the time for this program ran out"

#: What a runner may say of the program (0) and of a test (1). Anything else it says is taken for a forgery.
SAYABLE = (
    {"passed", "syntax_error", "load_error", "memory", "output_limit", "infra_error"},
    {"passed", "failed", "error", "memory", "output_limit"},
)
#: After these the namespace is not to be trusted: the next test gets a new runner.
SPOILED = {"memory", "output_limit"}

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

Step = tuple[str, float, str]  # outcome, seconds, message


def prctl(option: int, value: int) -> None:
    """Linux' prctl(2), best effort; nothing elsewhere (macOS has no subreaper and no parent-death signal)."""
    if LIBC is not None:
        with contextlib.suppress(OSError, AttributeError):
            LIBC.prctl(option, value, 0, 0, 0)


LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


# ---------------------------------------------------------------------------------------------- frames


def read_exactly(fd: int, size: int, parent: int) -> bytes | None:
    """`size` bytes from `fd`; None at its end, or once process `parent` is no longer ours.

    The parent is looked at because another process forked from it may hold the other end of the pipe open.
    """
    chunks = bytearray()
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while len(chunks) < size:
        if not poll.poll(1000):
            if os.getppid() != parent:
                return None
            continue
        chunk = os.read(fd, size - len(chunks))
        if not chunk:
            return None
        chunks += chunk
    return bytes(chunks)


def read_request(fd: int, parent: int) -> dict[str, Any] | None:
    """The next job, or None when there is nobody left to send one."""
    head = read_exactly(fd, 4, parent)
    body = head and read_exactly(fd, int.from_bytes(head, "big"), parent)
    if not body:
        return None
    request: dict[str, Any] = json.loads(body)
    return request


def write_frame(fd: int, body: bytes) -> None:
    """One frame to `fd`. Raises OSError when the reader is gone."""
    data = memoryview(len(body).to_bytes(4, "big") + body)
    while data:
        data = data[os.write(fd, data) :]


# ---------------------------------------------------------------------------------------------- scratch directory


def remove_tree(path: str) -> None:
    """Remove a directory tree of any depth, without following links and without recursion.

    Directories are lifted to the top level before they are emptied, so that ten thousand nested ones cost no more than
    ten thousand in a row. Best effort: what the system refuses to remove stays.
    """
    with contextlib.suppress(OSError):
        os.chmod(path, 0o700)
        count = 0
        waiting = [path]
        while waiting:
            folder = waiting.pop()
            for entry in list(os.scandir(folder)):
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        os.chmod(entry.path, 0o700)
                        count += 1
                        lifted = os.path.join(path, f"lifted-{count}-{os.urandom(4).hex()}")
                        os.rename(entry.path, lifted)
                        waiting.append(lifted)
                    else:
                        os.unlink(entry.path)
            if folder != path:
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
        os.rmdir(path)


def fresh_scratch(base: str) -> str:
    """An empty directory, always at the same path below `base`; what a program left there before is removed.

    Raises OSError when it cannot be made.
    """
    scratch = os.path.join(base, "scratch")
    with contextlib.suppress(OSError):
        # The usual case: nothing was written. Left as it is: on a busy disk a new one can cost more than all the rest.
        if os.lstat(scratch).st_mode == stat.S_IFDIR | 0o700 and not os.listdir(scratch):
            return scratch
        os.rmdir(scratch)
    try:
        os.mkdir(scratch, 0o700)
    except OSError:
        os.chmod(base, 0o700)
        old = os.path.join(base, f"old-{os.urandom(8).hex()}")
        os.rename(scratch, old)
        if stat.S_ISDIR(os.lstat(old).st_mode):
            remove_tree(old)
        else:
            os.unlink(old)
        os.mkdir(scratch, 0o700)
    return scratch


# ---------------------------------------------------------------------------------------------- in the runner


def limit(kind: int, value: int) -> None:
    """Set a resource limit, soft and hard, never above the hard one in force. Best effort where a system refuses."""
    _, hard = resource.getrlimit(kind)
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (bound, bound))


def describe(error: BaseException) -> str:
    """One short line on an exception: "ValueError: bad". Never raises, though `str(error)` is untrusted code."""
    name = type(error).__name__
    try:
        text = " ".join(str(error)[: 10 * MESSAGE_LIMIT].split())
    except BaseException:
        text = "(no message)"
    line = f"{name}: {text}" if text else name
    return line.encode("utf-8", "backslashreplace").decode()[:MESSAGE_LIMIT]


def classify(error: BaseException, asserted: str, otherwise: str) -> tuple[str, str]:
    """(outcome, message) of an exception; `asserted` is the outcome of an AssertionError, `otherwise` of the rest."""
    if isinstance(error, MemoryError):
        outcome = "memory"
    elif isinstance(error, OSError) and error.errno == errno.EFBIG:
        outcome = "output_limit"
    elif isinstance(error, AssertionError):
        outcome = asserted
    else:
        outcome = otherwise
    return outcome, describe(error)


def run_source(
    source: str, name: str, namespace: dict[str, Any], flush: Callable[[], None], *, test: bool
) -> tuple[str, str]:
    """(outcome, message) of compiling and executing `source` in `namespace`."""
    try:
        try:
            code = compile(source, name, "exec", dont_inherit=True)
        except BaseException as error:
            # ValueError: null bytes, lone surrogates. RecursionError, MemoryError: nesting the compiler gives up on.
            return "error" if test else "syntax_error", describe(error)
        exec(code, namespace)
        flush()  # here, so that what is still buffered counts for this step
    except BaseException as error:
        asserted, otherwise = ("failed", "error") if test else ("load_error", "load_error")
        return classify(error, asserted, otherwise)
    return "passed", ""


def confine(request: dict[str, Any], scratch: str, output: int, report: int, server: int) -> None:
    """Turn this freshly forked process into a runner of process `server`. Raises OSError when a step of it fails."""
    os.setsid()
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        raise ProcessLookupError("the server died before it could be watched")
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(3, report)
    os.closerange(report + 1, 4 * MAX_OPEN_FILES)
    os.chdir(scratch)
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_FSIZE, request["output_bytes"])
    limit(resource.RLIMIT_CPU, ceil(request["total_seconds"]) + 2)  # only a backstop: the wall clock comes first
    limit(resource.RLIMIT_NOFILE, MAX_OPEN_FILES)
    limit(resource.RLIMIT_NPROC, MAX_PROCESSES)
    limit(resource.RLIMIT_AS, request["memory_mb"] << 20)


def run(
    server: int,
    request: dict[str, Any],
    first: int,
    scratch: str,
    output: int,
    report: int,
    nonce: bytes,
) -> NoReturn:
    """The runner: load the program, run the tests from number `first` on, report each step, and leave.

    A report is one write: length, nonce, number of the step (0 is the load), outcome, newline, message.
    """
    # Bound now: the program may replace them in their modules, by accident or not.
    write, getpid, leave = os.write, os.getpid, os._exit
    stdout, stderr, me = sys.stdout, sys.stderr, os.getpid()

    def flush() -> None:
        for stream in (stdout, stderr):
            with contextlib.suppress(ValueError):  # the program closed it
                stream.flush()

    def say(step: int, outcome: str, message: str) -> None:
        if getpid() != me:
            leave(1)  # a copy the program forked of itself and let run on: it has no say
        body = nonce + step.to_bytes(4, "big") + outcome.encode() + b"\n" + message.encode()
        write(report, len(body).to_bytes(4, "big") + body)

    try:
        try:
            confine(request, scratch, output, report, server)
        except OSError as error:
            say(0, "infra_error", describe(error))
            leave(1)
        gc.enable()
        random.seed(0)  # a fork reseeds from the system; same inputs must give the same verdict
        # Tests run under "__main__", as if they stood below the program in one file: a guarded call in a test must
        # not be skipped, for a test that does nothing passes. The program itself loads under a name that leaves its
        # guard alone.
        module = types.ModuleType("solution")
        sys.modules["solution"] = sys.modules["__main__"] = module
        sys.argv[:] = ["solution.py"]
        namespace = module.__dict__
        outcome, message = run_source(request["program"], "<program>", namespace, flush, test=False)
        say(0, outcome, message)
        if outcome != "passed":
            leave(0)
        namespace["__name__"] = "__main__"
        for number, test in enumerate(request["tests"][first:], first):
            outcome, message = run_source(test, f"<test {number}>", namespace, flush, test=True)
            say(number + 1, outcome, message)
            if outcome in SPOILED:
                break
    finally:
        leave(0)  # no atexit, no finalizer: the last word was said above


# ---------------------------------------------------------------------------------------------- around the runner


def own_children() -> list[int]:
    """The process ids of this process' children, orphans it inherited included. Linux; elsewhere empty."""
    try:
        with open("/proc/thread-self/children") as listing:
            return [int(pid) for pid in listing.read().split()]
    except OSError:
        pass
    found = []
    me = str(os.getpid())
    for name in os.listdir("/proc") if os.path.isdir("/proc") else []:
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError), open(f"/proc/{name}/stat", "rb") as status:
                if status.read().rpartition(b")")[2].split()[1].decode() == me:
                    found.append(int(name))
    return found


def end(pid: int) -> int:
    """Kill runner `pid` and all its descendants, wait for them, and return the runner's wait status.

    This process is a subreaper: a descendant whose parent dies becomes its child, wherever it hid. Raises TimeoutError
    when they multiply faster than they die.
    """
    for kill in (os.kill, os.killpg):  # both: the runner may not have got as far as its own session
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    give_up = time.monotonic() + PROCESS_CLEAR_SECONDS
    while True:
        try:
            reaped = os.waitpid(-1, os.WNOHANG)[0]
        except ChildProcessError:
            return status
        if reaped:
            continue
        for child in own_children():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        if time.monotonic() > give_up:
            raise TimeoutError("the program's processes cannot be cleared")
        time.sleep(0.0005)


def verdict_of_status(status: int) -> tuple[str, str]:
    """(outcome, message) of a runner that ended without saying so."""
    if not os.WIFSIGNALED(status):
        return "crashed", f"left with exit status {os.waitstatus_to_exitcode(status)}"
    number = os.WTERMSIG(status)
    if number == signal.SIGXFSZ:
        return "output_limit", "wrote too much"
    if number == signal.SIGXCPU:
        return "timeout", "too much processor time"
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return "crashed", f"killed by {name}"


def parse_reports(buffer: bytearray, nonce: bytes) -> list[tuple[int, str, str]] | None:
    """Take whole reports (step, outcome, message) off the front of `buffer`; None when it holds anything else."""
    reports = []
    while len(buffer) >= 4:
        size = int.from_bytes(buffer[:4], "big")
        if size > 8192:
            return None
        if len(buffer) < 4 + size:
            break
        body = bytes(buffer[4 : 4 + size])
        del buffer[: 4 + size]
        if not body.startswith(nonce) or len(body) < len(nonce) + 4:
            return None
        outcome, _, message = body[len(nonce) + 4 :].partition(b"\n")
        step = int.from_bytes(body[len(nonce) : len(nonce) + 4], "big")
        reports.append((step, outcome.decode("utf-8", "replace"), message.decode("utf-8", "replace")[:MESSAGE_LIMIT]))
    return reports


class Gone(Exception):
    """Nobody waits for this job any more."""


class Server:
    """What stays the same from job to job: the directory, the open output file, the parent."""

    def __init__(self, base: str, requests: int, parent: int) -> None:
        self.base = base
        self.requests = requests
        self.parent = parent
        if hasattr(os, "memfd_create"):
            self.output = os.memfd_create("output")  # file size limits hold for it, and no disk is involved
        else:
            self.output = os.open(os.path.join(base, "output"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def attempt(self, request: dict[str, Any], first: int, deadline: float) -> list[Step]:
        """One runner: the step of the load, then those of the tests from number `first`, until it ends.

        `deadline` is for the whole program, on the monotonic clock. The last step tells why it ended; after a load that
        passed there is at least one test's. Raises Gone when the parent went away, OSError when no process can be made.
        """
        began = time.monotonic()
        scratch = fresh_scratch(self.base)
        os.ftruncate(self.output, 0)
        os.lseek(self.output, 0, os.SEEK_SET)
        nonce = os.urandom(16)
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        me = os.getpid()
        pid = os.fork()
        if pid == 0:
            run(me, request, first, scratch, self.output, writer, nonce)
        os.close(writer)
        pidfd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1
        try:
            steps, cause = self.watch(reader, pidfd, request, first, began, deadline, nonce)
        finally:
            os.close(reader)
            if pidfd >= 0:
                os.close(pidfd)
            status = end(pid)
        if cause is not None:
            outcome, message = verdict_of_status(status) if cause == ("ended", "") else cause
            spent = time.monotonic() - began - sum(seconds for _, seconds, _ in steps)
            steps.append((outcome, spent, message))
        return steps

    def watch(
        self, reader: int, pidfd: int, request: dict[str, Any], first: int, began: float, deadline: float, nonce: bytes
    ) -> tuple[list[Step], tuple[str, str] | None]:
        """The steps reported, and why the next was not: (outcome, message), ("ended", ""), or None if none is due."""
        steps: list[Step] = []
        due = 1 + len(request["tests"]) - first
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        poll.register(self.requests, 0)  # only its hang-up
        if pidfd >= 0:
            poll.register(pidfd, select.POLLIN)
        longest = 1.0 if pidfd >= 0 else 0.05
        buffer = bytearray()
        since = began
        while True:
            until = min(since + request["seconds"], deadline)
            left = until - time.monotonic()
            events = dict(poll.poll(max(0.0, min(left, longest)) * 1000 + 0.5))
            now = time.monotonic()
            if self.requests in events or (not events and os.getppid() != self.parent):
                raise Gone
            data = None
            with contextlib.suppress(BlockingIOError):
                data = os.read(reader, 65536)
            if data:
                buffer += data
                reports = parse_reports(buffer, nonce)
                if reports is None:
                    return steps, ("crashed", "wrote to the sandbox's pipe")
                for step, outcome, message in reports:
                    expected = 0 if not steps else first + len(steps)
                    if len(steps) == due or step != expected or outcome not in SAYABLE[bool(steps)]:
                        return steps, ("crashed", "wrote to the sandbox's pipe")
                    steps.append((outcome, now - since, message))
                    since = now
                    if (len(steps) == 1 and outcome != "passed") or outcome in SPOILED or len(steps) == due:
                        return steps, None
            elif pidfd in events:
                return steps, ("ended", "")
            elif data == b"":
                # A dying process closes its descriptors a moment before it is dead.
                if pidfd >= 0 and not select.select([pidfd], [], [], 0.1)[0]:
                    return steps, ("crashed", "closed the sandbox's pipe, or became another program")
                return steps, ("ended", "")
            elif now >= until:
                if until == deadline and (steps or first):  # cut short by our budget, not by its own limit
                    return steps, ("infra_error", OUT_OF_TIME)
                return steps, ("timeout", f"over {request['seconds']:g} s")

    def job(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to one request. Raises what `attempt` raises."""
        began = time.monotonic()
        deadline = began + request["total_seconds"]
        count = len(request["tests"])
        load: Step | None = None
        tests: list[Step] = []
        while load is None or len(tests) < count:
            if load is not None and time.monotonic() >= deadline:
                tests += [("infra_error", 0.0, OUT_OF_TIME)] * (count - len(tests))
                break
            first, *others = self.attempt(request, len(tests), deadline)
            tests += others
            load = load or first
            if first[0] != "passed":  # at a second load, too: the tests that are left have nothing to run on
                tests += [(first[0], 0.0, first[2])] * (count - len(tests))
        return {"seconds": time.monotonic() - began, "load": load, "tests": tests}


def main() -> None:
    """Serve jobs until the socket is shut down."""
    base, parent = sys.argv[1], os.getppid()
    line = os.dup(0)  # a socket, both ways; the copy is not inheritable
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    # Python ignores it, and a program can swallow the error that a write then gives; the signal's default ends it.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    for name in WARM.split():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    server = Server(base, line, parent)
    gc.disable()
    gc.freeze()  # leave the shared pages alone when a runner collects
    try:
        write_frame(line, b"{}")  # ready
        while (request := read_request(line, parent)) is not None:
            write_frame(line, json.dumps(server.job(request)).encode())
    except (Gone, BrokenPipeError, ConnectionResetError):
        pass
    finally:
        remove_tree(base)


if __name__ == "__main__":
    main()
