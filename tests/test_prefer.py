"""Preferences: PLUM's selection, and an order of rows that is safe for TRL's KTO trainer."""

import itertools
import random
from collections import Counter

import pytest
from datasets import Dataset

from plum_hub.recipe import Prefer
from plum_hub.stages.judge import CHOSEN, REJECTED
from plum_hub.stages.prefer import DPO, is_kto_safe, kto_block, kto_order, prefer, relabel, select, with_tests


def random_rows(seed: int, prompts: int = 60, share: float = 0.4) -> tuple[list[str], list[bool]]:
    rng = random.Random(seed)
    rows = [(f"p{p}", rng.random() < share) for p in range(prompts) for _ in range(rng.randint(2, 12))]
    return [prompt for prompt, _ in rows], [label for _, label in rows]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.85])
def test_order_is_safe_and_loses_nothing(seed: int, share: float) -> None:
    prompts, labels = random_rows(seed, share=share)
    block = kto_block(sum(labels), len(labels) - sum(labels), batch_size=4)
    order, left_out = kto_order(prompts, labels, seed, block)
    assert left_out == 0
    assert sorted(order) == list(range(len(labels)))
    ordered, ordered_labels = [prompts[i] for i in order], [labels[i] for i in order]
    # written out here once more, so that the check does not rest on the code it checks
    for start in range(0, len(order) - block + 1, block):
        rows = ordered[start : start + block]
        assert set(ordered_labels[start : start + block]) == {True, False}
        assert all(a != b for a, b in zip(rows, rows[1:] + rows[:1], strict=True)), "neighbours as TRL rotates them"
    assert all(a != b for a, b in itertools.pairwise(ordered))


def test_the_natural_order_is_not_safe() -> None:
    prompts, labels = random_rows(0)
    assert not is_kto_safe(prompts, labels, 8)
    order, _ = kto_order(prompts, labels, 0, 8)
    assert is_kto_safe([prompts[i] for i in order], [labels[i] for i in order], 8)


def test_order_depends_on_the_seed_alone() -> None:
    prompts, labels = random_rows(1)
    assert kto_order(prompts, labels, 1, 8) == kto_order(prompts, labels, 1, 8)
    assert kto_order(prompts, labels, 1, 8) != kto_order(prompts, labels, 2, 8)


def test_a_prompt_that_outweighs_all_others_is_cut_back() -> None:
    prompts, labels = ["big"] * 20 + ["a", "b", "c"], [i % 2 == 0 for i in range(23)]
    order, left_out = kto_order(prompts, labels, 0, 2)
    assert left_out == 23 - len(order) > 0
    kept = [prompts[i] for i in order]
    assert all(a != b for a, b in itertools.pairwise(kept))


@pytest.mark.parametrize(("chosen", "rejected", "batch", "block"), [(10, 10, 2, 2), (10, 90, 8, 16), (90, 10, 32, 32)])
def test_block_grows_until_both_labels_fit(chosen: int, rejected: int, batch: int, block: int) -> None:
    assert kto_block(chosen, rejected, batch) == block


def test_selection_follows_plum() -> None:
    ids = ["a"] * 5 + ["b"] * 3 + ["c"] * 4
    labels = [CHOSEN, REJECTED, REJECTED, "", CHOSEN, REJECTED, REJECTED, "", CHOSEN, CHOSEN, CHOSEN, REJECTED]
    kept, pairs, dropped = select(ids, labels, Prefer(), seed=0)
    assert kept == {CHOSEN: [0, 4, 8, 9, 10], REJECTED: [1, 2, 11]}
    assert dropped == {"no_chosen_sample": 2}, "b has no chosen sample"
    assert Counter(ids[c] for c, _ in pairs) == {"a": 2, "c": 1}, "as many pairs as the smaller side has"
    assert all(ids[c] == ids[r] and labels[c] == CHOSEN and labels[r] == REJECTED for c, r in pairs)
    assert len({row for pair in pairs for row in pair}) == 2 * len(pairs), "no sample twice"

    kept, pairs, dropped = select(ids, labels, Prefer(max_chosen=1, max_rejected=1, max_pairs=1), seed=0)
    assert [len(kept[CHOSEN]), len(kept[REJECTED]), len(pairs)] == [2, 2, 2]
    assert dropped == {"no_chosen_sample": 2, "over_cap": 4}

    kept, pairs, _ = select(ids, labels, Prefer(pairs="all"), seed=0)
    assert sorted(pairs) == [(0, 1), (0, 2), (4, 1), (4, 2), *((c, 11) for c in (8, 9, 10))]
    kept, pairs, _ = select(ids, labels, Prefer(pairs="all", max_pairs=3), seed=0)
    assert len(pairs) == len(set(pairs)) == 6


