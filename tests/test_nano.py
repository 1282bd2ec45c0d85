"""The nano family: same bytes everywhere, splits apart, right programs right, wrong ones caught, a checkpoint."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import Dataset

from plum_hub.nano import corpus, policy, tasks
from plum_hub.stages.parts import parse_parts

ROWS = tasks.SIZES | {"test_responses": 2400, "all_instructions": 1200, "demos_with_tests": 4500 + corpus.WITH_TESTS}


def digest(datasets: dict[str, Dataset]) -> dict[str, str]:
    """A digest of every dataset's rows, and of the tokenizer."""
    found: dict[str, object] = {name: dataset.to_list() for name, dataset in datasets.items()}
    found["tokenizer"] = policy.build_tokenizer().backend_tokenizer.to_str()
    return {name: hashlib.sha256(json.dumps(rows).encode()).hexdigest() for name, rows in found.items()}


@pytest.fixture(scope="module")
def datasets() -> dict[str, Dataset]:
    return corpus.build_datasets()


@pytest.fixture(scope="module")
def initial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nano-init")
    policy.build_initial(folder, seed=0)
    return folder


def passes(code: str, tests: tuple[str, ...] | list[str]) -> bool:
    """Whether `code` passes; for programs of nano's own table only."""
    names: dict[str, object] = {}
    try:
        exec(code, names)
        for test in tests:
            exec(test, names)
    except Exception:
        return False
    return True


def test_datasets_do_not_depend_on_the_process(datasets: dict[str, Dataset]) -> None:
    # a fresh process with another order of sets and a stirred global random state
    code = "import json, random, test_nano as t; random.seed(7); print(json.dumps(t.digest(t.corpus.build_datasets())))"
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": path}
    assert json.loads(subprocess.check_output([sys.executable, "-c", code], env=environment)) == digest(datasets)


def test_sizes_and_columns(datasets: dict[str, Dataset]) -> None:
    assert {name: len(d) for name, d in datasets.items()} == ROWS
    assert datasets["instructions"].column_names == ["id", "instruction", "entry_point"]
    assert datasets["heldout"].column_names == ["id", "instruction", "entry_point", "tests"]
    assert datasets["demos"].column_names == ["prompt", "completion"]
    assert all(len(tests) == tasks.HIDDEN_TESTS == len(set(tests)) for tests in datasets["heldout"]["tests"])


def test_instructions_are_distinct_and_evaluation_signatures_unseen() -> None:
    splits = tasks.splits()
    texts = [task.instruction for split in splits.values() for task in split]
    assert len(texts) == len(set(texts))
    assert len({task.id for split in splits.values() for task in split}) == len(texts)
    for name in ("dev", "heldout"):
        seen = {t.program.signature for other, split in splits.items() if other != name for t in split}
        signatures = [task.program.signature for task in splits[name]]
        assert not seen & set(signatures)
        assert len(signatures) == len(set(signatures))
        assert min(len(task.program.steps) for task in splits[name]) >= 2


def test_every_idiom_is_demonstrated() -> None:
    shown = {use.idiom for task in tasks.splits()["demos"] for use in task.program.uses}
    assert shown == set(tasks.STEPS + tasks.ENDINGS)
    names = [idiom.name for idiom in tasks.STEPS + tasks.ENDINGS]
    assert len(names) == len(set(names))


def test_hidden_tests_pass_the_gold_program_and_catch_each_wrong_idiom() -> None:
    caught = []
    for task in tasks.heldout() + tasks.dev():
        assert passes(task.solution, task.tests), task
        for position in range(len(task.program.uses)):
            caught.append(not passes(task.program.code(frozenset({position})), task.tests))
    assert sum(caught) / len(caught) > 0.99


def test_corpus_is_as_buggy_as_intended() -> None:
    rates = corpus.bug_rates()
    often = [rate for rate in rates.values() if rate >= corpus.OFTEN_WRONG[0]]
    assert len(often) == round(corpus.OFTEN_WRONG_SHARE * len(rates))
    clean = [code == task.solution for task, code in corpus.demonstrations()]
    assert 0.35 < sum(clean) / len(clean) < 0.50


