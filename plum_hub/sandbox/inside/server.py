"""One worker of the sandbox: takes jobs from `engine.py`, brings tester and program together, watches the clock.

    python -s -B -X utf8 -c START INSIDE'S-PARENT SECCOMP'S-PARENT DIRECTORY LIMITS      (`START` is in engine.py)

(not `python -I`: that flag also ignores PYTHONHASHSEED, and then the order of sets, hence a verdict, would depend on
which worker a program meets.) Standard input is a socket to the engine; frames are four bytes of length, then

    request  pickle of {"program", "tests" (pickled; None: as before), "seconds", "total_seconds", "alone": bool,
             "stop": bool}
    reply    JSON {"seconds", "load": [outcome, seconds, message], "tests": [[outcome, seconds, message, values], ...]},
             or {"again": true} when a step was over its time without computing, and `alone` was not set

The first reply says which walls stand. The engine is trusted, and so is the code of server and zygote; testers and
programs are not. Time limits are for processor time, which a busy machine does not change much; see `Watch`.
"""

import contextlib
import gc
import importlib
import json
import marshal
import math
import os
import pickle
import re
import resource
import select
import signal
import socket
import sys
import time
from typing import Any, NoReturn

from . import alarm, subject, walls, zygote
from .alarm import ASLEEP, HARDLY, STARVED
from .common import (
    DIVERGED,
    PR_SET_CHILD_SUBREAPER,
    PR_SET_PDEATHSIG,
    WARM,
    Closed,
    call_process,
    limit,
    prctl,
    read_frame,
    receive,
    send,
    short,
    write_frame,
)

SCRATCH = "/scratch"  # within the sandbox's own root
MAX_OPEN_FILES = 256
SUITES = 1000  # that one tester runs, lest memory becomes fragmented
OUT_OF_TIME = "not judged: the time for this program ran out"
NOT_RUN = "not run: a test before did not pass"
LOAD = 5.0  # times the shortest limit of a call, where calls have limits: for loading the program

#: What takes long to import: programs that name any of it are forked from a zygote that has it.
HEAVY = (
    "numpy pandas scipy sklearn matplotlib seaborn sympy networkx nltk requests PIL cv2 "
    "argparse array asyncio calendar cmath concurrent csv ctypes dataclasses datetime decimal fractions "
    "hashlib inspect logging multiprocessing numbers pathlib pickle queue secrets shutil socket sqlite3 statistics "
    "struct subprocess tempfile textwrap threading traceback unittest urllib uuid xml zlib"
)
#: The part of a library that most programs use and that takes the time. Only where programs may have much memory: what
#: the zygote holds counts for each of them.
PARTS = {
    "matplotlib": ("matplotlib.figure", "matplotlib.font_manager"),  # not pyplot, which chooses a backend
    "scipy": ("scipy.stats",),
    "sklearn": ("sklearn.ensemble", "sklearn.linear_model", "sklearn.cluster"),
}
PARTS_MB = 4096
HEAVY_IMPORT = re.compile(rf"^\s*(?:import|from)\s+({'|'.join(HEAVY.split())})\b", re.MULTILINE)

Step = list[Any]  # outcome, seconds, message, values

#: What a tester may say of a test. Of the load: what `subject.py` says.
TEST_OUTCOMES = {"passed", "failed", "error", "memory", "output_limit", "blocked", "syntax_error"}
LOAD_OUTCOMES = {"passed", "syntax_error", "load_error", "memory", "output_limit"}


class Gone(Exception):
    """Nobody waits for this job any more, or a zygote died: this server is done."""


class Again(Exception):
    """A step took too long without computing: to be tried alone."""


def verdict_of_status(status: int | None, why: str) -> tuple[str, str]:
    """(outcome, message) of a program's process that ended, or broke the protocol, in the middle of a step."""
    if why.startswith(("sent what", "spoke", "a frame")) and (status is None or os.WIFEXITED(status)):
        return "blocked", short(why)  # it may have left since: we hung up on it
    if status is None:
        return "crashed", short(why)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == subject.MEMORY_STATUS:
        return "memory", "out of memory"
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == alarm.WAITING_STATUS:
        return "timeout", "a call was over its time, waiting"
    if not os.WIFSIGNALED(status):
        return "crashed", f"left with exit status {os.waitstatus_to_exitcode(status)}"
    number = os.WTERMSIG(status)
    if number == signal.SIGXFSZ:
        return "output_limit", "wrote too much"
    if number == signal.SIGXCPU:
        return "timeout", "too much processor time"
    if number == signal.SIGPROF:
        return "timeout", "a call was over its time, computing"
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return "crashed", f"killed by {name}"


