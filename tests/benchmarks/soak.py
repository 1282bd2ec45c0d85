"""Runs very many programs through one sandbox, hostile ones among them, and looks at memory, processes and verdicts.

    python tests/benchmarks/soak.py [--programs 200000] [--workers 2]

One program in twenty is hostile: exits, floods, memory hogs, daemons, forged equality, nonsense on descriptors, endless
loops (one in 2,000, so that it ends today). Every program has a number of its own, which its test asks for: a verdict
that is lost, doubled or another's shows. At the end a sample of them is run one by one, each in a sandbox of its own,
and must get the same verdicts. Memory is that of this process and of all below it.
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # runs from a checkout, installed or not

from plum_hub.outcomes import Outcome  # noqa: E402
from plum_hub.sandbox import Job, Limits, Result, Sandbox  # noqa: E402

LIMITS = Limits(seconds=1.0, total_seconds=6.0)
SUITE = 50  # programs in a row with the same test

#: Name -> (program, outcomes it may get). `{n}` is the program's number.
HOSTILE: dict[str, tuple[str, set[Outcome]]] = {
    "exit": ("import sys\nsys.exit(0)", {Outcome.LOAD_ERROR}),
    "os._exit in f": ("def f(x):\n    import os\n    os._exit(0)", {Outcome.CRASHED}),
    "equals everything": (
        "class A:\n    __eq__ = lambda s, o: True\n    __hash__ = lambda s: 0\ndef f(x): return A()",
        {Outcome.FAILED},
    ),
    "prints a flood": ("print('x' * 3_000_000)", {Outcome.OUTPUT_LIMIT}),
    "takes 6 GiB": ("x = b'x' * (6 << 30)", {Outcome.MEMORY}),
    "kills everything": ("import os\nos.kill(-1, 9)\ndef f(x): return -1", {Outcome.LOAD_ERROR}),
    "leaves a daemon": (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(600)\n    os._exit(0)\n"
        "def f(x): return -1",
        {Outcome.FAILED},
    ),
    "writes nonsense": (
        "import os\ndef f(x):\n    for fd in range(3, 64):\n        try: os.write(fd, b'\\0\\0\\0\\1P')\n"
        "        except OSError: pass\n    return -1",
        {Outcome.BLOCKED, Outcome.CRASHED},
    ),
    "fills the disk": (
        "def f(x):\n    for n in range(100):\n        open(str(n), 'wb').write(b'x' * 900_000)\n    return -1",
        {Outcome.ERROR, Outcome.FAILED},
    ),
    "segfault": ("import ctypes\nctypes.string_at(0)", {Outcome.CRASHED}),
}
LOOP = ("def f(x):\n    while True: pass", {Outcome.TIMEOUT})


def job(number: int) -> tuple[Job, set[Outcome]]:
    """Program `number` and the outcomes it may get."""
    test = f"assert f({number // SUITE}) == {number // SUITE} * 2"
    if number % 2000 == 1999:
        program, outcomes = LOOP
    elif number % 20 == 7:
        program, outcomes = list(HOSTILE.values())[number // 20 % len(HOSTILE)]
    elif number % 3 == 0:  # an honest one that is wrong
        program, outcomes = f"def f(x):\n    return x * 2 + 1  # {number}", {Outcome.FAILED}
    else:
        program, outcomes = f"def f(x):\n    return x * 2  # {number}", {Outcome.PASSED}
    return Job(program, (test,)), outcomes


def below(pid: int) -> list[int]:
    """`pid` and all its descendants."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                status = Path(f"/proc/{name}/stat").read_text()
            except OSError:
                continue
            parents.setdefault(int(status.rpartition(")")[2].split()[1]), []).append(int(name))
    found = [pid]
    for each in found:
        found += parents.get(each, [])
    return found


def memory() -> tuple[float, int]:
    """(MiB that this process and all below it hold, number of processes)."""
    held, processes = 0, below(os.getpid())
    for pid in processes:
        try:
            pages = Path(f"/proc/{pid}/statm").read_text().split()
        except OSError:
            continue
        held += (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGESIZE")
    return held / 2**20, len(processes)


def main() -> None:
    """Run, and print a line now and then."""
    parser = argparse.ArgumentParser(description="very many programs through one sandbox")
    parser.add_argument("--programs", type=int, default=200_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--sample", type=int, default=60, help="run again one by one at the end")
    options = parser.parse_args()
    taken, wrong, again = 0, [], {}
    outcomes: Counter[str] = Counter()
    began = time.monotonic()

    def jobs() -> Iterator[Job]:
        nonlocal taken
        for number in range(options.programs):
            taken += 1
            yield job(number)[0]

    def check(number: int, result: Result) -> None:
        outcomes[result.outcome.value] += 1
        if result.outcome not in job(number)[1] or len(result.tests) != 1:
            wrong.append((number, result.outcome.value, result.message))

    print(f"{'programs':>9} {'per second':>11} {'MiB':>7} {'processes':>10}  wrong", flush=True)
    with Sandbox(LIMITS, options.workers) as sandbox:
        number = -1
        for number, result in enumerate(sandbox.run(jobs())):
            check(number, result)
            if (number * options.sample) // options.programs != ((number + 1) * options.sample) // options.programs:
                again[number] = result
            if (number + 1) % max(1, options.programs // 10) == 0:
                held, processes = memory()
                rate = (number + 1) / (time.monotonic() - began)
                print(f"{number + 1:9} {rate:11.0f} {held:7.0f} {processes:10}  {len(wrong)}", flush=True)
    print(f"results {number + 1} of {taken} jobs taken; outcomes {dict(outcomes)}")
    print(f"processes left: {len(below(os.getpid())) - 1}")
    different = []
    for number, result in again.items():
        with Sandbox(LIMITS, 1) as alone:
            (once,) = alone.run([job(number)[0]])
        if once.outcome is not result.outcome:
            different.append((number, result.outcome.value, once.outcome.value))
    print(f"run again one by one: {len(again)}, another verdict: {len(different)} {different[:5]}")
    print(f"wrong: {len(wrong)} {wrong[:5]}")
    sys.exit(bool(wrong or different))


if __name__ == "__main__":
    main()
