"""The sandbox under attack: hostile programs neither forge a pass nor reach what is not theirs, and honest ones pass.

Every hostile program is followed, on the same worker, by honest and wrong ones: theirs must be the verdicts that they
get without it. What a program reached is looked at from outside wherever that is possible.
"""

import contextlib
import ctypes.util
import importlib.util
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hostile import FORGERIES, HONEST, KNOWN, TESTS, WIRE_CONTROLS, Attack

from plum_hub.outcomes import Outcome
from plum_hub.sandbox import Calls, Job, Limits, Record, Result, Sandbox, SandboxError, Stdin, Unittest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the walls are Linux'")

LIMITS = Limits(seconds=1.0, total_seconds=4.0)
TOKEN = f"hf_attack_{uuid.uuid4().hex}"
PASSED = Outcome.PASSED


# ---------------------------------------------------------------------------------------------- from outside


def stat_of(pid: int) -> tuple[int, str] | None:
    """(parent, start time) of a process; None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[1]), fields[19]


def parents() -> dict[int, tuple[int, str]]:
    """Every process: its parent and its start time."""
    found = {int(name): stat_of(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    return {pid: stat for pid, stat in found.items() if stat is not None}


def children() -> set[tuple[int, str]]:
    """Our own children: a server that died is not among them any more, and its successor is."""
    return {(pid, start) for pid, (parent, start) in parents().items() if parent == os.getpid()}


def descendants() -> set[int]:
    """All processes below this one."""
    known = parents()
    found: set[int] = set()
    level = {os.getpid()}
    while level:
        level = {pid for pid, (parent, _) in known.items() if parent in level} - found
        found |= level
    return found


def namespace_of(pid: int) -> str:
    """The process namespace of `pid`; "" when it is gone."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


class Watcher:
    """Looks at our descendants while something runs: how many there were, and how much memory they held, at most."""

    def __enter__(self) -> "Watcher":
        self.processes = 0
        self.bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            held, below = 0, descendants()
            for pid in below:
                with contextlib.suppress(OSError, ValueError, IndexError):
                    pages = Path(f"/proc/{pid}/statm").read_text().split()
                    held += (int(pages[1]) - int(pages[2])) * 4096  # without what is shared
            self.processes = max(self.processes, len(below))
            self.bytes = max(self.bytes, held)


# ---------------------------------------------------------------------------------------------- victims

#: What a program finds around itself: all of it must be as if no other program had ever run before.
TRACE = r"""
import fcntl, os, resource, signal, socket, sys, threading
def trace():
    found = {}
    for folder in (".", os.environ["HOME"], os.environ["TMPDIR"], "/tmp", "/var/tmp", "/dev/shm"):
        try:
            room = os.statvfs(folder)
            found[folder] = [sorted(os.listdir(folder)), oct(os.stat(folder).st_mode), room.f_bavail, room.f_favail]
        except OSError as error:
            found[folder] = error.errno
    mask = os.umask(0o77)
    os.umask(mask)
    found["mask"] = mask
    found["nice"] = [os.getpriority(os.PRIO_PROCESS, pid) for pid in (0, os.getppid())]
    found["processors"] = len(os.sched_getaffinity(0))
    found["policy"] = os.sched_getscheduler(0)
    found["blocked"] = sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, [])))
    found["signals"] = [sorted(map(int, signal.sigpending())),
                        [str(signal.getsignal(n)) for n in (1, 2, 3, 10, 12, 13, 14, 15, 17)], signal.getitimer(0)]
    found["limits"] = [resource.getrlimit(n) for n in range(16)]
    found["environment"] = dict(os.environ)
    found["directory"] = os.getcwd()
    found["descriptors"] = sorted(int(fd) for fd in range(256) if is_open(fd))
    found["flags"] = [fcntl.fcntl(fd, fcntl.F_GETFL) for fd in range(3)]
    found["files"] = [(oct(os.fstat(fd).st_mode), os.fstat(fd).st_size) for fd in range(3)]
    with socket.socket() as listener:  # without SO_REUSEADDR: a connection of an earlier program may linger
        listener.bind(("127.0.0.1", 5055))
    found["threads"] = threading.active_count()
    found["modules"] = len(sys.modules)
    for name in ("shm", "sem", "msg"):
        try: found[name] = open("/proc/sysvipc/" + name).read().count("\n")
        except OSError as error: found[name] = error.errno
    try: found["processes"] = len([name for name in os.listdir("/proc") if name.isdigit()])
    except OSError as error: found["processes"] = error.errno
    return found
def is_open(fd):
    try: os.fstat(fd)
    except OSError: return False
    return True
"""
WRONG = "def f(x): return x\ndef f2(xs): return xs[1:]\ng = f\n"


def victims(attack: Attack) -> list[Job]:
    """What runs after the attack: the tests just aimed at, then those of every day, then a look around."""
    look = Job(TRACE, (Record("trace", [[]]),))
    return [Job(attack.honest, attack.tests), Job(WRONG, TESTS), Job(HONEST, TESTS), look]


def told(result: Result) -> list[Any]:
    """What of a verdict must not depend on what ran before."""
    return [result.outcome, result.message, *((test.outcome, test.message, test.values) for test in result.tests)]


class Arena:
    """A sandbox, what its victims say without any attack, and the processes that it is made of."""

    sandbox: Sandbox
    alone: list[Any]
    servers: set[tuple[int, str]]

    def __init__(self) -> None:
        self.stack = contextlib.ExitStack()
        self.open()

    def open(self) -> None:
        """A new sandbox, in place of one that an attack got the better of."""
        self.stack.close()
        self.sandbox = self.stack.enter_context(entered(workers=1))
        for _ in range(2):  # the first time warms up what only warms up once
            _, *others = self.run(*victims(Attack(HONEST)))
        self.alone = [told(other) for other in others]
        self.servers = children()

    def run(self, *jobs: Job) -> list[Result]:
        """The results of `jobs`."""
        return list(self.sandbox.run(jobs))

    def attack(self, attack: Attack) -> Result:
        """Run an attack and its victims; returns the attack's result. Fails when a victim notices anything."""
        result, honest, *others = self.run(Job(attack.program, attack.tests, attack.seconds), *victims(attack))
        try:
            assert [(test.outcome, test.message) for test in honest.tests] == [(PASSED, "")] * len(attack.tests)
            assert [told(other) for other in others] == self.alone
            assert children() == self.servers, "the sandbox had to be started anew"
        except AssertionError:
            self.open()
            raise
        assert len(result.tests) == len(attack.tests)
        return result


@contextlib.contextmanager
def entered(workers: int) -> Iterator[Sandbox]:
    """A sandbox with its default walls; skips the test where they do not stand."""
    sandbox = Sandbox(LIMITS, workers)
    try:
        sandbox.__enter__()
    except SandboxError as error:
        pytest.skip(f"no walls here: {error}")
    try:
        yield sandbox
    finally:
        sandbox.close()


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PLUM_UNSAFE", raising=False)
        patch.setenv("HF_TOKEN", TOKEN)
        made = Arena()
        with made.stack:
            yield made


def test_the_victims_show_something(arena: Arena) -> None:
    wrong, honest, look = arena.alone
    assert wrong[0] is Outcome.FAILED
    assert PASSED not in [test[0] for test in wrong[2:]]
    assert honest == [PASSED, "", *[(PASSED, "", None)] * len(TESTS)]
    assert look[0] is PASSED
    around = look[2][2][0]
    assert around["."][0] == []
    assert not [name for name in around["environment"] if "HF" in name or "TOKEN" in name]
    assert TOKEN not in str(around)
    assert around["descriptors"][:3] == [0, 1, 2]
    assert len(around["descriptors"]) <= 4  # the standard ones and the conversation