class Diverged(Exception):
    """The program was asked ahead what its tests did not ask: to be tried again, carefully."""


class Tester:
    """The process that runs suites."""

    def __init__(self, others: list[socket.socket]) -> None:
        self.control, theirs = socket.socketpair()
        self.suites = 0  # that it got
        self.current = False  # whether it has the suite of the job
        self.dead = False  # as far as we have noticed
        self.pid = os.fork()
        if self.pid == 0:
            try:
                for connection in (self.control, *others):
                    connection.close()
                os.close(0)
                os.open(os.devnull, os.O_RDWR)
                os.dup2(0, 1)
                os.dup2(0, 2)
                from . import tester  # imported by `serve`: zygotes, forked before, do without

                call_process("plum-tester")
                tester.main(theirs)
            finally:
                os._exit(1)
        theirs.close()

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        try:
            return time.clock_gettime((~self.pid << 3) | 2)
        except OSError:
            return 0.0

    def end(self) -> int | None:
        """Kill it; its wait status if it had died by itself."""
        self.control.close()
        status = None
        give_up = time.monotonic() + zygote.DYING_SECONDS
        with contextlib.suppress(ChildProcessError, ProcessLookupError):
            while self.dead and time.monotonic() < give_up:
                reaped, status = os.waitpid(self.pid, os.WNOHANG)
                if reaped:
                    return status
                time.sleep(0.0005)
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        return None


class Zygote:
    """A fork server for programs: `zygote.py` in a process namespace of its own, if there are any."""

    def __init__(self, namespaces: str, scratch: str, limits: dict[str, Any], others: list[Any]) -> None:
        self.control, theirs = socket.socketpair()
        self.warm: set[str] = set()
        parent = os.getpid()
        pid = os.fork()
        if pid:
            theirs.close()
            if namespaces:
                os.waitpid(pid, 0)
            return
        try:
            for connection in (self.control, *others):
                connection.close()
            os.close(0)
            os.open(os.devnull, os.O_RDWR)
            alone = bool(namespaces) and walls.separate_pids([])
            if namespaces and os.fork():
                os._exit(0)
            if not alone:
                prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                prctl(PR_SET_CHILD_SUBREAPER, 1)
                if not namespaces and os.getppid() != parent:
                    os._exit(1)
            else:
                walls.remount_proc([])
            output = os.memfd_create("output") if hasattr(os, "memfd_create") else -1
            if output < 0:
                output = os.open(os.path.join(scratch, "..", "output"), os.O_RDWR | os.O_CREAT, 0o600)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.close(output)
            os.chdir(scratch)
            walls.seal(namespaces, walls.readable_paths(), [scratch], [])
            bound(limits)
            call_process("plum-program")  # its own name is what its forks inherit
            zygote.main(theirs, scratch, alone, limits)
        finally:
            os._exit(1)

    def tell(self, request: dict[str, Any], fd: int = -1) -> None:
        """One request. Raises Gone when the zygote is."""
        try:
            send(self.control, marshal.dumps(request), fd)
        except OSError as error:
            raise Gone(str(error)) from None

    def ask(self, request: dict[str, Any]) -> Any:
        """One request with an answer."""
        self.tell(request)
        try:
            return marshal.loads(read_frame(self.control.fileno()))
        except Closed as closed:
            raise Gone(str(closed)) from None


def bound(limits: dict[str, Any]) -> None:
    """The resource limits of all that this process forks; after `walls.seal`, which decides whose processes count."""
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_FSIZE, limits["output_bytes"])
    limit(resource.RLIMIT_NOFILE, MAX_OPEN_FILES)
    if walls.counts_processes():
        limit(resource.RLIMIT_NPROC, limits["processes"])
    limit(resource.RLIMIT_AS, limits["memory_mb"] << 20)


