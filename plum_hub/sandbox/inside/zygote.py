"""Forks one process per program (`subject.py`), and ends it with all that it started.

Where there are namespaces it is process 1 of its own: no program can signal it, and `kill(-1)` reaches everything that
a program left behind, and nothing else. It never sees a test.

    server -> zygote   marshal of {"spawn": program, "script": bool, "stdin": str} with the program's socket;
                       {"cpu": 1}, answered by the processor time of the program so far, in seconds;
                       {"end": died}, answered by [wait status of a program that ended by itself or None, problem];
                       {"warm": [module]}, for the zygote of programs that import heavy libraries
"""

import contextlib
import fcntl
import gc
import importlib
import marshal
import os
import resource
import signal
import socket
import stat
import time
from math import ceil
from typing import Any, NoReturn

from . import subject, walls, wire
from .common import Closed, describe, limit, receive, write_frame

PROCESS_CLEAR_SECONDS = 10.0  # to kill what a program left behind, before giving up on this whole server
DYING_SECONDS = 0.2  # between a process' closing its socket and its death


def remove_tree(path: str, keep: bool = False) -> None:
    """Remove a directory tree of any depth (`keep` the directory itself), without following links nor recursion.

    Directories are lifted to the top level before they are emptied, so that ten thousand nested ones cost no more than
    ten thousand in a row. Best effort: what the system refuses to remove stays.
    """
    with contextlib.suppress(OSError):
        if not keep:
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
        if not keep:
            os.rmdir(path)


def own_children() -> list[int]:
    """The process ids of this process' children, orphans it inherited included. Linux; elsewhere empty."""
    found = []
    me = str(os.getpid())
    try:
        names = os.listdir("/proc")
    except OSError:  # not there, or behind the walls: then programs cannot start processes either
        return []
    for name in names:
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError), open(f"/proc/{name}/stat", "rb") as status:
                if status.read().rpartition(b")")[2].split()[1].decode() == me:
                    found.append(int(name))
    return found


class Zygote:
    """The one program that runs at a time, and where."""

    def __init__(self, control: socket.socket, scratch: str, alone: bool, limits: dict[str, Any]) -> None:
        """`alone` is whether this process is the first of its own process namespace."""
        self.control, self.scratch, self.alone, self.limits = control, scratch, alone, limits
        self.pid = 0
        self.problem = ""
        self.peer = wire.Peer(-1, trusted=True)  # made once: what a fork finds ready costs it no memory of its own
        self.flags = [fcntl.fcntl(fd, fcntl.F_GETFL) for fd in (0, 1)]  # programs share these two with us
        self.output = 1  # a memory file: file size limits hold for it, and no disk is involved

    def spawn(self, request: dict[str, Any], fd: int) -> None:
        """Fork the program's process."""
        try:
            os.ftruncate(self.output, 0)
            os.lseek(self.output, 0, os.SEEK_SET)
            self.pid = os.fork()
        except OSError as error:
            self.problem = describe(error)
            os.close(fd)
            return
        if self.pid == 0:
            self.child(request, fd)
        os.close(fd)

    def child(self, request: dict[str, Any], fd: int) -> NoReturn:
        try:
            self.control.close()
            if not self.alone:
                os.setsid()
            limit(resource.RLIMIT_CPU, ceil(self.limits["total_seconds"]) + 2)  # only a backstop
            if request["script"]:
                text = os.memfd_create("input")
                os.write(text, request["stdin"].encode("utf-8", "surrogatepass"))
                os.lseek(text, 0, os.SEEK_SET)
                os.dup2(text, 0)
                os.close(text)
            if not self.alone:
                walls.seal_subject([])
            self.peer.fd = fd
            subject.main(self.peer, request["spawn"], request["script"], self.limits["output_bytes"])
        finally:
            os._exit(1)

    def cpu(self) -> float:
        """Seconds of processor time of the program's first process."""
        try:
            return time.clock_gettime((~self.pid << 3) | 2) if self.pid else 0.0
        except OSError:
            return 0.0

    def end(self, died: bool) -> list[Any]:
        """Kill the program with all it started. Raises TimeoutError when they multiply faster than they die."""
        if not self.pid:
            problem, self.problem = self.problem, ""
            return [None, problem]
        status = None
        give_up = time.monotonic() + (DYING_SECONDS if died else 0.0)
        while True:
            reaped, code = os.waitpid(self.pid, os.WNOHANG)
            if reaped:
                status = code
            if reaped or time.monotonic() >= give_up:
                break
            time.sleep(0.0005)
        self.clear(status is None)
        self.pid = 0
        self.tidy()
        return [status, ""]

    def clear(self, alive: bool) -> None:
        give_up = time.monotonic() + PROCESS_CLEAR_SECONDS
        if alive and not self.alone:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGKILL)
        while True:
            if self.alone:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(-1, signal.SIGKILL)
            try:
                while os.waitpid(-1, 0 if self.alone else os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            for child in own_children():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(child, signal.SIGKILL)
            if time.monotonic() > give_up:
                raise TimeoutError("the program's processes cannot be cleared")
            time.sleep(0.0005)

    def tidy(self) -> None:
        """An empty scratch directory for the next program."""
        for fd, flags in enumerate(self.flags):
            fcntl.fcntl(fd, fcntl.F_SETFL, flags)
        with contextlib.suppress(OSError):
            if stat.S_IMODE(os.stat(self.scratch).st_mode) != 0o700 and not self.alone:
                os.chmod(self.scratch, 0o700)
            if os.listdir(self.scratch):
                remove_tree(self.scratch, keep=True)
        if self.alone:
            with contextlib.suppress(OSError):
                if os.listdir("/dev/shm"):
                    remove_tree("/dev/shm", keep=True)


def main(control: socket.socket, scratch: str, alone: bool, limits: dict[str, Any]) -> NoReturn:
    """Serve until the server hangs up."""
    subject.prepare()
    gc.collect()
    gc.disable()
    gc.freeze()
    zygote = Zygote(control, scratch, alone, limits)
    try:
        while True:
            body, fd = receive(control)
            request = marshal.loads(body)
            if "spawn" in request:
                zygote.spawn(request, fd)
            elif "cpu" in request:
                write_frame(control.fileno(), marshal.dumps(zygote.cpu()))
            elif "end" in request:
                write_frame(control.fileno(), marshal.dumps(zygote.end(request["end"])))
            else:
                for name in request["warm"]:
                    with contextlib.suppress(Exception):
                        importlib.import_module(name)
    except (Closed, OSError, TimeoutError):
        pass
    finally:
        if zygote.pid:
            with contextlib.suppress(BaseException):
                zygote.clear(True)
        os._exit(0)
