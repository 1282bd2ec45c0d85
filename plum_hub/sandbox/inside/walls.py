"""The walls around programs, from Linux itself: namespaces, a root of their own, Landlock, seccomp, no privileges.

    launcher   separate() -> fork                       in the namespaces, outside the pid namespace; unsealed
    server     rebuild() .. seal()                      pid 1; testers are its children
      helper   separate_pids() -> fork, then exit       must come before the server's own seal()
        zygote remount_proc(), seal()                   pid 1 of the nested pid namespace; programs are its children

What may be missing is missing quietly: no function raises because of what a kernel or a container refuses. It leaves a
line in `notes`, and the rest stands. Everywhere but on 64-bit Linux nothing stands.

Three ways, by what the machine lets us do:

- "root" (CAP_SYS_ADMIN): namespaces, own root directory, and a user id that nothing else has. It stays user 0, without
  capabilities and with a note, if others may not read the interpreter: RLIMIT_NPROC does not count user 0;
- "user" (unprivileged user namespaces): the same, except that a program is our own user to the outer world. Before
  Linux 5.14 RLIMIT_NPROC counts that user's processes everywhere;
- "" (neither, as in a container by default): Landlock and seccomp only; root still becomes another user, if it can.

Sealed processes cannot call `socket` (except for local networks within a network namespace, and for local sockets if
the root is our own), see no file contents but `readable` and `writable`, and hold no capability. All that has one
domain, i.e. all that was forked from one seal(), may signal each other, except pid 1 of a namespace; with Landlock ABI
6 nobody else.

What does not hold:

- without own root (way "", or where mounts are refused): names, sizes and times of all files that the user may see can
  be read (stat, inotify), times of files be set; what is written is bounded by RLIMIT_FSIZE only; changing modes,
  owners and extended attributes does nothing and says it worked; /dev/shm and semaphores there are closed;
- without pid namespace: `seal_subject` forbids new processes at all, so programs that use them fail. Without seccomp
  nothing does, and programs can kill what belongs to the user, where Landlock is older than ABI 6;
- without Landlock and own root: all files of the user are open;
- memory is bounded per process only (RLIMIT_AS), not in sum: that takes cgroups. tmpfs and memfd are memory, too;
- everything rests on one kernel: a hole in it is a hole in the wall. So are processor time, caches and other side
  channels shared. Denied calls are a list of what is known to be dangerous, not of what is known to be needed;
- tester and program share the loopback network, the scratch directory, and the readable files.
"""

import contextlib
import ctypes
import errno
import importlib
import os
import site
import socket
import stat
import struct
import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any

# --- constants of Linux ----------------------------------------------------------------------------------------------

NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
CLONE_THREAD = 0x10000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_NOATIME, MS_NODIRATIME, MS_BIND, MS_REC, MS_PRIVATE, MS_RELATIME = 1024, 2048, 4096, 16384, 1 << 18, 1 << 21
MNT_DETACH = 2
AT_FDCWD, AT_RECURSIVE = -100, 0x8000

PR_SET_PDEATHSIG, PR_GET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP = 1, 2, 4, 24
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4

#: Numbers of calls that are the same on every architecture we know, for what neither libc nor an old libseccomp names.
NUMBERS = {
    "clone3": 435,
    "pidfd_getfd": 438,
    "process_madvise": 440,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
    "fchmodat2": 452,
    "setxattrat": 463,
    "removexattrat": 466,
    "open_tree_attr": 467,
    "file_setattr": 469,
}
MACHINE = os.uname().machine if hasattr(os, "uname") else ""
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41}.get(MACHINE)

# Landlock: rights to files by bit, and how many bits each ABI knows
FS_EXECUTE, FS_WRITE_FILE, FS_READ_FILE, FS_READ_DIR = 1, 2, 4, 8
FS_MAKE_CHAR, FS_MAKE_BLOCK, FS_TRUNCATE, FS_IOCTL_DEV = 1 << 6, 1 << 11, 1 << 14, 1 << 15
FS_BITS = {1: 13, 2: 14, 3: 15, 4: 15}  # from 5 on: 16
FS_OF_FILES = FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV

