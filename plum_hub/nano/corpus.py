"""What nano publishes: seed demonstrations, instructions, the test generator's responses, two evaluation splits.

    from plum_hub.nano import corpus
    datasets = corpus.build_datasets()
    datasets["demos"][0]["completion"][0]["content"]

The demonstrations are DELIBERATELY BUGGY: a policy trained on them writes each wrong idiom about as often as they do,
which leaves execution feedback something to correct. Every idiom has a fixed rate of the wrong expression: most idioms
are seldom wrong, some more often than not.

The test generator is a PROGRAM that knows the right answer, a stand-in for a language model. It writes the four-part
format of PLUM's test prompt, and a tenth of its responses contradict themselves, as those of a language model do
(PLUM's Table 1 reports far more), so that the self-consistency check has something to drop. Not covered: responses that
are consistent and yet wrong.

All of it derives from fixed seeds: the same rows on every machine, whatever the seed of a run.
"""

import random
from functools import cache

from datasets import Dataset

from plum_hub.nano.tasks import (
    ENDINGS,
    STEPS,
    Program,
    Task,
    draw_input,
    run,
    runs_as,
    splits,
    telling_inputs,
    write_assert,
)

#: share of idioms that the seed corpus gets wrong more often than not, and the ranges of the rates
OFTEN_WRONG_SHARE = 0.30
OFTEN_WRONG = (0.50, 0.70)
SELDOM_WRONG = (0.03, 0.15)

RESPONSES_PER_INSTRUCTION = 2
ASSERTS_PER_RESPONSE = 3
#: share of all responses whose solution and tests contradict each other
INCONSISTENT_SHARE = 0.10

#: answers with a test of their own, for DSTC; ASK_FOR_TESTS is what asks for them, after the instruction
WITH_TESTS = 2500
ASK_FOR_TESTS = " Add a test."
EMPTY = ("[]", "''", "None")


@cache
def bug_rates() -> dict[str, float]:
    """Idiom name -> probability that a demonstration writes its wrong expression."""
    rng = random.Random("plum-hub nano bug rates")
    names = [idiom.name for idiom in STEPS + ENDINGS]
    often = set(rng.sample(names, round(OFTEN_WRONG_SHARE * len(names))))
    return {name: rng.uniform(*(OFTEN_WRONG if name in often else SELDOM_WRONG)) for name in names}


def draw_bugs(rng: random.Random, program: Program) -> frozenset[int]:
    """Positions of `program` that a demonstration gets wrong."""
    rates = bug_rates()
    return frozenset(i for i, use in enumerate(program.uses) if rng.random() < rates[use.idiom.name])


def demonstrations() -> list[tuple[Task, str]]:
    """Each task of the `demos` split with the code that the seed corpus shows for it, often wrong."""
    rng = random.Random("plum-hub nano demonstrations")
    return [(task, task.program.code(draw_bugs(rng, task.program))) for task in splits()["demos"]]


def demonstrations_with_tests() -> list[tuple[Task, str]]:
    """Some tasks of the `demos` split with an answer in DSTC's form: a program, often wrong, and a test.

    The test is right and its input short: what a policy of this size writes is wrong often enough by itself.
    """
    rng = random.Random("plum-hub nano demonstrations with tests")
    made = []
    for task in rng.sample(list(splits()["demos"]), WITH_TESTS):
        program = task.program
        inputs = sorted((draw_input(rng, program.takes) for _ in range(6)), key=lambda value: len(repr(value)))
        value = next((v for v in inputs if v and runs_as(task.solution, v) not in EMPTY), inputs[-1])
        test = write_assert(value, run(task.solution, value))
        code = program.code(draw_bugs(rng, program))
        made.append((task, f"[Implementation]\n{code}\n[Tests]\n{test}"))
    return made