# ---------------------------------------------------------------------------------------------- forged verdicts


@pytest.mark.parametrize("name", FORGERIES)
def test_no_forged_pass(arena: Arena, name: str) -> None:
    attack = FORGERIES[name]
    result = arena.attack(attack)
    assert [what for what, test in zip(attack.tests, result.tests, strict=True) if test.outcome is PASSED] == []
    assert result.outcome not in (PASSED, Outcome.INFRA_ERROR)
    for test in result.tests:
        assert len(test.message) <= 200
        assert "\n" not in test.message


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.xfail(strict=True, reason="not kept out: tests that share a process with the program")
def test_known_forgeries(arena: Arena, name: str) -> None:
    assert arena.attack(KNOWN[name]).outcome is not PASSED


def test_nonsense_on_the_conversation_is_a_forgery_noticed(arena: Arena) -> None:
    names = ("pickle-runs-exec", "writes-two-answers-in-f", "writes-random-bytes")
    for _ in range(3):
        results = arena.run(*(Job(FORGERIES[name].program, FORGERIES[name].tests) for name in names))
        assert [
            test.outcome for result in results for test in result.tests if test.outcome is not Outcome.BLOCKED
        ] == []


def test_a_clock_set_by_a_program_does_not_strike_later(arena: Arena) -> None:
    arena.run(Job("from signal import alarm as f\nf2 = g = f", TESTS))
    time.sleep(1.2)
    (result,) = arena.run(Job(HONEST, TESTS))
    assert (result.outcome, result.message) == (PASSED, "")
    assert children() == arena.servers


@pytest.mark.parametrize(
    "test",
    [
        "import math\nassert not hasattr(math, 'seen')\nmath.seen = True",
        "import sys\nassert sys.getrecursionlimit() != 500\nsys.setrecursionlimit(500)",
        "import builtins\nassert not hasattr(builtins, 'seen')\nbuiltins.seen = True",
        "import os\nassert 'SEEN' not in os.environ\nos.environ['SEEN'] = 'yes'",
        "import os\nassert not os.path.exists('seen')\nopen('seen', 'x').close()",
        "import os\nassert os.getcwd() != '/usr'\nos.chdir('/usr')",
        "import sys\nassert 'seen' not in sys.modules\nsys.modules['seen'] = sys",
        "import decimal\nassert decimal.getcontext().prec != 5\ndecimal.getcontext().prec = 5",
        "import random\nassert random.random() == 0.8444218515250481\nrandom.seed(7)",
        "import threading\nassert threading.active_count() == 1\nthreading.Timer(60, print).start()",
    ],
    ids="module recursion builtins environment file directory modules context random thread".split(),
)
def test_what_a_test_leaves_is_gone_for_the_next_program(arena: Arena, test: str) -> None:
    results = arena.run(*[Job(HONEST, (test, "assert f(1) == 2"))] * 3)
    assert [(result.outcome, result.message) for result in results] == [(PASSED, "")] * 3


@pytest.mark.parametrize("name", WIRE_CONTROLS)
def test_forged_bytes_do_arrive(arena: Arena, name: str) -> None:
    result = arena.attack(WIRE_CONTROLS[name])
    assert [(test.outcome, test.message) for test in result.tests] == [(PASSED, "")] * len(result.tests)


PLAIN = (int, float, str, bytes, bool, type(None), list, tuple, dict, set)


def is_plain(value: Any) -> bool:
    """Whether `value` is of exact built-in types throughout."""
    parts = list(value.items()) if type(value) is dict else value if type(value) in (list, tuple, set) else ()
    return type(value) in PLAIN and all(is_plain(part) for part in parts)


@pytest.mark.parametrize(
    "body",
    [
        """
class L(int):
        __eq__ = lambda s, o: True
        __hash__ = lambda s: 1
    return L(5)
""",
        "class L(list):\n        __eq__ = lambda s, o: True\n    return L([1, L([2])])",
        """
class L:
        def __reduce__(self): return eval, ('__import__("os").getpid()',)
    return L()
""",
        "import unittest.mock\n    return unittest.mock.ANY",
        "return f",
        "return [1, (2, {'a': print})]",
        "return (n for n in range(3))",
        "y = []\n    y.append(y)\n    return y",
    ],
    ids=["int", "list", "reduce", "any", "itself", "inner-function", "generator", "self-containing"],
)
def test_what_is_recorded_is_plain_data(arena: Arena, body: str) -> None:
    (result,) = arena.run(Job(f"def f(x):\n    {body}\n", (Record("f", [[1]]),)))
    (test,) = result.tests
    if test.outcome is PASSED:
        assert test.values is not None
        if body.startswith("y ="):  # a list that holds itself
            assert type(test.values[0]) is list
        else:
            assert is_plain(test.values)
    else:
        assert test.values is None
        assert result.outcome is not Outcome.INFRA_ERROR


# ---------------------------------------------------------------------------------------------- out of the box

REACH = r"""
import ctypes, errno, glob, os, socket, sys
reached = []
def attempt(name, action, *args):
    try: result = action(*args)
    except OSError: return None
    reached.append(name)
    return result
def read(path):
    with open(path, "rb") as file: return file.read(1 << 16)
def looks(name, data):
    if data and (b"plum-secret-" in data or b"hf_attack_" in data): reached.append(name)
def quietly(action, *args):
    try: return action(*args)
    except OSError: return None
"""


@dataclass
class Outside:
    """What lies outside the sandbox: listeners, files, a secret."""

    folder: Path
    home: Path
    mark: str
    program: str  # names all of it in a program
    sockets: dict[str, socket.socket]

    def touched(self) -> list[str]:
        """The listeners that heard something since last asked."""
        heard = []
        for name, listener in self.sockets.items():
            with contextlib.suppress(BlockingIOError):
                while True:
                    if listener.type == socket.SOCK_STREAM:
                        listener.accept()[0].close()
                    else:
                        listener.recv(100)
                    heard.append(name)
        return heard

    def written(self) -> list[str]:
        """Files with our mark in their name, in all places where one could have been made."""
        return [str(path) for place in self.places() for path in [Path(place) / self.mark] if os.path.lexists(path)]

    def places(self) -> list[str]:
        """Directories of the machine that a careless sandbox leaves open."""
        return [
            *(str(self.folder), str(self.home), str(Path.home()), os.getcwd(), os.path.dirname(os.__file__)),
            *("/tmp", "/var/tmp", "/dev/shm", "/", "/etc", "/usr", "/usr/lib", "/run", "/var", "/opt", "/mnt", "/home"),
            *(sys.prefix, str(Path(__file__).parent), str(Path(__file__).parents[1] / "plum_hub")),
        ]


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    folder = tmp_path_factory.mktemp("outside")
    mark = f"plum-mark-{uuid.uuid4().hex}"
    with contextlib.ExitStack() as stack:
        home = folder
        with contextlib.suppress(OSError):
            home = Path.home() / mark.replace("mark", "home")
            home.mkdir()
            stack.callback(os.rmdir, home)
        for place in {folder, home}:
            place.chmod(0o777)
            secret = place / "secret"
            secret.write_text(f"plum-secret-{uuid.uuid4().hex}")
            secret.chmod(0o666)
            stack.callback(secret.unlink)
        for parent in folder.parents:  # open to all, so that only the walls keep a program out
            with contextlib.suppress(OSError):
                if parent.stat().st_mode & 0o055 != 0o055 and parent.owner() == Path(folder).owner():
                    stack.callback(parent.chmod, parent.stat().st_mode & 0o7777)
                    parent.chmod(0o755)
        sockets = {
            "tcp": socket.socket(),
            "udp": socket.socket(type=socket.SOCK_DGRAM),
            "unix": socket.socket(socket.AF_UNIX),
            "unix datagram": socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
            "abstract": socket.socket(socket.AF_UNIX),
        }
        addresses: list[Any] = [
            ("127.0.0.1", 0),
            ("127.0.0.1", 0),
            str(folder / "stream"),
            str(folder / "datagram"),
            f"\0{mark}",
        ]
        for listener, address in zip(sockets.values(), addresses, strict=True):
            stack.enter_context(listener)
            listener.bind(address)
            if listener.type == socket.SOCK_STREAM:
                listener.listen()
            listener.setblocking(False)
        for name in ("stream", "datagram"):
            (folder / name).chmod(0o777)
        made = Outside(folder, home, mark, "", sockets)
        made.program = "\n".join(
            [
                f"TCP, UDP = {sockets['tcp'].getsockname()!r}, {sockets['udp'].getsockname()!r}",
                f"UNIX, DATAGRAM, ABSTRACT = {addresses[2:]!r}",
                f"FOLDER, HOME, MARK, PID = {str(folder)!r}, {str(home)!r}, {mark!r}, {os.getpid()}",
                f"PLACES = {made.places()!r}",
                f"SECRETS = {[str(folder / 'secret'), str(home / 'secret')]!r}",
                REACH,
            ]
        )
        yield made