DEVICES = ("null", "zero", "full", "random", "urandom")
SHM_MEGABYTES = 16
FILES = 16384  # inodes in the scratch directory
OLD = "/.old"  # the former root while the new one is filled
INNER_ID = 1000  # what our user is in a user namespace of our own

# --- what is denied --------------------------------------------------------------------------------------------------

#: Never of use to a program: other processes' memory, kernel interfaces with a record of holes, machine-wide settings.
#: SysV and message queues are here since they outlive their process, and so would fill memory from program to program.
DENIED = """
ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_getfd perf_event_open bpf userfaultfd
keyctl add_key request_key
mount umount umount2 pivot_root move_mount open_tree open_tree_attr fsopen fsconfig fsmount fspick mount_setattr
unshare setns chroot open_by_handle_at name_to_handle_at
io_uring_setup io_uring_enter io_uring_register
quotactl quotactl_fd acct swapon swapoff reboot kexec_load kexec_file_load
init_module finit_module delete_module create_module get_kernel_syms query_module
settimeofday stime clock_settime clock_settime64 clock_adjtime clock_adjtime64 adjtimex sethostname setdomainname
syslog vhangup nfsservctl lookup_dcookie iopl ioperm modify_ldt vm86 vm86old uselib _sysctl fanotify_init
setpriority ioprio_set migrate_pages move_pages
shmget msgget semget mq_open
"""

#: Allowed on oneself only (argument 0 is a pid, 0 oneself).
ONESELF = "sched_setaffinity sched_setscheduler sched_setparam sched_setattr prlimit64"

#: Without a root of our own: Landlock knows no right to these, and they would reach all files of the user.
METADATA = """
chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat setxattr lsetxattr fsetxattr setxattrat
removexattr lremovexattr fremovexattr removexattrat file_setattr
"""

#: Without a pid namespace, in a program: no process but this one.
STARTS = "fork vfork execve execveat setsid setpgid pidfd_open pidfd_send_signal"
SIGNALS = "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo"

TIOCSTI, TIOCLINUX, FIOSETOWN, SIOCSPGRP = 0x5412, 0x541C, 0x8901, 0x8902
F_SETOWN, F_SETSIG, F_SETOWN_EX = 8, 10, 15
LOW_32 = 0xFFFFFFFF

# --- this process ----------------------------------------------------------------------------------------------------

ON_LINUX = sys.platform == "linux" and sys.maxsize > 2**32
_libc: Any = ctypes.CDLL(None, use_errno=True) if ON_LINUX else None
_seccomp: Any = None
_seccomp_error = ""
# pyseccomp looks for its library through ctypes.util, which imports much, for every program to carry, and starts
# ldconfig. The loader finds it by its name alone.
_util = types.ModuleType("ctypes.util")
_util.find_library = lambda name: {"seccomp": "libseccomp.so.2"}.get(name)  # type: ignore[attr-defined]
try:
    if ON_LINUX:
        _known = sys.modules.get("ctypes.util")
        sys.modules["ctypes.util"] = ctypes.util = _util  # type: ignore[attr-defined]
        try:
            _seccomp = importlib.import_module("pyseccomp")
        finally:
            del sys.modules["ctypes.util"], ctypes.util  # type: ignore[attr-defined]
            if _known is not None:
                sys.modules["ctypes.util"] = ctypes.util = _known  # type: ignore[attr-defined]
except (ImportError, OSError, RuntimeError, AttributeError) as error:  # RuntimeError: no libseccomp.so
    _seccomp_error = str(error)

_uid: int | None = None  # what "root" becomes; chosen once in the launcher, so that all its processes are one user
_own_root = False
_own_processes = False  # RLIMIT_NPROC counts no process from outside