def test_responses_parse_and_a_tenth_contradict_themselves(datasets: dict[str, Dataset]) -> None:
    broken: list[str] = []
    for row in datasets["test_responses"]:
        parts, missing = parse_parts(row["response"])
        assert missing == ""
        found = parts["solution"], parts["test_code"]
        assert len(found[1].splitlines()) == corpus.ASSERTS_PER_RESPONSE
        if not passes(found[0], [found[1]]):
            broken.append(row["id"])
    assert len(broken) == round(corpus.INCONSISTENT_SHARE * ROWS["test_responses"])
    assert len(broken) == len(set(broken))  # the other response of the instruction is consistent


def test_consistent_tests_catch_most_wrong_idioms(datasets: dict[str, Dataset]) -> None:
    asserts: dict[str, list[str]] = {}
    for row in datasets["test_responses"]:
        parts, missing = parse_parts(row["response"])
        assert missing == ""
        if passes(parts["solution"], [parts["test_code"]]):
            asserts.setdefault(row["id"], []).append(parts["test_code"])
    caught = [
        not passes(task.program.code(frozenset({position})), asserts[task.id])
        for task in tasks.splits()["instructions"]
        for position in range(len(task.program.uses))
    ]
    assert sum(caught) / len(caught) > 0.97


def test_right_and_wrong_programs_satisfy_the_static_check(tmp_path: Path) -> None:
    uses = [tasks.Use(idiom, idiom.digits[0], "a", "b") for idiom in tasks.STEPS]
    endings = {i.takes: tasks.Use(i, 2, "a", "b") for i in tasks.ENDINGS}
    programs = [tasks.Program((use,), endings[use.idiom.gives]) for use in uses]
    programs += [
        tasks.Program((next(u for u in uses if u.idiom.gives == i.takes),), tasks.Use(i, 2, "a", "b"))
        for i in tasks.ENDINGS
    ]
    wrongs = (frozenset[int](), frozenset({0}), frozenset({1}))
    codes = [program.code(wrong) for program in programs for wrong in wrongs]
    source = tmp_path / "programs.py"
    source.write_text("\n\n".join(code.replace("def solve(", f"def solve_{i}(") for i, code in enumerate(codes)) + "\n")
    command = [sys.executable, "-m", "mypy", "--config-file=", "--cache-dir", str(tmp_path / "cache"), str(source)]
    checked = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout


def test_checkpoint_loads_without_custom_code(initial: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    model = AutoModelForCausalLM.from_pretrained(initial)
    tokenizer = AutoTokenizer.from_pretrained(initial)
    assert model.num_parameters() < 5_000_000
    assert model.dtype == torch.float32
    assert model.config.hidden_size // model.config.num_attention_heads == 32  # vLLM's CPU attention refuses 24
    assert len(tokenizer) == model.config.vocab_size
    assert tokenizer.pad_token_id != tokenizer.eos_token_id == model.config.eos_token_id
    defaults = GenerationConfig.from_pretrained(initial)
    assert defaults.eos_token_id == tokenizer.eos_token_id
    assert defaults.top_k == 0


def test_initial_weights_follow_the_seed_only(initial: Path, tmp_path: Path) -> None:
    policy.build_initial(tmp_path / "again", seed=0)
    policy.build_initial(tmp_path / "other", seed=1)
    folders = (initial, tmp_path / "again", tmp_path / "other")
    weights = [(folder / "model.safetensors").read_bytes() for folder in folders]
    assert weights[0] == weights[1] != weights[2]


def test_chat_template(initial: Path, datasets: dict[str, Dataset]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(initial)
    for row in datasets["demos"].select(range(300)):
        prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True)["input_ids"]
        whole = tokenizer.apply_chat_template(row["prompt"] + row["completion"])["input_ids"]
        assert whole[: len(prompt)] == prompt
        code = row["completion"][0]["content"]
        assert tokenizer.decode(whole[len(prompt) :], skip_special_tokens=True) == code
        assert whole[-1] == tokenizer.eos_token_id
        assert len(whole) - len(prompt) <= policy.MAX_NEW_TOKENS

    user = [{"role": "user", "content": "Sort it.\n\tÄ €"}]
    told = [{"role": "system", "content": "You are helpful."}, *user]
    render = [tokenizer.apply_chat_template(m, add_generation_prompt=True, tokenize=False) for m in (user, told)]
    assert render[0] == render[1] == "<|user|>Sort it.\n\tÄ €<|assistant|>"
    assert tokenizer.decode(tokenizer(render[0])["input_ids"]) == render[0]