#: Each records what it reached. Those of the first group do reach it when they run without walls.
REACHABLE = {
    "tcp": "attempt('tcp', socket.create_connection, TCP, 0.5)",
    "udp": """
quietly(socket.socket(type=socket.SOCK_DGRAM).sendto, b'x', UDP)
reached += ['udp'] * (WALLS == '')
""",
    "unix-socket": "attempt('unix', quietly(socket.socket, socket.AF_UNIX).connect, UNIX)",
    "unix-datagrams": """
attempt('sendto', quietly(socket.socket, socket.AF_UNIX, socket.SOCK_DGRAM).sendto, b'x', DATAGRAM)
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
attempt('pair', a.sendto, b'x', DATAGRAM)
""",
    "abstract-socket": "attempt('abstract', quietly(socket.socket, socket.AF_UNIX).connect, ABSTRACT)",
    "asyncio-streams": """
import asyncio
async def go():
    await asyncio.wait_for(asyncio.open_connection(*TCP), 0.5)
attempt('stream', lambda: asyncio.run(go()))
""",
    "http": """
import urllib.request
attempt('http', lambda: urllib.request.urlopen('http://%s:%s/' % TCP, timeout=0.2))
reached += ['http'] * (WALLS == '')
""",
    "new-files": """
for place in PLACES:
    path = os.path.join(place, MARK)
    fd = quietly(os.open, path, os.O_CREAT | os.O_WRONLY)
    if fd is not None and WALLS == '':
        reached.append(path); os.unlink(path)
""",
    "new-names": """
for place in PLACES:
    path = os.path.join(place, MARK)
    for make in (os.mkdir, os.mkfifo, lambda p: os.symlink('x', p), lambda p: os.link(SECRETS[0], p),
                 lambda p: os.rename(SECRETS[0], p), lambda p: os.mknod(p)):
        if WALLS: quietly(make, path)
reached += ['names'] * (WALLS == '')
""",
    "existing-file": """
for path in SECRETS:
    attempt('open', open, path, 'r+b')
    attempt('append', open, path, 'ab')
    attempt('own name', os.rename, path, path)
    if WALLS:
        attempt('truncate', os.truncate, path, 0)
        attempt('unlink', os.unlink, path)
        quietly(os.chmod, path, 0)
        quietly(os.utime, path, (0, 0))
""",
    "secret-files": "for path in SECRETS: looks(path, quietly(read, path))",
    "secret-through-roots": """
for root in ('/proc/self/root', '/proc/1/root', '/proc/self/cwd/' + '../' * 30, '../' * 30, '/..', '/.old'):
    for path in SECRETS: looks(root, quietly(read, root + path))
""",
    "secret-through-descriptors": """
for fd in range(256):
    for up in ('', '.' , '../' * 30):
        for path in SECRETS:
            inner = quietly(os.open, up + path[1:], os.O_RDONLY, 0o600) if fd == 2 else None
            try: inner = inner or os.open(up + path, os.O_RDONLY, dir_fd=fd)
            except OSError: continue
            looks(up, os.read(inner, 100)); os.close(inner)
""",
    "secret-through-links": """
import tempfile
where = tempfile.mkdtemp()
for n, path in enumerate(SECRETS):
    os.symlink(path, f'{where}/s{n}'); looks('symlink', quietly(read, f'{where}/s{n}'))
    quietly(os.link, path, f'{where}/h{n}'); looks('link', quietly(read, f'{where}/h{n}'))
import shutil; shutil.rmtree(where)
""",
    "secret-by-another-program": """
import subprocess
for path in SECRETS:
    looks('cat', quietly(lambda: subprocess.run(['/bin/cat', path], capture_output=True).stdout))
""",
    "secret-by-path-handle": """
for path in SECRETS:
    fd = quietly(os.open, path, os.O_PATH)
    if fd is not None: looks('handle', quietly(read, f'/proc/self/fd/{fd}'))
""",
    "users": "looks('x', b'plum-secret-' if b'root:' in (quietly(read, '/etc/passwd') or b'') else b'')",
    "directories": "for place in (FOLDER, HOME, '/etc', '/var'): attempt(place, os.listdir, place)",
    "environments": """
looks('own', repr(os.environ).encode())
for path in glob.glob('/proc/[0-9]*/environ'): looks(path, quietly(read, path))
""",
    "our-process": """
import signal
if PID > 100:
    attempt('kill', os.kill, PID, 0)
    attempt('priority', os.getpriority, os.PRIO_PROCESS, PID)
    attempt('group', os.getpgid, PID)
    attempt('affinity', os.sched_getaffinity, PID)
    attempt('proc', os.listdir, f'/proc/{PID}')
    attempt('memory', open, f'/proc/{PID}/mem', 'rb')
    attempt('pidfd', os.pidfd_open, PID)
""",
}