def test_negatives_that_do_not_run() -> None:
    labels = [CHOSEN, REJECTED, "", "", "", ""]
    reasons = ["", "", "syntax_error", "load_error", "infra_error", "no_code"]
    assert relabel(labels, reasons, "failing") == labels
    assert relabel(labels, reasons, "unrunnable") == [CHOSEN, "", REJECTED, REJECTED, "", ""]
    samples = Dataset.from_dict(
        {
            "instruction_id": [f"t{i // 6}" for i in range(24)],
            "sample_id": [f"s{i}" for i in range(24)],
            "messages": [[{"role": "user", "content": f"task {i // 6}"}] for i in range(24)],
            "completion": [f"text {i}" for i in range(24)],
        }
    )
    judgements = Dataset.from_dict({"label": labels * 4, "reason": reasons * 4})
    settings = Prefer(negatives="unrunnable")
    views, _ = prefer(samples, judgements, settings, 0, kto_batch_size=4, fingerprint="unrunnable")
    found = {int(row["sample_id"][1:]): row["label"] for row in views["kto"]}
    assert {i for i in found if found[i]} == {0, 6, 12, 18}
    assert {i % 6 for i in found if not found[i]} == {2, 3}
    assert {int(name[1:]) % 6 for name in views["dpo"]["rejected_sample_id"]} <= {2, 3}


def test_prompts_with_tests() -> None:
    prompts = {name: [{"role": "user", "content": name}] for name in "abc"}
    rows = with_tests(prompts, {"a": {"0:0": "assert 1", "0:1": "assert 2"}, "c": {"1:0": "assert 3"}, "b": {}})
    assert rows["tests"][:] == [["assert 1", "assert 2"], ["assert 3"]]
    assert rows["suites"][:] == [[0, 0], [1]]
    assert rows["instruction_id"][:] == ["a", "c"]
    assert rows["prompt"][0] == prompts["a"]


def test_instructions_that_read_the_same_are_one_prompt() -> None:
    n = 40
    samples = Dataset.from_dict(
        {
            "instruction_id": [f"t{i // 2}" for i in range(n)],
            "sample_id": [f"s{i}" for i in range(n)],
            "messages": [[{"role": "user", "content": f"task {i // 8}"}] for i in range(n)],
            "completion": [f"text {i}" for i in range(n)],
        }
    )
    judgements = Dataset.from_dict({"label": [CHOSEN, REJECTED] * (n // 2), "reason": [""] * n})
    views, counts = prefer(samples, judgements, Prefer(), 0, kto_batch_size=4, fingerprint="f")
    assert is_kto_safe([str(p) for p in views["kto"]["prompt"]], views["kto"]["label"][:], counts["kto_block"])


def test_without_an_instruction_that_has_both_the_views_are_empty_and_keep_their_columns() -> None:
    samples = Dataset.from_dict(
        {
            "instruction_id": ["a", "b"],
            "sample_id": ["a#0", "b#0"],
            "messages": [[{"role": "user", "content": name}] for name in "ab"],
            "completion": ["x", "y"],
        }
    )
    judgements = Dataset.from_dict({"label": [CHOSEN, REJECTED], "reason": ["", ""]})
    views, counts = prefer(samples, judgements, Prefer(), 0, kto_batch_size=4, fingerprint="f")
    assert views["dpo"].column_names == list(DPO)
    assert (counts["chosen"], counts["rejected"], counts["dropped"]["no_chosen_sample"]) == (1, 0, 1)


def test_views_are_in_trl_formats_and_lead_back_to_their_samples() -> None:
    from trl.data_utils import is_conversational

    n = 40
    messages = [[{"role": "user", "content": f"task {i // 8}"}] for i in range(n)]
    samples = Dataset.from_dict(
        {
            "instruction_id": [f"t{i // 8}" for i in range(n)],
            "sample_id": [f"t{i // 8}#{i % 8}" for i in range(n)],
            "messages": messages,
            "completion": ["same text" if i in (1, 2) else f"text {i}" for i in range(n)],
        }
    )
    labels = [CHOSEN if i % 8 in (1, 4) else REJECTED if i % 8 < 6 else "" for i in range(n)]
    judgements = Dataset.from_dict({"label": labels, "reason": [""] * len(labels)})
    views, counts = prefer(samples, judgements, Prefer(), 0, kto_batch_size=4, fingerprint="f")
    by_id = {row["sample_id"]: (row, label) for row, label in zip(samples, labels, strict=True)}
    for row in views["kto"]:
        sample, label = by_id[row["sample_id"]]
        assert row["label"] == (label == CHOSEN)
        assert row["prompt"] == sample["messages"]
        assert row["completion"] == [{"role": "assistant", "content": sample["completion"]}]
    for row in views["dpo"]:
        assert row["chosen"] != row["rejected"]
        assert by_id[row["chosen_sample_id"]][1] == CHOSEN
        assert by_id[row["rejected_sample_id"]][1] == REJECTED
        assert row["chosen_sample_id"].split("#")[0] == row["rejected_sample_id"].split("#")[0] == row["instruction_id"]
    assert {by_id[row["sample_id"]][1] for row in views["sft"]} == {CHOSEN}
    assert (counts["chosen"], counts["rejected"], len(views["kto"])) == (10, 20, 30)
    assert len(views["dpo"]) == counts["pairs"] >= 9
    assert all(is_conversational(view[0]) for view in views.values())
    assert is_kto_safe([str(p) for p in views["kto"]["prompt"]], views["kto"]["label"][:], counts["kto_block"])