def _call(name: str, *arguments: Any) -> int:
    """Function `name` of libc, or the system call of that name. Raises OSError."""
    if not ON_LINUX:
        raise OSError(errno.ENOSYS, f"{name}: not 64-bit Linux")
    converted = [os.fsencode(a) if isinstance(a, str) else a for a in arguments]
    if name == "pivot_root" or name in NUMBERS:
        number = PIVOT_ROOT if name == "pivot_root" else NUMBERS[name]
        if number is None:
            raise OSError(errno.ENOSYS, f"{name} on {MACHINE}")
        whole = [ctypes.c_long(a) if isinstance(a, int) else a for a in converted]  # variadic: no int of 32 bits
        result = _libc.syscall(ctypes.c_long(number), *whole)
    else:
        result = getattr(_libc, name)(*converted)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return int(result)


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    _call("mount", source, target, kind, ctypes.c_ulong(flags), options)


def _prctl(option: int, *values: int) -> None:
    _call("prctl", option, *(ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]))


@contextlib.contextmanager
def _noting(notes: list[str], what: str) -> Iterator[None]:
    """A refusal becomes the note "`what`: why"."""
    try:
        yield
    except OSError as error:
        notes.append(f"{what}: {error.strerror or error}")


# --- namespaces ------------------------------------------------------------------------------------------------------


def separate(notes: list[str]) -> str:
    """Enter new namespaces (mounts, pids, network, ipc, host name). Call it in a process with one thread, then fork:
    the child is pid 1 of the new pid namespace. This process itself stays outside of that one, and keeps its
    capabilities: it should do nothing but wait for the child.

    Returns "root" or "user" (see above), or "" with a note if refused; then nothing has changed.
    """
    global _uid, _own_processes
    if not ON_LINUX:
        notes.append("no namespaces: not 64-bit Linux")
        return ""
    _uid = _unused_uid()
    uid, gid = os.geteuid(), os.getegid()
    flags = NEWNS | NEWPID | NEWNET | NEWIPC | NEWUTS
    way, refusal = "", ""
    if uid == 0:
        try:
            _call("unshare", flags)
            way = "root"
        except OSError as error:
            refusal = f"as root {error.strerror}; "
    if not way:
        try:
            _call("unshare", flags | NEWUSER)
            way = "user"
        except OSError as error:
            notes.append(f"no namespaces: {refusal}as user {error.strerror}")
            return ""
        with _noting(notes, "user namespace without ids"):
            with contextlib.suppress(FileNotFoundError):
                _write("/proc/self/setgroups", "deny")
            _write("/proc/self/uid_map", f"{INNER_ID} {uid} 1")
            _write("/proc/self/gid_map", f"{INNER_ID} {gid} 1")
        _own_processes = uid != 0 and _kernel() >= (5, 14)
    with _noting(notes, "loopback network"):
        _loopback_up()
    with _noting(notes, "host name"):
        socket.sethostname("sandbox")
    return way


def separate_pids(notes: list[str]) -> bool:
    """Put what this process forks next into nested pid, ipc and mount namespaces, with a /dev/shm of its own. Call it
    in a child of pid 1 that is not sealed, fork the zygote, and end: the zygote then is a child of pid 1."""
    try:
        _call("unshare", NEWNS | NEWPID | NEWIPC)
    except OSError as error:
        notes.append(f"no pid namespace for programs: {error.strerror}")
        return False
    if _own_root:
        with _noting(notes, "/dev/shm of the programs"):
            _mount_shm()
    return True


def remount_proc(notes: list[str]) -> None:
    """In pid 1 of the nested pid namespace: its own /proc, or an empty one, in place of the outer namespace's."""
    if not _own_root:
        return  # /proc is the machine's then, and closed by `seal`
    with _noting(notes, "no /proc for programs"):
        try:
            _mount_proc()
        except OSError:
            _mount("tmpfs", "/proc", "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k,nr_inodes=2")
            raise


def counts_processes() -> bool:
    """Whether RLIMIT_NPROC counts only processes from inside, so that a low limit works. Ask after `seal`."""
    return _own_processes


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _kernel() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(c for c in minor if c.isdigit()) or 0)