class Watch:
    """The clock of one step.

    A step is over its time when program and tester have *computed* for its limit, however long that took. One that
    hardly computes is waiting, and over its time after twice the limit; one that gets no processor time is given up
    after ten times. The last two depend on the machine: they count only when the program was alone (`Again`).
    """

    def __init__(self, seconds: float, deadline: float) -> None:
        self.seconds, self.deadline = seconds, deadline
        self.began = self.since = self.waits = time.monotonic()
        self.base = math.inf
        self.until = min(self.since + seconds, deadline)

    def step(self) -> float:
        """Seconds since the last step; the next begins."""
        now = time.monotonic()
        spent, self.since, self.waits = now - self.since, now, now
        self.until = min(now + self.seconds, self.deadline)
        self.base = math.inf
        return spent

    def begin(self, computed: float) -> None:
        """A process of the program begins: `computed` belongs to what ran before it. A second one of the same step (a
        challenge) has the limit anew."""
        self.base = computed
        self.waits = time.monotonic()
        self.until = min(self.waits + self.seconds, self.deadline)

    def over(self, computed: float) -> str:
        """Computing, waiting or total; empty if there is time left. `computed`: processor seconds since `began`."""
        now = time.monotonic()
        if now >= self.deadline:
            return "total"
        spent = now - self.waits
        # Where no process began with this step, at least so much of it was computed in it.
        mine = computed - (self.base if self.base < math.inf else self.since - self.began)
        if mine >= 0.9 * self.seconds:
            return "computing"
        if (spent >= ASLEEP * self.seconds and mine < HARDLY * spent) or spent >= STARVED * self.seconds:
            return "waiting"
        left = max(0.9 * self.seconds - mine, 0.02)
        asleep = self.waits + ASLEEP * self.seconds
        self.until = min(now + left, self.deadline, asleep if now < asleep else self.deadline)
        return ""