def response(rng: random.Random, task: Task, consistent: bool, fenced: bool) -> str:
    """One response of the test generator, in the four-part format of PLUM's test prompt.

    An inconsistent one has, with equal chance, a solution with a bug that its asserts catch, or a wrong assert under a
    right solution. `fenced` wraps the three code parts in Markdown fences: language models do either.
    """
    program, solution = task.program, task.solution
    inputs = telling_inputs(rng, program, ASSERTS_PER_RESPONSE, pool=8)
    results = [run(solution, value) for value in inputs]
    if not consistent:
        buggy = [program.code(frozenset({i})) for i in range(len(program.uses))]
        wants = [repr(result) for result in results]
        caught = [code for code in buggy if [runs_as(code, value) for value in inputs] != wants]
        if caught and rng.random() < 0.5:
            solution = rng.choice(caught)
        else:
            spoilt = rng.randrange(len(results))
            results[spoilt] = spoil(results[spoilt])
    parts = {
        "Analysis": f"{task.instruction} The answer takes {len(program.steps)} step(s) and a return statement.",
        "Solution": fence(solution, fenced),
        "Start Code": fence(f"{program.header}\n    pass", fenced),
        "Test Code": fence("\n".join(write_assert(v, r) for v, r in zip(inputs, results, strict=True)), fenced),
    }
    return "\n\n".join(f"[{title}]\n\n{text}" for title, text in parts.items()) + "\n"


def spoil(result: object) -> object:
    """A value of the same type that is not `result`."""
    if isinstance(result, bool):
        return not result
    if isinstance(result, int):
        return result + 1
    if isinstance(result, str):
        return result + "x"
    assert isinstance(result, list)
    return result[:-1] if result else [1]


def fence(code: str, fenced: bool) -> str:
    """`code`, in a Markdown fence if asked."""
    return f"```python\n{code}\n```" if fenced else code


def test_responses() -> list[dict[str, str]]:
    """Rows `id`, `response` for both instruction splits; at most one of an instruction's responses is inconsistent."""
    rng = random.Random("plum-hub nano test responses")
    tasks = splits()["instructions"] + splits()["more_instructions"]
    doubtful = set(rng.sample(range(len(tasks)), round(INCONSISTENT_SHARE * RESPONSES_PER_INSTRUCTION * len(tasks))))
    rows = []
    for i, task in enumerate(tasks):
        bad = rng.randrange(RESPONSES_PER_INSTRUCTION) if i in doubtful else None
        for j in range(RESPONSES_PER_INSTRUCTION):
            rows.append({"id": task.id, "response": response(rng, task, consistent=j != bad, fenced=j % 2 == 0)})
    return rows


def build_datasets() -> dict[str, Dataset]:
    """Config name -> dataset. String columns throughout; `prompt` and `completion` are lists of {role, content}.

    `instructions`, `more_instructions`, and both as `all_instructions`: id, instruction, entry_point. `demos`: prompt,
    completion (conversational prompt-completion, for supervised fine-tuning). `demos_with_tests`: the same, and answers
    in DSTC's form where the prompt ends with `ASK_FOR_TESTS`. `test_responses`: id (an instruction's),
    response. `dev`, `heldout`: id, instruction, entry_point, tests (a list of assert lines).
    """
    found: dict[str, Dataset] = {}
    for name in ("instructions", "more_instructions"):
        found[name] = Dataset.from_list([public(t) for t in splits()[name]])
    found["all_instructions"] = Dataset.from_list([*found["instructions"], *found["more_instructions"]])
    found["demos"] = Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": task.instruction}],
                "completion": [{"role": "assistant", "content": code}],
            }
            for task, code in demonstrations()
        ]
    )
    found["demos_with_tests"] = Dataset.from_list(
        [
            *found["demos"],
            *(
                {
                    "prompt": [{"role": "user", "content": task.instruction + ASK_FOR_TESTS}],
                    "completion": [{"role": "assistant", "content": text}],
                }
                for task, text in demonstrations_with_tests()
            ),
        ]
    )
    found["test_responses"] = Dataset.from_list(test_responses())
    for name in ("dev", "heldout"):
        found[name] = Dataset.from_list([public(t) | {"tests": list(t.tests)} for t in splits()[name]])
    return found


def public(task: Task) -> dict[str, object]:
    """What a data set shows of `task`: never its solution."""
    return {"id": task.id, "instruction": task.instruction, "entry_point": task.entry_point}