def _loopback_up() -> None:
    """Programs may talk to themselves over 127.0.0.1."""
    import fcntl  # not on every system that may import this module

    name_and_flags = struct.pack("16sh14x", b"lo", 1)  # IFF_UP
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, 0x8914, name_and_flags)  # SIOCSIFFLAGS
    # No closed connection lingers, or it would keep its port from the next program.
    with contextlib.suppress(OSError), open("/proc/sys/net/ipv4/tcp_max_tw_buckets", "w") as setting:
        setting.write("0")


def _unused_uid() -> int | None:
    """A user id that most likely nothing else has: RLIMIT_NPROC then counts only us, and no file belongs to it."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    ranges = []
    with contextlib.suppress(OSError), open("/proc/self/uid_map") as file:
        ranges = [(int(first), int(count)) for first, _, count in map(str.split, file)]
    number = int.from_bytes(os.urandom(8), "little")
    if not ranges or any(first == 0 and count > 1 << 31 for first, count in ranges):
        return 1_000_000_000 + number % (1 << 29)
    first, count = max(ranges, key=lambda pair: pair[1])  # in a container: the last ids of its share, but not the last
    return first + count - 3 - number % 4000 if count >= 10_000 else None


# --- a root directory of our own -------------------------------------------------------------------------------------


def rebuild(readable: Sequence[str], scratch: str, megabytes: int, notes: list[str]) -> bool:
    """In pid 1, if `separate` gave something: leave the machine's directory tree for one in memory with nothing but
    `readable` (read-only), `scratch` (at most `megabytes` MiB; /tmp points to it unless something readable is in /tmp),
    /proc of this pid namespace, and /dev with a few devices. Ends in `scratch`.

    Whoever holds a descriptor of a directory keeps its way to the old tree: close them first. Returns whether the new
    root stands; if not, `scratch` does not exist, and there is a note.
    """
    global _own_root
    mask = os.umask(0o022)
    try:
        links, sources = _plan(readable, notes)
        base = next(path for path in ("/tmp", "/mnt", "/dev") if os.path.isdir(path))
        _mount("none", "/", None, MS_REC | MS_PRIVATE)
        _mount("tmpfs", base, "tmpfs", MS_NOSUID | MS_NODEV, "size=4m,nr_inodes=8192,mode=755")
        try:
            os.mkdir(base + OLD)
            _call("pivot_root", base, base + OLD)
        except OSError:
            _call("umount2", base, MNT_DETACH)
            raise
        try:
            os.chdir("/")
            _fill(links, sources, notes)
            _make_scratch(scratch, megabytes, notes)
            _call("umount2", OLD, MNT_DETACH)
        except OSError:  # back to where we were
            os.chdir("/")
            _call("pivot_root", OLD, OLD + base)
            os.chdir("/")
            _call("umount2", base, MNT_DETACH)
            raise
        with _noting(notes, "the root directory can be written"):
            os.rmdir(OLD)
            _mount("none", "/", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)
    except (OSError, StopIteration) as error:
        notes.append(f"no root directory of its own: {getattr(error, 'strerror', None) or error!r}")
        return False
    finally:
        os.umask(mask)
    _own_root = True
    return True


def _plan(readable: Sequence[str], notes: list[str]) -> tuple[dict[str, str], list[str]]:
    """Which symbolic links (path to text) and which real paths make all of `readable` reachable at their own names."""
    links: dict[str, str] = {}
    found: set[str] = set()
    pending = [os.path.abspath(path) for path in readable]
    steps = 0
    while pending and (steps := steps + 1) < 10_000:  # links may go in circles
        path = pending.pop()
        parts = path.strip("/").split("/")
        for i in range(len(parts)):
            here = "/" + "/".join(parts[: i + 1])
            if os.path.islink(here):
                links[here] = os.readlink(here)
                target = os.path.join(os.path.dirname(here), links[here], *parts[i + 1 :])
                pending.append(os.path.normpath(target))
                break
        else:
            if path == "/" or _beneath(path, ("/proc", "/dev")):
                notes.append(f"not readable as a whole: {path}")
            elif os.path.exists(path):
                found.add(path)
    sources: list[str] = []
    for path in sorted(found):  # a directory comes before what is in it
        if not _beneath(path, sources):
            sources.append(path)
    return {path: text for path, text in links.items() if not _beneath(path, sources)}, sources


def _beneath(path: str, parents: Sequence[str]) -> bool:
    return any(path == parent or path.startswith(parent.rstrip("/") + "/") for parent in parents)


def _fill(links: dict[str, str], sources: Sequence[str], notes: list[str]) -> None:
    for path in sources:
        with _noting(notes, f"not readable: {path}"):
            _bind(path, MS_RDONLY | MS_NOSUID | MS_NODEV)
    for path, text in links.items():
        with _noting(notes, f"no link {path}"):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.symlink(text, path)
    for name in DEVICES:
        with _noting(notes, f"no /dev/{name}"):
            _bind(f"/dev/{name}", MS_RDONLY | MS_NOSUID | MS_NOEXEC)
    os.makedirs("/dev/shm", exist_ok=True)
    with _noting(notes, "no /dev/shm"):
        _mount_shm()
    for name, text in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(f"/proc/self/{text}", f"/dev/{name}")
    os.makedirs("/proc", exist_ok=True)
    with _noting(notes, "no /proc"):
        _mount_proc()
    if not os.path.lexists("/etc/hosts"):
        os.makedirs("/etc", exist_ok=True)
        with contextlib.suppress(OSError):  # /etc may be readable as a whole
            _write("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")


def _make_scratch(scratch: str, megabytes: int, notes: list[str]) -> None:
    os.makedirs(scratch)
    _mount("tmpfs", scratch, "tmpfs", MS_NOSUID | MS_NODEV, f"size={megabytes}m,nr_inodes={FILES},mode=0777")
    if not os.path.lexists("/tmp"):
        os.symlink(scratch, "/tmp")
    elif os.path.normpath(scratch) != "/tmp":
        notes.append("/tmp cannot be written: something readable is in it")
    os.chdir(scratch)


def _bind(path: str, flags: int) -> None:
    """Make `path` of the old root visible in the new one, with mounts in it, and `flags` on all of them."""
    source = OLD + path
    if os.path.isdir(source):
        os.makedirs(path, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "x"):
            pass
    _mount(source, path, None, MS_BIND | MS_REC)
    try:
        attributes = struct.pack("QQQQ", flags, 0, 0, 0)  # the lowest bits of mount_attr are those of mount
        _call("mount_setattr", AT_FDCWD, path, AT_RECURSIVE, attributes, len(attributes))
    except OSError as error:
        _call("umount2", path, MNT_DETACH)
        if error.errno != errno.ENOSYS:
            raise
        _mount(source, path, None, MS_BIND)  # before Linux 5.12: without the mounts in it
        kept = os.statvfs(path).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME)
        relative = MS_RELATIME if os.statvfs(path).f_flag & 4096 else 0  # ST_RELATIME
        _mount("none", path, None, MS_REMOUNT | MS_BIND | flags | kept | relative)


def _mount_shm() -> None:
    _mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, f"size={SHM_MEGABYTES}m,nr_inodes=1024")


def _mount_proc() -> None:
    _mount("proc", "/proc", "proc", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)


def readable_paths(notes: list[str] | None = None) -> list[str]:
    """What a Python program needs to read: interpreter, standard and installed libraries, system libraries, time zones.
    Never a home directory as a whole: a Python that is installed right into one is left out with a note, but for its
    library directories."""
    notes = [] if notes is None else notes
    system = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store"]
    system += ["/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types", "/etc/alternatives", "/etc/ssl/openssl.cnf"]
    libraries = [os.path.dirname(os.__file__), *site.getsitepackages()]
    python = [sys.base_prefix, sys.base_exec_prefix, sys.prefix, sys.exec_prefix, *libraries]
    python += [sys.executable, os.path.realpath(sys.executable), os.path.dirname(os.path.abspath(__file__))]
    homes = {os.path.realpath(path) for path in ("/root", os.path.expanduser("~"), os.environ.get("HOME", "/root"))}
    found = []
    for path in dict.fromkeys(os.path.abspath(path) for path in (*system, *python) if path):
        real = os.path.realpath(path)
        if real in ("/", "/home", "/etc", "/var", "/tmp") or any(_beneath(home, (real,)) for home in homes):
            notes.append(f"not readable as a whole: {path}")
        elif os.path.exists(path):
            found.append(path)
    return found


# --- the seal --------------------------------------------------------------------------------------------------------


def seal(namespaces: str, readable: Sequence[str], writable: Sequence[str], notes: list[str]) -> dict[str, Any]:
    """Last step, in server and zygote, and irrevocable; what they fork inherits it. `namespaces` is what `separate`
    gave. No new privileges, no look into this process, Landlock, another user (if root), no capabilities, seccomp.

    Call it with one thread: most of it concerns the calling thread only. Needs no file afterwards but `readable` and
    what is in `writable`; PR_SET_PDEATHSIG outlives it. Returns what stands, e.g.
    {"namespaces": "root", "seccomp": True, "landlock": 7, "proc": True}.
    """
    global _own_processes
    walls = {"namespaces": namespaces, "seccomp": False, "landlock": 0, "proc": False}
    if not ON_LINUX:
        notes.append("no walls: not 64-bit Linux")
        return walls
    with _noting(notes, "no_new_privs"):
        _prctl(PR_SET_NO_NEW_PRIVS, 1)
    death = ctypes.c_int()
    with contextlib.suppress(OSError):
        _call("prctl", PR_GET_PDEATHSIG, ctypes.byref(death))
    with contextlib.suppress(OSError):  # of another namespace, /proc/self is another number or nothing
        walls["proc"] = bool(namespaces) and os.readlink("/proc/self") == str(os.getpid())
    other = os.geteuid() == 0 and namespaces != "user" and _prepare_user(readable, writable, notes)
    walls["landlock"] = _landlock(namespaces, bool(walls["proc"]), readable, writable, notes)
    _drop_privileges(other, notes)
    if other:
        _own_processes = os.getuid() != 0
    with _noting(notes, "dumpable"):
        _prctl(PR_SET_DUMPABLE, 0)
    with _noting(notes, "parent death signal"):  # a change of user resets it
        _prctl(PR_SET_PDEATHSIG, death.value)
    if _seccomp is None:
        notes.append(f"no seccomp: {_seccomp_error}")
    else:
        with _noting(notes, "no seccomp"):
            _filter(namespaces).load()
            walls["seccomp"] = True
    return walls


def seal_subject(notes: list[str]) -> bool:
    """Without pid namespace, in each program's process just after the fork: no other process can be started, signalled
    or caused to be signalled. Comes on top of `seal`. Returns whether it stands."""
    if _seccomp is None:
        notes.append(f"programs can start and kill processes: {_seccomp_error or 'no seccomp'}")
        return False
    try:
        rules = _Rules()
        for name in STARTS.split():
            rules.deny(name)
        for name in SIGNALS.split():
            rules.deny(name, _is(0, "NE", os.getpid()))  # abort() and threads signal themselves
        rules.deny("clone", _any(0, CLONE_THREAD, 0))
        rules.deny("clone3", code=errno.ENOSYS)
        rules.deny("prctl", _any(0, LOW_32, PR_SET_PDEATHSIG))
        for command in (F_SETOWN, F_SETSIG, F_SETOWN_EX):  # the kernel sends signals to owners of descriptors
            rules.deny("fcntl", _any(1, LOW_32, command))
        for request in (FIOSETOWN, SIOCSPGRP):
            rules.deny("ioctl", _any(1, LOW_32, request))
        rules.load()
    except OSError as error:
        notes.append(f"programs can start and kill processes: {error.strerror}")
        return False
    return True


def _prepare_user(readable: Sequence[str], writable: Sequence[str], notes: list[str]) -> bool:
    """Whether another user could work here; if so, `writable` is made so."""
    if _uid is None:
        notes.append("stays user 0: no spare user id here")
        return False
    closed = ""
    try:
        for path in readable:
            if os.path.exists(path):
                closed = closed or _closed_to_others(path, 0o004)
        for path in writable:
            closed = closed or _closed_to_others(os.path.dirname(os.path.abspath(path)), 0)
        if not closed:
            for path in writable:
                if stat.S_IMODE(os.stat(path).st_mode) & 0o007 != 0o007:
                    os.chown(path, _uid, _uid)
    except OSError as error:
        closed = f"{error.filename} ({error.strerror})"
    if closed:
        notes.append(f"stays user 0, RLIMIT_NPROC may not count: {closed} is closed to other users")
    return not closed


def _closed_to_others(path: str, bits: int) -> str:
    """The first of `path` and its parents that refuses others `bits` or a way through; "" if none does."""
    real = os.path.realpath(path)
    mode = os.stat(real).st_mode
    if mode & bits != bits or (stat.S_ISDIR(mode) and not mode & 0o001):
        return real
    while real != "/":
        real = os.path.dirname(real)
        if not os.stat(real).st_mode & 0o001:
            return real
    return ""


def _drop_privileges(other: bool, notes: list[str]) -> None:
    for capability in range(64):
        try:
            _prctl(PR_CAPBSET_DROP, capability)
        except OSError:  # EINVAL: there are no more; EPERM: not ours to drop, and no_new_privs stands before it
            break
    if os.geteuid() == 0 and os.getgroups():
        with _noting(notes, "keeps its groups"):
            os.setgroups([])
    if other and _uid is not None:
        with _noting(notes, "stays user 0"):
            os.setresgid(_uid, _uid, _uid)
            os.setresuid(_uid, _uid, _uid)
    with contextlib.suppress(OSError):  # before Linux 4.3 there are none
        _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    with _noting(notes, "keeps capabilities"):
        header = struct.pack("Ii", 0x20080522, 0)  # version 3, oneself
        _call("capset", header, bytes(24))


# --- Landlock --------------------------------------------------------------------------------------------------------


def _landlock(namespaces: str, proc: bool, readable: Sequence[str], writable: Sequence[str], notes: list[str]) -> int:
    """Enter a Landlock domain; its ABI, or 0 with a note."""
    try:
        abi = _call("landlock_create_ruleset", None, 0, 1)
    except OSError as error:
        notes.append(f"no Landlock: {error.strerror}")
        return 0
    handled = (1 << FS_BITS.get(abi, 16)) - 1
    network = 3 if abi >= 4 and not namespaces else 0  # bind and connect of TCP
    scoped = 3 if abi >= 6 else 0  # abstract sockets and signals stay within a domain
    reading = FS_EXECUTE | FS_READ_FILE | FS_READ_DIR
    writing = handled & ~(FS_MAKE_CHAR | FS_MAKE_BLOCK | FS_IOCTL_DEV)
    rules = [(path, reading) for path in readable] + [(path, writing) for path in writable]
    rules += [(f"/dev/{name}", FS_READ_FILE | FS_WRITE_FILE | FS_TRUNCATE) for name in DEVICES]
    if _own_root:
        rules += [("/dev/shm", writing), ("/etc/hosts", FS_READ_FILE)]
    if proc:
        rules.append(("/proc", FS_READ_FILE | FS_READ_DIR))
    ruleset = -1
    try:
        attributes = struct.pack("QQQ", handled, network, scoped)[: 8 if abi < 4 else 16 if abi < 6 else 24]
        ruleset = _call("landlock_create_ruleset", attributes, len(attributes), 0)
        for path, rights in rules:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):  # nothing to allow then
                _allow(ruleset, path, rights & handled)
        _call("landlock_restrict_self", ruleset, 1 if abi >= 7 else 0)  # 1: denials do not go to the audit log
    except OSError as error:
        notes.append(f"no Landlock: {error.strerror}")
        return 0
    finally:
        if ruleset >= 0:
            os.close(ruleset)
    return abi


def _allow(ruleset: int, path: str, rights: int) -> None:
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            rights &= FS_OF_FILES
        _call("landlock_add_rule", ruleset, 1, struct.pack("=Qi", rights, handle), 0)  # 1: path beneath
    finally:
        os.close(handle)


# --- seccomp ---------------------------------------------------------------------------------------------------------


def _is(argument: int, comparison: str, value: int) -> Any:
    return _seccomp.Arg(argument, getattr(_seccomp, comparison), value)


def _any(argument: int, mask: int, value: int) -> Any:
    """The argument's bits in `mask` are `value`. With LOW_32: where the kernel looks at 32 bits only."""
    return _seccomp.Arg(argument, _seccomp.MASKED_EQ, mask, value)


