"""Which walls of the sandbox stand on this machine: every one is tried from inside, by programs that try to get out.

    for wall in examine():
        print(wall.name, wall.stands, wall.means)

Nothing here trusts what the sandbox says of itself but where a line says "reported": programs run in it with whatever
walls there are, and what they reached is looked for outside, in bait that is laid out for them: a secret file, a
process with a secret, listening sockets on loopback. Nothing is harmed where a wall is missing: signals are of number
0, files are taken away again, processes end by themselves.

A probe that could not run counts as a wall that does not stand. A wall that withstood these probes is no proof.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plum_hub.outcomes import Outcome
from plum_hub.sandbox.engine import Sandbox, SandboxError
from plum_hub.sandbox.jobs import Job, Limits, Result

LIMITS = Limits(seconds=3.0, total_seconds=20.0, memory_mb=512, output_bytes=200_000)
MOST_PROCESSES = 200
MOST_BYTES = 128 << 20  # written to find the end of the scratch directory, which should come at half of it


@dataclass(frozen=True)
class Wall:
    """One thing that programs must not do."""

    name: str
    stands: bool
    by: str  # what provides it here; "" if nothing does
    means: str  # what that means for the user, in words
    necessary: bool


@dataclass(frozen=True)
class Bait:
    """What programs are after; all of it is made for them and taken away afterwards."""

    secret: str
    files: list[str]  # the secret is in them
    folders: list[str]  # writable to everybody, or to this user
    process: int  # its environment has the secret, and it does nothing
    sockets: list[socket.socket]


# ------------------------------------------------------------------------------------------------------ the probes
# Programs with a function `probe` that gives "held", or says what it reached.

NETWORK = """
import socket
def probe(tcp, udp, name):
    stream, datagram = socket.SOCK_STREAM, socket.SOCK_DGRAM
    ways = (socket.AF_INET, stream, tcp), (socket.AF_INET, datagram, udp), (socket.AF_UNIX, stream, name)
    for family, kind, where in ways:
        try:
            with socket.socket(family, kind) as line:
                line.settimeout(1)
                line.connect(where)
                line.send(b"x")
        except OSError:
            pass
    return "held"
"""

READ = """
def probe(paths, secret, pids):
    for path in [*paths, *(f"/proc/{pid}/root{path}" for pid in pids for path in paths)]:
        try:
            with open(path) as file:
                if secret in file.read():
                    return "read " + path
        except OSError:
            pass
    return "held"
"""

ENVIRONMENT = """
import glob, os
def probe(secret):
    if secret in str(os.environ):
        return "found it in its own environment"
    for path in glob.glob("/proc/[0-9]*/environ"):
        try:
            with open(path, "rb") as file:
                if secret.encode() in file.read():
                    return "read " + path
        except OSError:
            pass
    return "held"
"""

WRITE = """
import os
def probe(paths):
    for path in paths:
        try:
            with open(path, "w") as file:
                file.write("x")
        except OSError:
            pass
    return "held"
"""

SIGNAL = """
import os
def probe(pids):
    reached = 0
    for pid in pids:
        try:
            os.kill(pid, 0)
            reached += 1
        except OSError:
            pass
    return f"found processes {pids}" if reached == len(pids) else "held"  # one alone may be another's number in here
"""

TRACE = """
import ctypes, os
def probe(pid):
    seize = ctypes.CDLL(None, use_errno=True).ptrace  # it does not stop what it seizes, and ends with us
    seize.argtypes = [ctypes.c_long] * 4
    if seize(0x4206, pid, 0, 0) == 0:
        return "attached to a process"
    try:
        open(f"/proc/{pid}/mem", "rb").close()
        return "opened a process's memory"
    except OSError:
        return "held"
"""

FORK = """
import os, time
def probe(most):
    for number in range(most):
        try:
            pid = os.fork()
        except OSError:
            return "held"
        if pid == 0:
            time.sleep(5)
            os._exit(0)
    return f"started {most} processes"