UNREACHABLE = {
    "names-of-hosts": """
for host in ('example.com', 'huggingface.co'): attempt(host, socket.getaddrinfo, host, 80)
s = socket.socket(type=socket.SOCK_DGRAM)
s.settimeout(0.1)
for server in ('8.8.8.8', '1.1.1.1', '127.0.0.53'):
    if attempt('send', s.sendto, b'x' * 12, (server, 53)):
        reached.pop(); attempt(server, s.recv, 100)
""",
    "internet": """
for address in ('1.1.1.1', '8.8.8.8', '169.254.169.254', '10.0.0.1', '192.168.0.1'):
    attempt(address, socket.create_connection, (address, 80), 0.1)
s = socket.socket(socket.AF_INET6)
s.settimeout(0.1)
attempt('six', s.connect, ('2606:4700:4700::1111', 80))
""",
    "other-families": """
for family in range(50):
    if family in (1, 2, 10): continue
    for kind in (1, 2, 3, 5):
        attempt((family, kind), socket.socket, family, kind)
    attempt((family,), socket.socketpair, family)
""",
    "raw-sockets": """
for family in (2, 10):
    for protocol in (0, 1, 58, 132, 255, 262):
        attempt(protocol, socket.socket, family, 3, protocol)
    for protocol in (33, 132, 136, 262): attempt(protocol, socket.socket, family, 1, protocol)
""",
    "memory-of-others": """
for pid in [name for name in os.listdir('/proc') if name.isdigit() and int(name) != os.getpid()]:
    for name in ('mem', 'environ', 'maps', 'auxv', 'io'):
        fd = attempt((pid, name), os.open, f'/proc/{pid}/{name}', os.O_RDONLY)
    attempt((pid, 'w'), os.open, f'/proc/{pid}/mem', os.O_RDWR)
    attempt(pid, os.listdir, f'/proc/{pid}/fd')
    for name in ('cwd', 'root', 'exe'): attempt((pid, name), os.readlink, f'/proc/{pid}/{name}')
""",
    "settings-of-the-kernel": """
for path in ('/proc/sys/kernel/core_pattern', '/proc/sysrq-trigger', '/proc/self/oom_score_adj', '/sys/power/state',
             '/proc/1/oom_score_adj', '/proc/sys/vm/drop_caches', '/sys/fs/cgroup/cgroup.procs',
             '/dev/kmsg', '/dev/mem'):
    attempt(path, os.open, path, os.O_WRONLY)
attempt('kcore', os.open, '/proc/kcore', os.O_RDONLY)
attempt('keys', lambda: open('/proc/keys').read(1) or [][0]) if os.path.exists('/proc/nothing') else None
""",
    "devices": """
import stat
for number in ((1, 1), (1, 11), (8, 0), (254, 0), (5, 1)):
    for kind in (stat.S_IFBLK, stat.S_IFCHR):
        attempt(number, os.mknod, 'device', kind | 0o666, os.makedev(*number))
for path in glob.glob('/dev/*'):
    if path[5:] not in 'null zero full random urandom shm fd stdin stdout stderr'.split(): reached.append(path)
""",
    "terminals": """
import fcntl
for path in ('/dev/tty', '/dev/console', '/dev/ptmx', '/dev/pts/0'):
    attempt(path, os.open, path, os.O_RDWR)
for fd in range(256): attempt(fd, fcntl.ioctl, fd, 0x5412, b'x')
""",
    "powers": """
libc = ctypes.CDLL(None)
status = dict(line.split(':', 1) for line in open('/proc/self/status'))
for name in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'):
    if int(status[name], 16): reached.append(name)
if libc.prctl(39, 0, 0, 0, 0) != 1: reached.append('new privileges')
if libc.prctl(21, 0, 0, 0, 0) != 2 and status['Seccomp'].strip() != '2': reached.append('seccomp')
if libc.prctl(3, 0, 0, 0, 0): reached.append('dumpable')
attempt('user', os.setuid, 0) if os.getuid() else None
attempt('groups', os.setgroups, [0])
""",
    "powerful-programs": """
import subprocess
for command in (['mount', '-t', 'tmpfs', 'x', '.'], ['su', '-c', 'true'], ['sudo', '-n', 'true'],
                ['unshare', '-Ur', 'true'], ['chroot', '.', 'true'], ['passwd', '-d', 'root'], ['newgrp'],
                ['ping', '-c1', '127.0.0.1']):
    done = quietly(lambda: subprocess.run(command, stdin=-3, capture_output=True, timeout=0.5))
    if done and not done.returncode and command[0] != 'newgrp': reached.append(command[0])
""",
    "set-user-id": """
import shutil, stat, subprocess
for mode in (0o4755, 0o2755):
    if not os.path.exists('/usr/bin/id'): break
    shutil.copy('/usr/bin/id', 'id')
    quietly(os.chmod, 'id', mode)
    quietly(os.chown, 'id', 0, 0)
    done = quietly(lambda: subprocess.run(['./id', '-u'], capture_output=True))
    if done and done.stdout.strip() not in (b'', str(os.getuid()).encode()): reached.append(mode)
    os.unlink('id')
""",
    "libraries-of-python": """
files = [m.__file__ for m in list(sys.modules.values()) if getattr(m, '__file__', None)]
for path in {os.__file__, sys.executable, os.path.realpath(sys.executable), *files}:
    attempt(path, os.open, path, os.O_WRONLY)
    attempt((path,), os.utime, path, (0, 0))
    attempt(('new', path), os.open, path + '.new', os.O_WRONLY | os.O_CREAT)
""",
    "machine-priorities": """
PRIORITIES = (os.PRIO_PROCESS, os.PRIO_PGRP, os.PRIO_USER)
for which in PRIORITIES:
    for who in (0, 1, os.getppid(), PID): attempt((which, who), os.setpriority, which, who, 19)
for pid in (1, PID):
    attempt(('scheduler', pid), os.sched_setscheduler, pid, os.SCHED_IDLE, os.sched_param(0))
    attempt(('affinity', pid), os.sched_setaffinity, pid, {0})
import resource
for pid in (1, PID): attempt(('limit', pid), resource.prlimit, pid, resource.RLIMIT_NOFILE, (9, 9))
""",
}

#: System calls by number on x86-64, with arguments that do nothing even where they are allowed. Refused means refused
#: before the kernel looks at the arguments.
SYSTEM_CALLS = {
    "ptrace": (101, 0, 0, 0, 0), "process_vm_readv": (310, 1, 0, 0, 0, 0, 0),
    "process_vm_writev": (311, 1, 0, 0, 0, 0, 0),
    "mount": (165, 0, 0, 0, 0, 0), "umount2": (166, 0, 0), "pivot_root": (155, 0, 0), "chroot": (161, 0),
    "unshare-user": (272, 0x10000000), "unshare-mount": (272, 0x20000), "unshare-network": (272, 0x40000000),
    "setns": (308, -1, 0), "bpf": (321, 0, 0, 0), "perf_event_open": (298, 0, 0, -1, -1, 0), "userfaultfd": (323, 0),
    "io_uring_setup": (425, 1, 0), "io_uring_enter": (426, -1, 0, 0, 0, 0), "io_uring_register": (427, -1, 0, 0, 0),
    "keyctl": (250, 0, -3, 0), "add_key": (248, 0, 0, 0, 0, -3), "request_key": (249, 0, 0, 0, -3),
    "open_by_handle_at": (304, -1, 0, 0), "name_to_handle_at": (303, -100, 0, 0, 0, 0),
    "kexec_load": (246, 0, 0, 0, -1), "kexec_file_load": (320, -1, -1, 0, 0, -1), "init_module": (175, 0, 0, 0),
    "finit_module": (313, -1, 0, 0), "delete_module": (176, 0, 0), "reboot": (169, 0, 0, 0), "swapon": (167, 0, 0),
    "acct": (163, 1), "syslog": (103, 10, 0, 0), "quotactl": (179, 0, 0, 0, 0), "iopl": (172, 3),
    "ioperm": (173, 0, 1, 1),
    "settimeofday": (164, 1, 0), "clock_settime": (227, 0, 0), "adjtimex": (159, 0), "sethostname": (170, 0, -1),
    "setdomainname": (171, 0, -1), "fsopen": (430, 0, 0), "open_tree": (428, -1, 0, 0),
    "move_mount": (429, -1, 0, -1, 0, 0),
    "mount_setattr": (442, -1, 0, 0, 0, 0), "pidfd_getfd": (438, -1, 0, 0), "kcmp": (312, 1, 1, 0, 0, 0),
    "process_madvise": (440, -1, 0, 0, 0, 0), "modify_ldt": (154, 9, 0, 0), "fanotify_init": (300, 0, 0),
    "clone-new-user": (56, 0x10000011, 0, 0, 0, 0), "clone3": (435, 0, 0), "shmget": (29, 0, 4096, 0o1600),
    "semget": (64, 0, 1, 0o1600), "msgget": (68, 0, 0o1600), "mq_open": (240, 0, 0o102, 0o600, 0),
    "move_pages": (279, 1, 0, 0, 0, 0, 0), "migrate_pages": (256, 1, 0, 0, 0), "lookup_dcookie": (212, 0, 0, 0),
    "x32-mount": (0x40000000 + 165, 0, 0, 0, 0, 0), "x32-ptrace": (0x40000000 + 521, 0, 0, 0, 0),
}  # fmt: skip
CALL = """
libc = ctypes.CDLL(None, use_errno=True)
got = libc.syscall(*[ctypes.c_long(n) for n in NUMBERS])
if got == 0 and NUMBERS[0] == 56: os._exit(0)
if got != -1 or ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS, errno.EACCES):
    reached.append((got, errno.errorcode.get(ctypes.get_errno())))
"""
#: The same kernel by its 32-bit door: `mount` is 21 there, `getpid` 20.
OLD_DOOR = r"""
import mmap
def call32(number):
    page = mmap.mmap(-1, 4096, prot=7)
    page.write(b"\x53\xb8" + number.to_bytes(4, "little") + b"\x31\xdb\x31\xc9\x31\xd2\x31\xf6\x31\xff\xcd\x80\x5b\xc3")
    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
if call32(20) == os.getpid() and call32(21) not in (-errno.EPERM, -errno.ENOSYS): reached.append("mount")
"""