class Server:
    """What stays from job to job: zygotes, a tester, the last suite."""

    def __init__(self, line: socket.socket, scratch: str, light: Zygote, heavy: Zygote, limits: dict[str, Any]) -> None:
        self.line, self.scratch, self.light, self.heavy, self.limits = line, scratch, light, heavy, limits
        self.tests: list[Any] = []
        self.suite = b""  # the same, pickled
        self.tester: Tester | None = None
        self.zygotes = set(zygote.own_children())

    def drop(self) -> int | None:
        """End the tester: its suite is no longer wanted, or it is not to be trusted. Returns `Tester.end`'s.

        What its tests started goes with it. Raises Gone.
        """
        tests, self.tester = self.tester, None
        if tests is None:
            return None
        status = tests.end()
        give_up = time.monotonic() + zygote.PROCESS_CLEAR_SECONDS
        while left := [pid for pid in zygote.own_children() if pid not in self.zygotes]:
            if time.monotonic() > give_up:
                raise Gone("the processes of a test cannot be cleared")
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError, ChildProcessError):
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
        self.tidy()
        return status

    def tidy(self) -> None:
        """An empty scratch directory."""
        with contextlib.suppress(OSError):
            if os.listdir(self.scratch):
                zygote.remove_tree(self.scratch, keep=True)

    def job(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to one request. Raises Gone."""
        if request["tests"] is not None:
            self.suite = request["tests"]
            self.tests = pickle.loads(self.suite)
            if self.tester is not None:
                self.tester.current = False
                if self.tester.suites >= SUITES:
                    self.drop()
        began = time.monotonic()
        deadline = began + request["total_seconds"]
        count = len(self.tests)
        load: Step | None = None
        steps: list[Step] = []
        source = self.zygote(request["program"])
        careful = False
        while load is None or len(steps) < count:
            if load is not None and time.monotonic() >= deadline:
                steps += [["infra_error", 0.0, OUT_OF_TIME, None]] * (count - len(steps))
                break
            try:
                first, others = self.attempt(request, source, len(steps), deadline, careful)
            except Again:
                return {"again": True}
            except Diverged:
                careful = True
                deadline = time.monotonic() + request["total_seconds"]
                continue
            steps += others
            load = load or first
            if first[0] != "passed":  # at a second load, too: the tests that are left have nothing to run on
                steps += [[first[0], 0.0, first[2], None]] * (count - len(steps))
            if request["stop"] and steps and steps[-1][0] != "passed":
                steps += [[steps[-1][0], 0.0, NOT_RUN, None]] * (count - len(steps))
        return {"seconds": time.monotonic() - began, "load": load, "tests": steps}

    def zygote(self, program: str) -> Zygote:
        """Where to fork this program from."""
        named = set(HEAVY_IMPORT.findall(program))
        if any(not isinstance(test, str) and test[0] == "Unittest" for test in self.tests):
            named.add("unittest")
            for test in self.tests:
                named |= set(HEAVY_IMPORT.findall(test if isinstance(test, str) else str(test[1])))
        if not named:
            return self.light
        if named - self.heavy.warm:
            new = sorted(named - self.heavy.warm)
            if self.limits["memory_mb"] >= PARTS_MB:
                new += [part for name in new for part in PARTS.get(name, ())]
            self.heavy.tell({"warm": new})
            self.heavy.warm |= named
        return self.heavy

    def spawn(self, source: Zygote, program: str, script: bool = False, text: str = "") -> socket.socket:
        """A new process for the program; returns the tester's end of their socket."""
        ours, theirs = socket.socketpair()
        try:
            source.tell({"spawn": program, "script": script, "stdin": text}, theirs.fileno())
        finally:
            theirs.close()
        return ours

    def attempt(
        self, request: dict[str, Any], source: Zygote, first: int, deadline: float, careful: bool
    ) -> tuple[Step, list[Step]]:
        """One process of the program, or several if the tests ask for them, until a step cannot end.

        Returns the step of the load and those of the tests from number `first`. After a load that passed there is at
        least one test's, if any is left. Raises Gone, Again and, unless `careful`, Diverged.
        """
        calls = [test[6] for test in self.tests if not isinstance(test, str) and test[0] == "Calls" and test[6]]
        watch = Watch(min([request["seconds"], *(LOAD * min(limits) for limits in calls)]), deadline)
        if self.tester is None:
            self.tester = Tester([self.line, self.light.control, self.heavy.control])
        tests = self.tester
        suite = None
        if not tests.current:
            suite, tests.current = self.suite, True
            tests.suites += 1
        before = tests.cpu()
        eager = not self.tests or any(isinstance(t, str) or t[0] in ("Calls", "Record") for t in self.tests[first:])
        running = eager
        lasting = True
        ahead = False
        end = None
        steps: list[Step] = []
        try:
            if eager:
                end = self.spawn(source, request["program"])
            asked = pickle.dumps({"suite": suite, "first": first, "careful": careful, "stop": request["stop"]})
            send(tests.control, asked, end.fileno() if end else -1)
            if end:
                end.close()
            while True:
                kind, value = self.message(tests, watch, source, before)
                if kind == "spawn":
                    ended = source.ask({"cpu": 1})
                    watch.begin(ended + tests.cpu() - before)
                    before -= ended
                    self.end(source, False)
                    running = True
                    spawned = self.spawn(source, request["program"], bool(value[0]), str(value[1]))
                    send(tests.control, b"{}", spawned.fileno())
                    spawned.close()
                    continue
                if kind == "ahead":
                    ahead = True
                    continue
                if kind == "gone":
                    value, pure = value
                    lasting = lasting and bool(pure)
                    if value == DIVERGED and not careful:
                        raise Diverged
                if ahead and kind in ("computing", "waiting", "total"):
                    raise Diverged  # some of the time went into what was asked ahead
                given = watch.seconds
                if kind == "load":
                    watch.seconds = request["seconds"]
                seconds = watch.step()
                if kind in ("load", "test"):
                    outcome, message, values, pure = value if kind == "test" else (*value[:2], None, value[2])
                    lasting = lasting and bool(pure)
                    allowed = LOAD_OUTCOMES if kind == "load" else TEST_OUTCOMES
                    if outcome not in allowed or ((kind == "load") != (not steps) and outcome == "passed"):
                        raise OSError("the tester speaks nonsense")
                    if kind == "load" and steps:  # a later process of the program did not load
                        steps.append([outcome, seconds, short(str(message)), None])
                        return steps[0], steps[1:]
                    steps.append([outcome, seconds, short(str(message)), values])
                    if outcome in ("memory", "output_limit") or (kind == "load" and outcome != "passed"):
                        break
                    if len(steps) == 1 + len(self.tests) - first:
                        break
                    if request["stop"] and outcome != "passed":
                        break
                    continue
                if kind == "gone":
                    status, problem = self.end(source, True)
                    running = False
                    end_of = ("infra_error", problem) if problem else verdict_of_status(status, value)
                    if status == alarm.WAITING_STATUS << 8:
                        # A program may leave so by itself, and must not have the others wait for it.
                        if not calls or seconds < ASLEEP * min(map(min, calls)):
                            end_of = ("crashed", f"left with exit status {alarm.WAITING_STATUS}")
                        elif not request["alone"]:
                            raise Again
                elif kind == "total" and (steps or first or request["total_seconds"] > request["seconds"]):
                    # cut short by our budget, not by its own limit
                    end_of = ("infra_error", OUT_OF_TIME)
                elif kind == "waiting" and not request["alone"]:
                    raise Again
                else:
                    doing = "computing" if kind == "computing" else "waiting"
                    end_of = ("timeout", f"over {given:g} s, {doing}")
                if kind != "gone":
                    self.drop()
                steps.append([end_of[0], seconds, end_of[1], None])
                break
        except (Again, Diverged):
            self.drop()
            raise
        except (OSError, Closed, ValueError, TypeError) as error:  # the tester died or speaks nonsense
            tests.dead = True
            outcome, message = verdict_of_status(self.drop(), str(error))
            steps = steps or [["passed", 0.0, "", None]]
            steps.append([outcome, watch.step(), short(f"in the test: {message}"), None])
        finally:
            if running:
                self.end(source, False)
        if not lasting or any(step[0] in ("memory", "output_limit") for step in steps):
            self.drop()
        return steps[0], steps[1:]

    def end(self, source: Zygote, died: bool) -> tuple[int | None, str]:
        status, problem = source.ask({"end": died})
        self.tidy()
        return status, problem

    def message(self, tests: Tester, watch: Watch, source: Zygote, before: float) -> tuple[str, Any]:
        """The tester's next word, or why there is none: computing, waiting, total. Raises Gone, Closed, OSError."""
        poll = select.poll()
        poll.register(tests.control, select.POLLIN)
        poll.register(self.line, 0)  # only its hang-up
        while True:
            left = watch.until - time.monotonic()
            events = dict(poll.poll(max(0.0, left) * 1000 + 0.5))
            if self.line.fileno() in events:
                raise Gone
            if events:
                message = json.loads(receive(tests.control)[0])
                ((kind, value),) = message.items()
                if kind not in ("load", "test", "gone", "spawn", "ahead"):
                    raise ValueError("unknown word")
                return kind, value
            why = watch.over(source.ask({"cpu": 1}) + tests.cpu() - before)
            if why:
                return why, None


def serve(
    line: socket.socket, base: str, limits: dict[str, Any], namespaces: str, notes: list[str], register: Any
) -> None:
    """Set up walls and zygotes, then take jobs until the engine hangs up."""
    readable = walls.readable_paths(notes)
    scratch = os.path.join(base, "scratch")
    if namespaces and walls.rebuild(readable, SCRATCH, limits["scratch_mb"], notes):
        scratch = SCRATCH
    else:
        os.makedirs(scratch, exist_ok=True)
    os.environ["HOME"] = os.environ["TMPDIR"] = scratch
    os.chdir(scratch)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a first process without handlers cannot be signalled from inside
    # Python ignores it, and a program can swallow the error that a write then gives; the signal's default ends it.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    for name in WARM.split():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    os.register_at_fork = register
    light = Zygote(namespaces, scratch, limits, [line])
    heavy = Zygote(namespaces, scratch, limits, [line, light.control])
    importlib.import_module(".tester", __package__)
    stands = walls.seal(namespaces, readable, [scratch], notes)
    bound({**limits, "output_bytes": max(limits["output_bytes"], 1 << 20)})
    gc.freeze()
    call_process("plum-sandbox")
    server = Server(line, scratch, light, heavy, limits)
    facts = {**stands, "own_root": scratch == SCRATCH, "processes": walls.counts_processes(), "notes": notes}
    write_frame(line.fileno(), json.dumps(facts).encode())
    with contextlib.suppress(Gone, Closed, OSError):
        while True:
            request = pickle.loads(read_frame(line.fileno()))
            write_frame(line.fileno(), json.dumps(server.job(request)).encode())


def stand_by(pid: int, parent: int, above: int, base: str) -> NoReturn:
    """The launcher, outside the namespaces: waits for the server `pid`, ends it when the engine is gone, clears up."""
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while not os.waitpid(pid, os.WNOHANG)[0]:
        if hasattr(signal, "sigtimedwait"):
            signal.sigtimedwait({signal.SIGCHLD}, 1.0)
        else:
            time.sleep(0.2)
        if os.getppid() != parent:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    if os.getppid() != parent:
        os.fchdir(above)
        zygote.remove_tree(base)
    os._exit(0)


def main(register: Any) -> NoReturn:
    """Start: namespaces, then the server as the first process in them. `register` is os.register_at_fork."""
    base, limits = sys.argv[1], json.loads(sys.argv[2])
    parent = os.getppid()
    line = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)
    notes: list[str] = []
    above = os.open(os.path.dirname(base), os.O_RDONLY)  # the server will move the root of the namespace away
    namespaces = walls.separate(notes)
    launcher = os.getpid()
    pid = os.fork()
    if pid:
        line.close()
        stand_by(pid, parent, above, os.path.basename(base))
    try:
        os.close(above)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if not namespaces:
            if os.getppid() != launcher:
                os._exit(1)
            prctl(PR_SET_CHILD_SUBREAPER, 1)
        serve(line, base, limits, namespaces, notes, register)
    except BaseException:
        import traceback

        traceback.print_exc()  # to the log that the engine shows
    finally:
        os._exit(0)