"""

MEMORY = """
def probe(size):
    try:
        block = bytearray(size)
    except MemoryError:
        return "held"
    return f"got {len(block) >> 20} MiB"
"""

SCRATCH = """
def probe(each, most):
    written = 0
    try:
        while written < most:
            with open(f"file{written}", "wb", buffering=0) as file:
                left = each
                while left > 0:
                    left -= file.write(bytes(left))
            written += each
    except OSError:
        return "held"
    return f"wrote {written >> 20} MiB"
"""

RIGHT = "def f(x):\n    return {expected}\n"
ALWAYS_EQUAL = (
    "__eq__ = __ge__ = __le__ = __bool__ = lambda *_: True\n    __ne__ = lambda *_: False\n    __hash__ = None\n"
)
FRAMES = """
import sys
def f(x):
    frame = sys._getframe()
    while frame:
        for value in [*frame.f_locals.values(), *frame.f_code.co_consts]:
            if type(value) is int and value >> 40:
                return value
        frame = frame.f_back
"""
CHEATS = {
    "an object that equals everything": f"class E:\n    {ALWAYS_EQUAL}\ndef f(x):\n    return E()\n",
    "a number that equals everything": f"class E(int):\n    {ALWAYS_EQUAL}\ndef f(x):\n    return E(7)\n",
    "leaving early": "import os\ndef f(x):\n    os._exit(0)\n",
    "leaving while it loads": "import sys\nsys.exit(0)\n",
    "looking at its caller": FRAMES,
    "being wrong": "def f(x):\n    return x\n",
    "another AssertionError": "import builtins\nbuiltins.AssertionError = None\ndef f(x):\n    return 0\n",
}


@contextmanager
def _bait() -> Iterator[Bait]:
    secret = secrets.token_hex(16)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="plum-doctor-"))
        os.chmod(folder, 0o777)
        files, folders = [], [folder, "/dev/shm", "/var/tmp"]
        for where in (folder, str(Path.home())):
            with contextlib.suppress(OSError):  # a home that does not exist, or is read-only
                file = stack.enter_context(tempfile.NamedTemporaryFile("w", dir=where, prefix=".plum-doctor-"))
                file.write(secret)
                file.flush()
                os.chmod(file.name, 0o644)
                files.append(file.name)
                folders.append(where)
        sockets = [
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM)),
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
            stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)),
        ]
        for line in sockets[:2]:
            line.bind(("127.0.0.1", 0))
        sockets[2].bind(os.path.join(folder, "socket"))
        os.chmod(sockets[2].getsockname(), 0o777)
        for line in (sockets[0], sockets[2]):
            line.listen()
        idle = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", "print(flush=True); input()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PLUM_DOCTOR": secret},
        )
        stack.enter_context(idle)  # closes its input, at which it ends
        assert idle.stdout
        idle.stdout.readline()
        stack.enter_context(_variable("PLUM_DOCTOR", secret))
        yield Bait(secret, files, list(dict.fromkeys(folders)), idle.pid, sockets)


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


def examine() -> list[Wall]:
    """Try every wall; takes some seconds, and never raises where one is missing."""
    unsafe = os.environ.pop("PLUM_UNSAFE", None)
    try:
        with Sandbox(workers=1):
            allowed, why = True, "programs are run here"
    except SandboxError as error:
        allowed, why = False, str(error)
    finally:
        if unsafe is not None:
            os.environ["PLUM_UNSAFE"] = unsafe
    try:
        with _bait() as bait, Sandbox(LIMITS, workers=1, unsafe=True) as sandbox:
            said = "; ".join([why, *sandbox.walls["notes"]])
            walls = [*_reported(sandbox.walls), *_tried(sandbox, bait)]
    except SandboxError as error:
        said, walls = f"{why}; it does not start at all: {error}", []
    return [Wall("sandbox", allowed, "reported" if allowed else "", said, True), *walls]


def _reported(walls: dict[str, Any]) -> list[Wall]:
    """What the sandbox says of its own walls."""
    kind, filtered, abi = (walls[key] for key in ("namespaces", "seccomp", "landlock"))
    namespaces = {
        "root": "programs have processes, network and file system of their own",
        "user": "programs have processes, network and file system of their own, as an unprivileged user",
        "": "programs share this machine's processes, network and file system; other walls must do",
    }
    return [
        Wall("namespaces", bool(kind), "Linux, reported" if kind else "", namespaces[kind], False),
        Wall(
            "seccomp",
            bool(filtered),
            "libseccomp, reported" if filtered else "",
            "dangerous system calls are " + ("refused" if filtered else "open to programs"),
            False,
        ),
        Wall(
            "landlock",
            bool(abi),
            f"Linux, ABI {abi}, reported" if abi else "",
            "files are " + ("closed but for what Python needs" if abi else "not closed by it"),
            False,
        ),
    ]


def _tried(sandbox: Sandbox, bait: Bait) -> list[Wall]:
    """What programs could not do."""
    name, secret = f"plum-doctor-{bait.secret}", bait.secret
    paths = [os.path.join(folder, name) for folder in bait.folders]
    pids = [os.getpid(), bait.process]
    addresses = [line.getsockname() for line in bait.sockets]
    kind, filtered, abi = (sandbox.walls[key] for key in ("namespaces", "seccomp", "landlock"))
    root, counted = (sandbox.walls.get(key) for key in ("own_root", "processes"))

    def by(*providers: tuple[Any, str]) -> str:
        return ", ".join(text for stands, text in providers if stands)

    def run(job: Job) -> Result:
        (result,) = sandbox.run([job])
        return result

    def wall(what: str, by: str, stands: str, program: str, *arguments: Any, evidence: Any = None) -> Wall:
        call = f"probe({', '.join(map(repr, arguments))})"
        result = run(Job(program, (f"got = {call}\nassert got == 'held', got",)))
        found = evidence() if evidence else ""
        if found or result.outcome is Outcome.FAILED:
            return Wall(what, False, "", f"a program {found or result.message.removeprefix('AssertionError: ')}", True)
        if result.outcome is not Outcome.PASSED:
            return Wall(what, False, "", f"could not be tried: {result.outcome}, {result.message}", True)
        return Wall(what, True, by, stands, True)

    def ends(what: str, by: str, stands: str, missing: str, program: str, outcome: Outcome) -> Wall:
        got = run(Job(program)).outcome
        held = got is outcome
        return Wall(what, held, by if held else "", stands if held else f"{missing} ({got})", True)

    def reached() -> str:
        ready = select.select(bait.sockets, [], [], 0.1)[0]
        kinds = [kind for line, kind in zip(bait.sockets, ("TCP", "UDP", "local"), strict=True) if line in ready]
        return f"reached a listener of this machine ({', '.join(kinds)} socket)" if ready else ""

    def written() -> str:
        found = [path for path in paths if os.path.exists(path)]
        for path in found:
            os.unlink(path)
        return f"wrote {', '.join(map(os.path.dirname, found))}" if found else ""

    return [
        _verdicts(run),
        wall(
            "network",
            by((kind, "network namespace"), (filtered, "seccomp")),
            "programs reach no network, and no service of this machine",
            NETWORK,
            *addresses,
            evidence=reached,
        ),
        wall(
            "reading files",
            by((root, "own root directory"), (abi, "Landlock")),
            "programs read no file but those of Python and its libraries",
            READ,
            bait.files,
            secret,
            pids,
        ),
        wall(
            "writing files",
            by((root, "own root directory"), (abi, "Landlock")),
            "programs write nothing outside a directory that is emptied after each",
            WRITE,
            paths,
            evidence=written,
        ),
        wall(
            "environment",
            by((True, "clean environment"), (root, "own /proc"), (not root and abi, "Landlock")),
            "programs see no variable (tokens, keys) of yours, nor of other processes",
            ENVIRONMENT,
            secret,
        ),
        wall(
            "signals",
            by((kind, "pid namespace"), (not kind and filtered, "seccomp"), (not kind and abi >= 6, "Landlock")),
            "programs can end no process but their own",
            SIGNAL,
            pids,
        ),
        wall(
            "tracing",
            by((kind, "pid namespace"), (filtered, "seccomp"), (not kind and not filtered, "no privileges")),
            "programs can neither read nor change other processes",
            TRACE,
            bait.process,
        ),
        wall(
            "number of processes",
            by((counted, "resource limit"), (not kind and filtered, "seccomp: it may start none")),
            "a program cannot fill the machine with processes",
            FORK,
            MOST_PROCESSES,
        ),
        wall(
            "memory",
            "resource limit",
            "a process cannot take all memory; a program's processes together still can",
            MEMORY,
            4 * LIMITS.memory_mb << 20,
        ),
        ends(
            "output",
            "resource limit",
            "a program that prints without end is stopped",
            "a program can print without end",
            f"print('x' * {5 * LIMITS.output_bytes})",
            Outcome.OUTPUT_LIMIT,
        ),
        ends(
            "time",
            "the sandbox",
            "a program that does not end is killed",
            "a program that does not end is not killed as such",
            "while True: pass",
            Outcome.TIMEOUT,
        ),
        _bounded(
            wall(
                "disk",
                "own file system in memory",
                "what a program writes is bounded in sum",
                SCRATCH,
                LIMITS.output_bytes // 2,
                MOST_BYTES,
            )
        ),
    ]


def _bounded(disk: Wall) -> Wall:
    """Where only each file is bounded, programs can still be run: it is a nuisance, not a way out."""
    return Wall(disk.name, disk.stands, disk.by, disk.means, False)


def _verdicts(run: Any) -> Wall:
    """Whether a right program passes, and nothing else does."""
    expected = secrets.randbits(60) | 1 << 59  # it is in no program but the right one
    test = (f"assert f(1) == {expected}",)
    if (right := run(Job(RIGHT.format(expected=expected), test))).outcome is not Outcome.PASSED:
        means = f"a right program does not pass: {right.outcome}, {right.message}"
    else:
        passing = [cheat for cheat, program in CHEATS.items() if run(Job(program, test)).outcome is Outcome.PASSED]
        means = f"a program can pass by {', '.join(passing)}" if passing else ""
    stands = "a program passes by right results only; that is not so for unittest classes, which share its process"
    return Wall("verdicts", not means, "" if means else "tests in a process of their own", means or stands, True)


# -------------------------------------------------------------------------------------------------------- the remedy


def fix(walls: list[Wall]) -> str:
    """One line that says what to do about walls that are missing."""
    if sys.platform != "linux":
        return "walls stand on Linux only: use a Linux machine or container, or --unsafe for programs that you trust"
    missing = {wall.name for wall in walls if not wall.stands}
    steps = []
    if "seccomp" in missing:
        steps.append("`apt install libseccomp2` and `pip install pyseccomp`")
    if "namespaces" in missing:
        steps.append(_allow_namespaces())
    if "landlock" in missing:
        steps.append("Linux 5.13 or later with Landlock among its security modules")
    steps = steps or ["what should prevent this is there: please report it"]
    return "; ".join([*steps, "or --unsafe for programs that you trust"])


def _allow_namespaces() -> str:
    for setting, refused in (
        ("kernel.unprivileged_userns_clone", "0"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1"),
        ("user.max_user_namespaces", "0"),
    ):
        with contextlib.suppress(OSError):
            if Path("/proc/sys", *setting.split(".")).read_text().strip() == refused:
                wanted = {"0": "1", "1": "0"}[refused] if setting.startswith("kernel") else "10000"
                return f"`sysctl -w {setting}={wanted}` as root, so that user namespaces may be made"
    if os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv"):
        options = " ".join(f"--security-opt {name}=unconfined" for name in ("seccomp", "apparmor", "systempaths"))
        return f"start the container with `{options}`, so that user namespaces may be made"
    return "let user namespaces be made (see `unshare -Ur true`)"