#: Refused by system call filters alone.
FILTERED = ("other-families", "raw-sockets", "powers", "machine-priorities", "meddles-with-init")


def skip_without_filters() -> None:
    """Skips where no filter can be had; where it could and does not stand, the tests that need it fail."""
    if importlib.util.find_spec("pyseccomp") is None or ctypes.util.find_library("seccomp") is None:
        pytest.skip("no system call filters here: pyseccomp or libseccomp is missing")


#: A program that the kernel ends for a forbidden call has reached nothing, either.
STOPPED = (PASSED, Outcome.CRASHED, Outcome.BLOCKED)


def reach(arena: Arena, program: str) -> None:
    """Run an attempt; fails when it says that it reached something."""
    checked = ("assert reached == [], reached",)
    result = arena.attack(Attack(f"WALLS = 'all'\n{program}", checked, "reached = []"))
    assert (result.outcome, result.message) == (PASSED, "") or result.outcome in STOPPED[1:], result.message
    assert "NameError" not in result.message


def untouched(outside: Outside) -> list[object]:
    """What must be the same before and after: the files outside, and this very process."""
    files = [place / "secret" for place in (outside.folder, outside.home)]
    stats = [path.stat() for path in files]
    return [
        [(path.read_text(), s.st_mode, s.st_mtime_ns, s.st_nlink) for path, s in zip(files, stats, strict=True)],
        sorted(os.listdir(outside.folder)),
        os.getpriority(os.PRIO_PROCESS, 0),
        os.sched_getscheduler(0),
        os.sched_getaffinity(0),
        os.uname().nodename,
        Path("/proc/self/limits").read_text(),
        Path("/proc/self/mountinfo").read_text(),
    ]


@pytest.mark.parametrize("name", [*REACHABLE, *UNREACHABLE])
def test_nothing_outside_is_reached(arena: Arena, outside: Outside, name: str) -> None:
    if name in FILTERED:
        skip_without_filters()
    before = untouched(outside)
    outside.touched()
    reach(arena, outside.program + (REACHABLE | UNREACHABLE)[name])
    assert outside.touched() == []
    assert outside.written() == []
    assert untouched(outside) == before


@pytest.mark.parametrize("name", REACHABLE)
def test_without_walls_it_is_reached(outside: Outside, name: str, tmp_path: Path) -> None:
    outside.touched()
    program = f"WALLS = ''\n{outside.program}\n{REACHABLE[name]}\nprint(reached)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "HF_TOKEN": TOKEN},
    )
    assert done.returncode == 0, done.stderr
    if os.getpid() <= 100 and name == "our-process":
        pytest.skip("the attempt spares small process numbers")
    assert done.stdout.strip() not in ("", "[]")
    if name in ("tcp", "udp", "unix-socket", "unix-datagrams", "abstract-socket", "asyncio-streams", "http"):
        assert outside.touched()
    assert outside.written() == []


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86-64")
def test_system_calls_are_refused(arena: Arena, outside: Outside) -> None:
    skip_without_filters()
    before = untouched(outside)
    jobs = [
        Job(f"{outside.program}\nNUMBERS = {numbers}\n{CALL}", ("assert reached == [], reached",))
        for numbers in SYSTEM_CALLS.values()
    ]
    results = dict(zip(SYSTEM_CALLS, arena.run(*jobs), strict=True))
    assert {name: (r.outcome, r.message) for name, r in results.items() if r.outcome not in STOPPED} == {}
    assert sum(r.outcome is PASSED for r in results.values()) > len(results) // 2
    reach(arena, outside.program + OLD_DOOR)
    assert untouched(outside) == before


def test_a_port_inside_is_none_of_ours(arena: Arena) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = (
        f"import socket, time\ns = socket.socket()\ns.bind(('127.0.0.1', {port}))\ns.listen()\ns.settimeout(0.6)\n"
        "def f():\n    try: return bool(s.accept())\n    except TimeoutError: return False\n"
    )
    heard: list[bool] = []
    knock = threading.Thread(target=lambda: heard.extend(_knock(port)))
    knock.start()
    (result,) = arena.run(Job(program, ("assert f() is False",)))
    knock.join()
    assert (result.outcome, result.message) == (PASSED, "")
    assert heard
    assert not any(heard)


def _knock(port: int) -> Iterator[bool]:
    for _ in range(40):
        with socket.socket() as caller:
            yield caller.connect_ex(("127.0.0.1", port)) == 0
        time.sleep(0.01)


# ---------------------------------------------------------------------------------------------- too much of everything

