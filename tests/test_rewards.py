"""Execution as a reward: shares of tests, TRL's own trainer on a tiny model, several processes."""

import multiprocessing
import pickle
from pathlib import Path

import pytest
from datasets import Dataset
from tiny import TASKS, instruction
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from plum_hub.nano import policy
from plum_hub.rewards import passes_tests

TESTS = ["assert f(1) == 2", "assert f(2) == 3"]
RIGHT = "Sure:\n```python\ndef f(n):\n    return n + 1\n```\nDone."


def rewards() -> list[float | None]:
    half = "def f(n):\n    return 2"
    texts = [RIGHT, half, "def f(n):\n    return 0", "def f(n:", "raise SystemExit", "", RIGHT, RIGHT]
    return passes_tests(completions=texts, tests=[TESTS] * 6 + [[], None], prompts=[""] * 8, trainer_state=None)


def test_the_reward_is_the_share_of_tests_and_none_without_tests() -> None:
    assert rewards() == [1.0, 0.5, 0.0, 0.0, 0.0, 0.0, None, None]
    answer = {"role": "assistant", "content": RIGHT}
    assert passes_tests([[answer], [answer | {"content": None}], []], [TESTS] * 3) == [1.0, 0.0, 0.0]


def test_a_program_that_keeps_state_meets_each_suite_afresh() -> None:
    counter = "made = []\ndef f(n):\n    made.append(n)\n    return len(made)\n"
    tests = ["assert f(9) == 1", "assert f(9) == 2", "assert f(9) == 1"]
    assert passes_tests([counter], [tests], suites=[[0, 0, 1]]) == [1.0]
    assert passes_tests([counter], [tests]) == [pytest.approx(2 / 3)], "without the numbers, all are one suite"


def test_it_goes_to_other_processes_by_name_and_each_opens_its_own_sandbox() -> None:
    assert pickle.loads(pickle.dumps(passes_tests)) is passes_tests
    assert rewards()[0] == 1.0
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.starmap(passes_tests, [([RIGHT], [TESTS])] * 4) == [[1.0]] * 4
    assert rewards()[0] == 1.0, "the sandbox of this process is as it was"


def test_trl_trains_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The untrained model writes noise, so its answers are read as a program that passes one test of two."""
    monkeypatch.setattr("plum_hub.rewards.extract_code", lambda text: "def f(n):\n    return 2\n")
    policy.build_initial(tmp_path / "model", seed=0)
    rows = [{"prompt": [{"role": "user", "content": instruction(name)}], "tests": TESTS} for name in TASKS]
    config = GRPOConfig(
        str(tmp_path / "out"),
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=16,
        max_steps=2,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
    )
    trainer = GRPOTrainer(
        AutoModelForCausalLM.from_pretrained(tmp_path / "model"),
        passes_tests,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(tmp_path / "model"),
    )
    trainer.train()
    assert [log["rewards/passes_tests/mean"] for log in trainer.state.log_history if "reward" in log] == [0.5, 0.5]