class _Rules:
    """A filter that allows all but what is denied. Of a foreign architecture (32-bit calls, x32) it allows nothing."""

    def __init__(self) -> None:
        self.filter = _seccomp.SyscallFilter(_seccomp.ALLOW)
        with contextlib.suppress(OSError):  # else libseccomp's default: only the calling thread is killed
            self.filter.set_attr(_seccomp.Attr.ACT_BADARCH, _seccomp.KILL_PROCESS)

    def deny(self, name: str, *conditions: Any, code: int = errno.EPERM) -> None:
        """Call `name` fails with `code` where all `conditions` hold."""
        action = _seccomp.ERRNO(code)
        number = _seccomp.resolve_syscall(_seccomp.Arch.NATIVE, name)
        if number >= 0:
            self.filter.add_rule(action, number, *conditions)
        elif name in NUMBERS:  # newer than libseccomp, which may refuse it; else this architecture has no such call
            with contextlib.suppress(OSError):
                self.filter.add_rule(action, NUMBERS[name], *conditions)

    def load(self) -> None:
        self.filter.load()


def _filter(namespaces: str) -> _Rules:
    rules = _Rules()
    for name in DENIED.split():
        rules.deny(name)
    for name in ONESELF.split():
        rules.deny(name, _is(0, "NE", 0))
    for flag in (NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET):
        rules.deny("clone", _any(0, flag, flag))
    rules.deny("clone3", code=errno.ENOSYS)  # its flags are in memory, where no filter looks; libc falls back to clone
    for kind in (stat.S_IFCHR, stat.S_IFBLK):
        rules.deny("mknod", _any(1, 0o170000, kind))
        rules.deny("mknodat", _any(2, 0o170000, kind))
    for request in (TIOCSTI, TIOCLINUX):  # typing into a terminal
        rules.deny("ioctl", _any(1, LOW_32, request))
    if not namespaces:
        rules.deny("pidfd_send_signal")
    _filter_sockets(rules, local=_own_root, internet=bool(namespaces))
    if not _own_root:
        for name in METADATA.split():  # success, since copying a file sets its mode and would fail
            rules.deny(name, code=0)
    return rules


def _filter_sockets(rules: _Rules, local: bool, internet: bool) -> None:
    """Families: 0 none, 1 local, 2 internet, 10 internet 6. `local`: without a root of our own, sockets of services
    with power (docker, system bus, agents) could be reached by name, which Landlock does not prevent. Pairs remain."""
    for family in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10):
        if not ((local and family == 1) or (internet and family in (2, 10))):
            rules.deny("socket", _is(0, "EQ", family))
    rules.deny("socket", _is(0, "GT", 10))
    if internet:
        for family in (2, 10):  # TCP and UDP, none of the protocols that would load a module first
            rules.deny("socket", _is(0, "EQ", family), _is(2, "GT", socket.IPPROTO_UDP))
    rules.deny("socketpair", _is(0, "NE", 1))
    if not local:
        rules.deny("connect")
        rules.deny("socketpair", _is(0, "EQ", 1), _any(1, 0xF, 2))  # datagrams can be sent to a name