#: (program, the outcomes it may have; None: any). None of them may be seen by the program after it.
GREED: dict[str, tuple[str, tuple[Outcome, ...] | None]] = {
    "fork-bomb": ("import os\nfor _ in range(14):\n    try: os.fork()\n    except OSError: pass", None),
    "fork-bomb-in-sessions": (
        """
import os, time
for _ in range(3000):
    try:
        if os.fork() == 0:
            os.setsid(); time.sleep(60)
    except OSError: break
time.sleep(60)
""",
        (Outcome.TIMEOUT,),
    ),
    "thread-bomb": (
        """
import threading, time
threading.stack_size(65536)
for _ in range(5000):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
""",
        None,
    ),
    "memory-6-gib": (
        "kept = []\nfor _ in range(96):\n    kept.append(b'x' * (64 << 20))",
        (Outcome.MEMORY, Outcome.TIMEOUT, Outcome.CRASHED),
    ),
    "memory-6-gib-at-once": ("x = bytearray(6 << 30)\nx[::4096] = bytes(len(x[::4096]))", (Outcome.MEMORY,)),
    "memory-mapped": (
        "import mmap\nkept = [mmap.mmap(-1, 1 << 30) for _ in range(6)]",
        (Outcome.LOAD_ERROR, Outcome.MEMORY),
    ),
    "memory-of-many-processes": (
        """
import os, time
for _ in range(4):
    if os.fork() == 0:
        x = b'x' * (500 << 20)
        time.sleep(60)
time.sleep(60)
""",
        (Outcome.TIMEOUT,),
    ),
    "memory-file": (
        """
import os
for n in range(64):
    fd = os.memfd_create(str(n))
    for _ in range(64): os.write(fd, bytes(1 << 20))
""",
        None,
    ),
    "memory-locked": ("import ctypes\nctypes.CDLL(None).mlockall(7)\nx = bytearray(900 << 20)", None),
    "print-flood": ("while True: print('x' * 1000)", (Outcome.OUTPUT_LIMIT,)),
    "error-flood": ("import sys\nwhile True: sys.stderr.write('x' * 1000)", (Outcome.OUTPUT_LIMIT,)),
    "write-flood": ("import os\nwhile True: os.write(1, b'x' * 65536)", (Outcome.OUTPUT_LIMIT,)),
    "write-flood-that-minds-no-signal": (
        """
import os, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
while True:
    try: os.write(2, b'x' * 65536)
    except OSError: pass
""",
        (Outcome.TIMEOUT, Outcome.OUTPUT_LIMIT),
    ),
    "small-files": ("for n in range(10**6): open(str(n), 'x').write('x')", None),
    "big-file": ("f = open('file', 'wb')\nwhile True: f.write(bytes(1 << 20))", (Outcome.OUTPUT_LIMIT,)),
    "many-big-files": (
        "n = 0\nwhile True:\n    n += 1\n    open(f'f{n}', 'wb').write(bytes(900_000))",
        (Outcome.LOAD_ERROR, Outcome.OUTPUT_LIMIT, Outcome.TIMEOUT),
    ),
    "sparse-file": ("import os\nos.truncate(os.open('f', os.O_RDWR | os.O_CREAT), 1 << 40)", (Outcome.OUTPUT_LIMIT,)),
    "shared-memory": (
        "import os\nfor n in range(10**4):\n    open(f'/dev/shm/f{n}', 'wb').write(bytes(900_000))",
        None,
    ),
    "deep-directories": (
        """
import os
try:
    for _ in range(20000):
        os.mkdir('d')
        os.chdir('d')
except OSError: pass
""",
        None,
    ),
    "many-descriptors": (
        "import os\nkept = []\nwhile True: kept.append(os.open('/dev/null', 0))",
        (Outcome.LOAD_ERROR,),
    ),
    "odd-names": (
        r"""
import os
for n in (b'\xff\xfe', b' ', b'-rf', b'\n', b'a' * 255, b'...'): open(n, 'x').close()
os.mkfifo('fifo')
os.symlink('/', 'root')
os.symlink('.', 'circle')
os.symlink('nowhere', 'dangling')
import socket
s = socket.socketpair()
os.mkdir('fifo.d')
os.mkfifo('fifo.d/fifo')
""",
        None,
    ),
    "closed-directory": (
        """
import os
os.mkdir('a')
os.mkdir('a/b')
open('a/b/file', 'x').close()
os.chmod('a/b', 0)
os.chmod('a', 0)
try: os.chmod('.', 0)
except OSError: pass
""",
        None,
    ),
    "directory-taken-away": (
        """
import os
here = os.getcwd()
open('file', 'x').close()
for act in (lambda: os.rename(here, here + 'x'), lambda: os.rmdir(here), lambda: os.unlink(here)):
    try: act()
    except OSError: pass
""",
        None,
    ),
    "unchangeable-file": (
        """
import array, fcntl, os
fd = os.open('file', os.O_CREAT | os.O_RDWR)
os.mkdir('d')
for path in ('file', 'd', '.'):
    try: fcntl.ioctl(os.open(path, 0), 0x40086602, array.array('L', [0x30]))
    except OSError: pass
""",
        None,
    ),
    "files-held-open": (
        """
import os, time
for _ in range(20):
    if os.fork() == 0:
        os.setsid()
        f = open(str(os.getpid()), 'wb')
        f.write(bytes(500_000)); f.flush(); os.unlink(f.name); time.sleep(60)
time.sleep(0.1)
""",
        None,
    ),
    "huge-command-line": (
        """
import os
try: os.execv('/bin/true', ['true'] + ['x' * 100_000] * 15)
except OSError: os._exit(1)
""",
        (Outcome.CRASHED, Outcome.BLOCKED),
    ),
    "endless-exec": (
        """
import os, sys
if os.fork() == 0:
    os.setsid()
    os.execv('/bin/sh', ['sh', '-c', 'trap "" 1 2 15; while :; do :; done'])
""",
        None,
    ),
    "daemon": (
        """
import os, signal, time
if os.fork() == 0:
    os.setsid()
    for n in range(1, 32):
        try: signal.signal(n, signal.SIG_IGN)
        except OSError: pass
    if os.fork() == 0:
        while True:
            open(str(time.time()), 'w').close()
            time.sleep(0.001)
    os._exit(0)
time.sleep(0.05)
""",
        None,
    ),
    "daemon-that-changes-its-number": (
        """
import os
if os.fork() == 0:
    while True:
        os.setsid() if os.getpgrp() != os.getpid() else 0
        if os.fork(): os._exit(0)
""",
        None,
    ),
    "timers-and-locks": (
        """
import fcntl, os, signal
signal.setitimer(signal.ITIMER_VIRTUAL, 1000)
f = open('lock', 'w')
fcntl.flock(f, 2)
os.umask(0)
os.nice(19)
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
""",
        None,
    ),
    "another-life": (
        """
import os, sys
os.environ.clear()
os.environ['LD_PRELOAD'] = os.getcwd() + '/x.so'
sys.path.insert(0, '.')
for n in ('sitecustomize.py', 'usercustomize.py', 'inside.py', 'json.py', 'x.so', '.pythonrc', 'pyvenv.cfg'):
    open(n, 'w').write('1 / 0')
os.makedirs('.local/lib/python%d.%d/site-packages' % sys.version_info[:2])
""",
        None,
    ),
    "shared-memory-that-outlives": (
        """
import ctypes, os
libc = ctypes.CDLL(None)
for key in range(1, 9): libc.shmget(key, 1 << 20, 0o1666); libc.semget(key, 1, 0o1666)
for n in range(9): libc.shm_open(b'/left%d' % n, 0o102, 0o600); libc.sem_open(b'/left%d' % n, 0o100, 0o600, 1)
""",
        None,
    ),
    "port-in-use": (
        """
import socket
s = socket.socket()
s.bind(('127.0.0.1', 5055))
s.listen()
c = socket.create_connection(('127.0.0.1', 5055))
a = s.accept()[0]
a.close()
c.recv(1)
c.close()
""",
        (PASSED,),
    ),
    "output-file": (
        """
import fcntl, mmap, os
for fd in (0, 1, 2):
    for act in (lambda: os.fchmod(fd, 0), lambda: os.set_blocking(fd, False),
                lambda: fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND), lambda: fcntl.fcntl(fd, 1033, 15),
                lambda: fcntl.flock(fd, 2), lambda: os.truncate(fd, 10**5), lambda: os.setxattr(fd, 'user.x', b'x'),
                lambda: mmap.mmap(fd, 4096)):
        try: act()
        except OSError: pass
""",
        None,
    ),
    "meddles-with-init": (
        """
import os, resource, signal
for pid in (1, os.getppid()):
    for act in (lambda: os.setpriority(os.PRIO_PROCESS, pid, 19), lambda: os.kill(pid, signal.SIGSTOP),
                lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, (9, 9)), lambda: os.kill(pid, signal.SIGINT),
                lambda: os.sched_setaffinity(pid, {0}), lambda: os.kill(pid, signal.SIGUSR1),
                lambda: os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0)),
                lambda: os.kill(pid, signal.SIGALRM), lambda: os.kill(pid, signal.SIGCHLD)):
        try: act()
        except OSError: pass
""",
        None,
    ),
}


