"""Environments of other libraries: built once, whole or not at all, and usable in the sandbox."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from plum_hub.errors import UserError
from plum_hub.evaluate import environments
from plum_hub.sandbox import Job, Limits, Sandbox, Unittest

TINY = ("iniconfig==2.0.0",)  # one small pure wheel


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cache(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PLUM_CACHE", str(shared))
    return shared


def version_in(python: Path) -> str:
    code = "import iniconfig, sys; from importlib import metadata; print(metadata.version('iniconfig'), sys.prefix)"
    return subprocess.check_output([python, "-c", code], text=True).strip()


def test_two_builders_build_once_and_what_is_half_built_does_not_count(cache: Path) -> None:
    words: list[str] = []
    found: list[Path] = []

    def build() -> None:
        found.append(environments.ensure("tiny", TINY, log=words.append))

    both = [threading.Thread(target=build) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    (python,) = set(found)
    folder = python.parents[1]
    assert python.is_relative_to(cache / "environments")
    assert [word.split(",")[0] for word in words[:1]] == ["building the environment tiny once"]
    assert len([word for word in words if word.startswith("building")]) == 1
    assert version_in(python) == f"2.0.0 {folder}"
    (folder / environments.COMPLETE).unlink()  # as after a kill
    (folder / "rubbish").touch()
    assert environments.ensure("tiny", TINY, log=words.append) == python
    assert not (folder / "rubbish").exists()
    assert len([word for word in words if word.startswith("building")]) == 2


def test_what_does_not_install_is_one_line_and_leaves_nothing_that_counts(cache: Path) -> None:
    for _ in range(2):
        with pytest.raises(UserError, match=r"^the environment none cannot be built: .*iniconfig==0\.0\.0\.1") as told:
            environments.ensure("none", ["iniconfig==0.0.0.1"])
        assert "\n" not in str(told.value)
    with pytest.raises(UserError, match="no-such-python does not run"):
        environments.ensure("none", [], "/no-such-python")


def test_an_interpreter_is_found_by_version() -> None:
    assert environments.find("{}.{}".format(*sys.version_info)) == sys.executable
    assert environments.find("3.1") is None


@pytest.mark.skipif(sys.platform != "linux", reason="the walls are Linux'")
def test_programs_run_in_it_behind_the_same_walls(cache: Path) -> None:
    python = environments.ensure("tiny", TINY)
    program = "import iniconfig\ndef where():\n    return iniconfig.__file__\n"
    with Sandbox(workers=1) as here, Sandbox(workers=1, python=python) as there:
        (result,) = there.run([Job(program, [f"assert where().startswith({str(python.parents[1])!r})"])])
        assert result.outcome == "passed", result.message
        if there.walls["namespaces"]:  # else no program can start another
            starts = (
                "import subprocess\ndef f(): return subprocess.run(['python', '-c', 'import iniconfig']).returncode"
            )
            (result,) = there.run([Job(starts, ["assert f() == 0"])])
            assert result.outcome == "passed", result.message
        assert {k: there.walls[k] for k in ("seccomp", "landlock")} == {
            k: here.walls[k] for k in ("seccomp", "landlock")
        }


@pytest.mark.skipif(environments.find("3.10") is None, reason="no Python 3.10 here")
def test_a_python_3_10_judges_every_kind_of_test() -> None:
    program = (
        "import sys\nfrom multiprocessing import Pool\n"
        "def version():\n    return tuple(sys.version_info[:2])\n"
        "def both():\n    with Pool(2) as pool:\n        return pool.map(abs, [-1, 2])\n"
    )
    suite = (
        "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n"
        "        self.assertEqual(version(), (3, 10))\n        self.assertEqual(both(), [1, 2])\n"
    )
    (python,) = filter(None, [environments.find("3.10")])
    with Sandbox(Limits(seconds=20.0, total_seconds=60.0), workers=1, python=Path(python)) as sandbox:
        assert sandbox.walls["seccomp"] or sys.platform != "linux"
        (result,) = sandbox.run([Job(program, ["assert version() == (3, 10)", Unittest(suite)])])
        assert [test.outcome for test in result.tests] == ["passed", "passed"], result
        (result,) = sandbox.run([Job(program, ["assert version() == (3, 11)"])])
        assert result.outcome == "failed"