@pytest.mark.parametrize("name", GREED)
def test_greed_is_bounded_and_leaves_nothing(arena: Arena, name: str) -> None:
    if name in FILTERED:
        skip_without_filters()
    program, outcomes = GREED[name]
    began = time.monotonic()
    with Watcher() as watcher:
        seconds = 0.4 if outcomes == (Outcome.TIMEOUT,) else None
        result = arena.attack(Attack(program, ("pass",), "pass", seconds))
    assert result.outcome is not Outcome.INFRA_ERROR
    if outcomes is not None:
        assert result.outcome in outcomes, result.message
    assert time.monotonic() - began < 15.0
    assert watcher.processes < 300
    assert watcher.bytes < 5 << 30


def test_closing_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PLUM_UNSAFE", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ours = {namespace_of(pid) for pid in (os.getpid(), *descendants())}
    mounts = Path("/proc/self/mountinfo").read_text()
    before = children()
    spaces: set[str] = set()
    names = ("daemon", "daemon-that-changes-its-number", "fork-bomb", "files-held-open", "endless-exec", "small-files")
    with entered(workers=2) as sandbox:
        results = sandbox.run([Job(GREED[name][0], ("pass",)) for name in names] + [Job("while True: pass", ())] * 2)
        for _ in names:
            next(results)
            spaces |= {namespace_of(pid) for pid in descendants()} - ours - {""}
        assert os.listdir(tmp_path)
    assert spaces, "nothing was seen while it ran: this test shows nothing"
    until = time.monotonic() + 5
    while left := [pid for pid in parents() if namespace_of(pid) in spaces]:
        assert time.monotonic() < until, [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left]
        time.sleep(0.02)
    assert children() == before
    assert os.listdir(tmp_path) == []
    assert Path("/proc/self/mountinfo").read_text() == mounts


# ---------------------------------------------------------------------------------------------- honest programs

POINT = """
import collections, dataclasses, decimal, enum, fractions

class Point:
    def __init__(self, x, y): self.x, self.y = x, y
    def __eq__(self, other): return isinstance(other, Point) and (self.x, self.y) == (other.x, other.y)
    def __hash__(self): return hash((self.x, self.y))
    def __add__(self, other): return Point(self.x + other.x, self.y + other.y)
    def __repr__(self): return f"Point({self.x}, {self.y})"
    def __lt__(self, other): return self.x < other.x
    def __len__(self): return 2
    def __getitem__(self, i): return (self.x, self.y)[i]
    def __call__(self, n): return self.x * n
    def __enter__(self): return self
    def __exit__(self, *a): return True
    def __contains__(self, n): return n in (self.x, self.y)
    @property
    def size(self): return abs(self.x) + abs(self.y)
    @classmethod
    def origin(cls): return cls(0, 0)
    @staticmethod
    def name(): return "point"

@dataclasses.dataclass(order=True)
class Card:
    rank: int
    suit: str = "s"

Pair = collections.namedtuple("Pair", "left right")

class Color(enum.IntEnum):
    RED = 1
    BLUE = 2

class Shape(enum.Enum):
    ROUND = "round"

class Wrong(ValueError):
    def __init__(self, text, code=7):
        super().__init__(text)
        self.code = code

def fail(n):
    if n < 0: raise Wrong("negative")
    if n == 0: raise KeyError("zero")
    return 1 / n if n < 9 else [][n]

def count(n):
    for i in range(n): yield i

def apply(function, *args, **kwargs): return function(*args, **kwargs)
def sort_by(xs, key): return sorted(xs, key=key)
def make_adder(n): return lambda x: x + n
def fill(xs):
    xs.sort()
    xs.append(99)
def put(d, key): d.setdefault(key, []).append(1)
def depth(n): return 0 if n == 0 else 1 + depth(n - 1)
def shout(text):
    print(text.upper())
    return len(text)
async def later(x):
    import asyncio
    await asyncio.sleep(0)
    return x + 1
def ask(): return input() + "!"
class Stack:
    def __init__(self): self.items = []
    def push(self, x): self.items.append(x); return self
    def pop(self): return self.items.pop()
    def __iter__(self): return iter(self.items)
    def __len__(self): return len(self.items)
    def __bool__(self): return bool(self.items)
    def __eq__(self, other): return isinstance(other, Stack) and self.items == other.items
TABLE = {"a": 1}
LIST = [3, 1, 2]
"""

HONEST_TESTS: dict[str, str] = {
    "own-equality": """
assert Point(1, 2) == Point(1, 2)
assert Point(1, 2) != Point(1, 3)
assert not Point(1, 2) == 5
""",
    "operators": "assert Point(1, 2) + Point(3, 4) == Point(4, 6)\nassert Point(1, 2) < Point(2, 0)",
    "attributes": "p = Point(1, 2)\np.x = 5\nassert (p.x, p.y, p.size) == (5, 2, 7)\nassert Point.name() == 'point'",
    "protocols": """
p = Point(1, 2)
assert len(p) == 2 and p[1] == 2 and list(p) == [1, 2] and p(3) == 3 and repr(p) == 'Point(1, 2)'
""",
    "context-manager": "with Point(1, 2) as p:\n    assert p.x == 1",
    "hash": """
assert len({Point(1, 2), Point(1, 2), Point(0, 0)}) == 2
assert {Point(1, 2): 'a'}[Point(1, 2)] == 'a'
""",
    "class-method": "assert Point.origin() == Point(0, 0) and isinstance(Point.origin(), Point)",
    "contains": "assert 2 in Point(1, 2) and 5 not in Point(1, 2)",
    "sorting": """
ps = sorted([Point(3, 0), Point(1, 0)])
assert [p.x for p in ps] == [1, 3]
assert max(ps).x == 3
""",
    "dataclass": "assert Card(1) == Card(1, 's') and Card(1) < Card(2) and Card(3, 'h').suit == 'h'\n"
    "assert repr(Card(1)) == 'Card(rank=1, suit=\\'s\\')'",
    "namedtuple": """
p = Pair(1, 2)
assert p == (1, 2) and p.left == 1 and p._replace(left=5) == Pair(5, 2)
a, b = p
assert (a, b) == (1, 2)
""",
    "int-enum": "assert Color.RED == 1 and Color(2) is Color.BLUE and Color.RED < Color.BLUE",
    "enum": "assert Shape.ROUND.value == 'round' and Shape('round') == Shape.ROUND and Shape['ROUND'] is Shape.ROUND",
    "counter": """
assert collections.Counter('aab') == {'a': 2, 'b': 1}
assert apply(collections.Counter, 'ab') == collections.Counter('ab')
""",
    "decimal-and-fraction": """
from decimal import Decimal
from fractions import Fraction
assert apply(lambda x: x * 2, Decimal('0.1')) == Decimal('0.2')
assert apply(Fraction, 1, 2) == Fraction(2, 4)
""",
    "sets": "assert apply(set, [1, 2, 2]) == {1, 2}\nassert apply(frozenset, 'ab') == {'a', 'b'}",
    "floats": """
import math
assert math.isclose(fail(3), 0.3333333, rel_tol=1e-6)
assert abs(fail(4) - 0.25) < 1e-9
""",
    "exceptions": """
try:
    fail(-1)
except ValueError as error:
    assert str(error) == 'negative' and error.code == 7
else:
    assert False
""",
    "own-exceptions": """
try:
    fail(-1)
except Wrong as error:
    assert error.args == ('negative',)
else:
    assert False
""",
    "key-error": """
try:
    fail(0)
except KeyError as error:
    assert error.args == ('zero',)
else:
    assert False
""",
    "index-error": "import unittest\nwith unittest.TestCase().assertRaises(IndexError):\n    fail(9)",
    "assert-raises-regex": """
import unittest
with unittest.TestCase().assertRaisesRegex(Wrong, 'neg') as seen:
    fail(-2)
assert seen.exception.code == 7
""",
    "generators": """
assert list(count(3)) == [0, 1, 2]
g = count(2)
assert next(g) == 0 and next(g) == 1
assert next(g, None) is None
assert sum(count(4)) == 6
""",
    "stop-iteration": "g = count(0)\ntry:\n    next(g)\nexcept StopIteration:\n    pass\nelse:\n    assert False",
    "zip-and-map": """
assert list(zip(count(2), count(3))) == [(0, 0), (1, 1)]
assert list(map(depth, [1, 2])) == [1, 2]
""",
    "callbacks": """
assert apply(lambda x, y=1: x + y, 2, y=5) == 7
assert sort_by(['bb', 'a'], len) == ['a', 'bb']
""",
    "callback-with-state": "seen = []\nassert apply(seen.append, 3) is None\nassert seen == [3]",
    "callback-that-raises": """
def bad():
    raise LookupError('mine')
try:
    apply(bad)
except LookupError as e:
    assert str(e) == 'mine'
else:
    assert False
""",
    "sort-key-lambda": "assert sort_by([3, -1, 2], key=lambda x: -x) == [3, 2, -1]",
    "closures": "add = make_adder(5)\nassert add(1) == 6 and make_adder(1)(1) == 2 and callable(add)",
    "in-place": "xs = [3, 1]\nassert fill(xs) is None\nassert xs == [1, 3, 99]",
    "in-place-dict": "d = {}\nput(d, 'k')\nput(d, 'k')\nassert d == {'k': [1, 1]}",
    "in-place-nested": """
rows = [[2, 1], [4, 3]]
for row in rows:
    fill(row)
assert rows == [[1, 2, 99], [3, 4, 99]]
""",
    "stack": """
s = Stack()
assert not s
s.push(1).push(2)
assert len(s) == 2 and list(s) == [1, 2] and s.pop() == 2 and s == Stack().push(1)
""",
    "own-classes-of-the-test": """
class Node:
    def __init__(self, v): self.v = v

assert apply(lambda n: n.v, Node(3)) == 3
node = Node(1)
assert apply(lambda n: n, node) is node
""",
    "printed": r"""
import contextlib, io
out = io.StringIO()
with contextlib.redirect_stdout(out):
    assert shout('hi') == 2
assert out.getvalue() == 'HI\n'
""",
    "asked": "import io, sys\nsys.stdin = io.StringIO('yes\\n')\nassert ask() == 'yes!'",
    "asked-by-patched-input": """
import builtins
from unittest.mock import patch
with patch('builtins.input', return_value='no'):
    assert ask() == 'no!'
""",
    "recursion": "assert depth(900) == 900",
    "async": "import asyncio\nassert asyncio.run(later(1)) == 2",
    "async-gather": """
import asyncio
async def both():
    return await asyncio.gather(later(1), later(2))
assert asyncio.run(both()) == [2, 3]
""",
    "subclass": """
class Big(Point):
    def size2(self): return 10 * self.size

assert Big(1, 2).size2() == 30 and isinstance(Big(0, 0), Point)
""",
    "globals": "assert TABLE == {'a': 1} and LIST == [3, 1, 2] and sorted(LIST) == [1, 2, 3]",
    "main-guard": "def run():\n    assert depth(2) == 2\n\nif __name__ == '__main__':\n    run()",
    "import-of-the-solution": """
import solution
from solution import depth as d
assert solution.depth(3) == 3 and d(1) == 1
""",
    "module-of-the-program": "assert collections.OrderedDict(a=1) == {'a': 1} and decimal.Decimal('1') == 1",
    "names": "assert (depth.__name__, Point.__name__, type(Point(0, 0)).__name__) == ('depth', 'Point', 'Point')",
    "is-instance": "assert isinstance(depth(1), int) and type(depth(1)) is int\n"
    "assert isinstance(Point(0, 0), Point) and not isinstance(3, Point)",
    "match": """
match apply(lambda: {'k': [1, 2]}):
    case {'k': [a, b]}:
        assert a + b == 3
    case _:
        assert False
""",
    "numbers": "assert apply(pow, 2, 100) == 2 ** 100 and apply(complex, 1, 2) == 1 + 2j",
    "bytes-and-text": "assert apply(bytes, 'ä', 'utf-8') == b'\\xc3\\xa4' and apply(str, '\\udc80') == '\\udc80'",
    "dates": """
import datetime
assert apply(datetime.date, 2024, 2, 29) + datetime.timedelta(days=1) == datetime.date(2024, 3, 1)
""",
    "none-and-bools": "assert apply(lambda: None) is None and apply(bool, 1) is True",
    "deep-equality": "assert apply(lambda: {'a': [(1, {2: [3.5, {'x'}]})]}) == {'a': [(1, {2: [3.5, {'x'}]})]}",
    "numpy": """
import numpy as np
assert np.allclose(apply(np.arange, 3), [0, 1, 2]) and (apply(np.ones, 2) == 1).all()
""",
    "check-function": """
def check(candidate):
    assert candidate(3) == 3
    assert [candidate(n) for n in range(3)] == [0, 1, 2]

check(depth)
""",
    "metadata": """
METADATA = {'author': 'x'}

def check(candidate):
    for n in range(5):
        assert candidate(n) == n, f'{n}'

check(depth)
""",
}  # fmt: skip


@pytest.mark.parametrize("name", HONEST_TESTS)
def test_honest_programs_pass(arena: Arena, name: str) -> None:
    right, wrong = arena.run(
        Job(POINT, (HONEST_TESTS[name],)), Job(POINT, (HONEST_TESTS[name] + "\nassert depth(1) == 'never'",))
    )
    assert (right.outcome, right.message) == (PASSED, "")
    assert wrong.outcome is Outcome.FAILED  # the test does get to its end, and its verdict counts


def test_other_kinds_pass_too(arena: Arena) -> None:
    case = """
import unittest

class TestPoint(unittest.TestCase):
    def setUp(self):
        self.p = Point(1, 2)
    def test_size(self):
        self.assertEqual(self.p.size, 3)
    def test_error(self):
        with self.assertRaises(Wrong):
            fail(-1)
    def test_close(self):
        self.assertAlmostEqual(fail(3), 0.33333333)
    def test_parts(self):
        for n in range(3):
            with self.subTest(n=n):
                self.assertIn(n, [0, 1, 2])
"""
    results = arena.run(
        Job(POINT, (Unittest(case),)),
        Job(POINT, (Unittest(case.replace("size, 3", "size, 4")),)),
        Job("n = int(input())\nprint(n, n + 1)\n", (Stdin("4\n", "4 5\n"), Stdin("5", "5.0 6"), Stdin("5", "5 7"))),
        Job("class Solution:\n    def two(self, x): return (x, x)\n", (Calls("Solution.two", [["a"]], [("a", "a")]),)),
        Job("class Solution:\n    def two(self, x): return (x, x)\n", (Calls("Solution.two", [["a"]], [["a", "b"]]),)),
        Job(HONEST, (Record("f2", [[[2, 1]], [[]]]),)),
    )
    assert [r.outcome for r in results[:2]] == [PASSED, Outcome.FAILED]
    assert [t.outcome for t in results[2].tests] == [PASSED, PASSED, Outcome.FAILED]
    assert [r.outcome for r in results[3:5]] == [PASSED, Outcome.FAILED]
    assert results[5].tests[0].values == [[1, 2], []]


def test_tests_that_only_compare_equal_are_not_the_same_tests(arena: Arena) -> None:
    inputs = ((1, "1"), (True, "True"), (1.0, "1.0"))
    jobs = [Job("f = lambda x: repr(x)", (Calls("f", [[value]], [text]),)) for value, text in inputs]
    assert [result.outcome for result in arena.run(*jobs)] == [PASSED] * 3
