"""The `plum` command. Thin: every command imports what it needs when it runs, so that `plum --help` answers at once.

Results go to stdout (with `--json` exactly one JSON object or list), words and progress to stderr. A user's mistake is
one line that begins with `error:` and exit code 1; whatever else goes wrong keeps its traceback, because it is our bug.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from plum_hub.errors import UserError

app = typer.Typer(
    help="Improve a code language model from instructions and execution alone (PLUM, arXiv 2406.06887).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
hub = typer.Typer(
    help="The local Hub: a real server on loopback for today's Hugging Face clients.", no_args_is_help=True
)
app.add_typer(hub, name="hub")
sandbox = typer.Typer(help="Where untrusted programs run.", no_args_is_help=True)
app.add_typer(sandbox, name="sandbox")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON value on stdout.")]
Runs = Annotated[Path, typer.Option("--runs", envvar="PLUM_RUNS", help="Where runs and the local Hub lie.")]
Where = Annotated[str | None, typer.Option("--hub", help="`local`: the local Hub under --runs. Default: HF_ENDPOINT.")]
Unsafe = Annotated[
    bool,
    typer.Option("--unsafe", help="Run programs even where walls of the sandbox are missing; see `sandbox doctor`."),
]


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="The recipe file.", show_default=False)],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set any recipe key, e.g. --set seed=1.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only validate the recipe; no network.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count: instructions, tokens, cost, programs, disk.")
    ] = False,
    unsafe: Unsafe = False,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Run a recipe: tests, samples, verdicts, preferences, training, scores; all published. Resumes by itself."""
    from plum_hub import recipe as recipes

    loaded = recipes.load(recipe, overrides)
    if check:
        recipes.check_trainer_args(loaded, here=False)
        _result({"recipe": str(recipe), "valid": True}, as_json, f"{recipe} is valid")
        return
    _allow(unsafe)
    from plum_hub.hub.session import use_hub
    from plum_hub.progress import quiet

    elsewhere = os.environ.get("HF_ENDPOINT")
    with use_hub(loaded.hub, runs):
        quiet()
        recipes.check_trainer_args(loaded)
        if dry_run:
            from plum_hub import plan

            figures = plan.plan(loaded)
            plan.show(figures)
            _result(figures, as_json)
            return
        from plum_hub import run as loop

        try:
            result = loop.run(loaded, runs)
        except KeyboardInterrupt:
            print("stopped; the same command goes on from the last finished shard or checkpoint", file=sys.stderr)
            raise typer.Exit(130) from None
        loop.summary(result)
        _say_where(None if elsewhere else loaded.hub, runs)
    _result(result, as_json)


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="org/name[@tag]; without a tag, the newest version.", show_default=False)],
    config: Annotated[str | None, typer.Option(help="kto, dpo, sft, ...; default: the dataset's own.")] = None,
    split: Annotated[str | None, typer.Option(help="Default: the config's first.")] = None,
    hub: Where = None,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Download a published preference dataset by tag, safely: the rows of that tag, or an error."""
    with _hub(hub, runs):
        from plum_hub.hub import pull as pulling
        from plum_hub.progress import quiet

        quiet()
        pulled = pulling.pull(name, config, split)
        result = {
            "repo": pulled.repo,
            "tag": pulled.tag,
            "commit": pulled.commit,
            "config": pulled.config,
            "split": pulled.split,
            "rows": len(pulled.rows),
            "columns": pulled.rows.column_names,
            "path": str(pulled.path),
            "load": _load_line(pulled.repo, pulled.config, pulled.tag or pulled.commit, pulled.split),
        }
    at = f"@{pulled.tag}" if pulled.tag else " (no tag: main)"
    words = (
        f"{pulled.repo}{at}, commit {pulled.commit[:8]}\n"
        f"{len(pulled.rows)} rows of {pulled.config}/{pulled.split}: {', '.join(pulled.rows.column_names)}\n"
        f"files: {pulled.path}\n"
        f"{result['load']}"
    )
    _result(result, as_json, words)


@app.command("eval")
def evaluate(
    model: Annotated[str | None, typer.Argument(help="org/model[@revision], or a folder.", show_default=False)] = None,
    bench: Annotated[str, typer.Option(help="Benchmarks, with commas between them; see --list.")] = "humaneval,mbpp",
    engine: Annotated[str, typer.Option(help="vllm, hf, or openai:URL of a server.")] = "hf",
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Samples a task.")] = 1,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.")] = 0.0,
    top_p: Annotated[float, typer.Option(min=0.01, max=1.0, help="Of the sampling.")] = 1.0,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Default: the benchmark's own.")] = None,
    style: Annotated[str | None, typer.Option(help="chat, prefill or text; default: the harness's choice.")] = None,
    seed: Annotated[int, typer.Option(help="Of the sampling.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many tasks.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Sequences at a time with --engine hf.")] = None,
    samples: Annotated[Path | None, typer.Option(help="Score this file of samples in place of a model.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder with the benchmarks' data, in place of the Hub.")] = None,
    per_task: Annotated[Path | None, typer.Option(help="Write one JSON line a task here.")] = None,
    official: Annotated[
        bool, typer.Option("--official", help="Score the same samples by the harness's own command, too. No walls.")
    ] = False,
    push: Annotated[bool, typer.Option("--push", help="Scores to the model's card, samples to a dataset.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="--push in place of scores that differ.")] = False,
    max_unusable: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Share of samples without a program that is accepted. [0.2]")
    ] = None,
    deadline: Annotated[float | None, typer.Option(min=0.0, help="Minutes; what is done is kept.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Programs at once. Default: one per core, two for BigCodeBench.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show the benchmarks.")] = False,
    prefetch: Annotated[bool, typer.Option("--prefetch", help="Only download what is needed.")] = False,
    unsafe: Unsafe = False,
    hub: Where = None,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Score a checkpoint, or a file of samples: pass@k with its 95 % interval."""
    if list_:
        from plum_hub.evaluate import BENCHES

        known = {name: what for name, (_, what) in BENCHES.items()}
        _result(known, as_json, "\n".join(f"{name:18} {what}" for name, what in known.items()))
        return
    if not prefetch and (model is None) == (samples is None):
        raise UserError("name one of the two: a model (org/model[@revision], a folder), or --samples FILE")
    if samples and (n > 1 or temperature or limit or max_new_tokens or style):
        raise UserError("--samples are scored as they are: leave -n, --temperature, --limit and the like out")
    if push and (samples or Path(str(model)).is_dir()):
        raise UserError("--push needs a model on the Hub (org/model), not a folder or a file of samples")
    if per_task and not per_task.parent.is_dir():
        raise UserError(f"--per-task {per_task}: there is no folder {per_task.parent}")
    _allow(unsafe)
    with _hub(hub, runs):
        from plum_hub.evaluate import command, report
        from plum_hub.evaluate.tasks import Options, Settings
        from plum_hub.progress import quiet

        if model:  # it imports libraries that scoring a file does without
            quiet()
        names = command.split(bench)
        if prefetch:
            command.prefetch(names, model)
            return
        options = Options(runs / "eval", data, max_unusable, command.deadline(deadline), workers)
        try:
            if samples:
                made, failed = [command.of_samples(samples, names, options)], list[str]()
            else:
                assert model
                how = command.style(style)
                settings = Settings(n, temperature, top_p, max_new_tokens, seed, how, limit, batch_size)
                if push:
                    command.ready_to_push(model, engine, limit)
                made, failed = command.of_model(model, engine, names, settings, options)
        except KeyboardInterrupt:
            print("stopped; the same command goes on with what is not done yet", file=sys.stderr)
            raise typer.Exit(130) from None
        if not as_json and made:
            print("\n".join(report.words(one) for one in made), flush=True)
        if per_task:
            command.write_per_task(made, per_task)
        theirs, wrong = command.officials(made, options) if official else ([], [])
        result = {
            "scores": [score.as_json() for one in made for score in one.scores],
            "records": [one.record for one in made],
            **({"official": theirs} if official else {}),
        }
        _result(result, as_json, "\n".join(command.beside(made, theirs)))
        failed += wrong
        if push and made:
            assert model
            command.push(command.engine_name(model, engine), made, overwrite)
        if failed:
            raise UserError("; ".join(failed))


@app.command()
def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Models as evaluated, report.json files, run folders or --per-task files.", show_default=False
        ),
    ],
    bench: Annotated[str | None, typer.Option(help="Only these benchmarks, with commas between them.")] = None,
    picture: Annotated[Path | None, typer.Option("--png", help="Draw the differences here.")] = None,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Is the difference real? Evaluated checkpoints against the first of them, task by task."""
    from plum_hub.evaluate.compare import compare as comparing
    from plum_hub.evaluate.compare_views import png, table

    found = comparing(models, bench, runs)
    if picture:
        png(found, picture)
    if as_json:
        _result(found.as_json(), as_json)
    else:
        import rich

        rich.print(table(found))


@app.command("exec")
def execute(
    file: Annotated[Path | None, typer.Argument(help="JSON lines; without it, or `-`: standard input.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: standard output.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Programs at once. Default: one per core.")] = None,
    timeout: Annotated[float, typer.Option(min=0.01, help="Seconds to load a program, and for each test.")] = 3.0,
    memory_mb: Annotated[int, typer.Option(min=64, help="Address space of a program's process, MiB.")] = 1024,
    unsafe: Unsafe = False,
) -> None:
    """Run programs against tests: JSON lines in, verdicts out in the same order, as soon as they are known.

    In: {"id": any, "program": "...", "tests": ["assert f(1) == 2", ...], "seconds": 2.0}

    Out: {"id": any, "outcome": "passed", "message": "", "seconds": 0.004, "tests": [{"outcome": ...}, ...]}

    For the other kinds of test see the head of plum_hub/exec.py.
    """
    _allow(unsafe)
    try:
        from plum_hub import exec as executing
        from plum_hub.sandbox import Limits

        default = Limits()
        # A longer time for each test without a longer one for all of them would have no effect.
        total = max(default.total_seconds, timeout * default.total_seconds / default.seconds)
        limits = Limits(seconds=timeout, total_seconds=total, memory_mb=memory_mb)
        executing.run(None if file == Path("-") else file, output, limits, workers)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:  # nobody reads on, as with `plum exec | head`
        raise typer.Exit(128 + signal.SIGPIPE) from None


@sandbox.command()
def doctor(as_json: Json = False) -> None:
    """Try every wall of the sandbox from inside with real programs; exit code 1 if a necessary one is missing."""
    from dataclasses import asdict

    from plum_hub.sandbox import doctor as examining

    walls = examining.examine()
    missing = [wall.name for wall in walls if wall.necessary and not wall.stands]
    fix = examining.fix(walls) if missing else None
    lines = []
    for wall in walls:
        mark = "stands" if wall.stands else "MISSING" if wall.necessary else "missing"
        lines.append(f"{mark:8} {wall.name}: {wall.means}{f' ({wall.by})' if wall.by else ''}")
    _result({"ok": not missing, "walls": [asdict(wall) for wall in walls], "fix": fix}, as_json, "\n".join(lines))
    if missing:
        print(f"error: missing: {', '.join(missing)}; {fix}", file=sys.stderr)
        raise typer.Exit(1)


@hub.command()
def serve(
    root: Annotated[Path | None, typer.Option(help="Where it keeps its repositories; default: RUNS/hub.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for any free one.")] = 8700,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Serve the local Hub until Ctrl-C. Any Hugging Face client can use it with the variables printed here."""
    from plum_hub.hub.server import serve as serving

    where = root or runs / "hub"

    def ready(endpoint: str, token: str) -> None:
        words = (
            f"# the local Hub of {where} is up; in another terminal:\n"
            f"export HF_ENDPOINT={endpoint} HF_TOKEN={token} HF_HOME={where.resolve() / 'hf-home'} "
            "HF_HUB_DISABLE_XET=1 HF_UPDATE_DOWNLOAD_COUNTS=0"
        )
        _result({"endpoint": endpoint, "token": token, "root": str(where)}, as_json, words)

    serving(where, host, port, ready)


def _allow(unsafe: bool) -> None:
    """Let every sandbox of this process, and of those it starts, open without all its walls."""
    if unsafe:
        os.environ["PLUM_UNSAFE"] = "1"
        print(
            "warning: --unsafe: programs run with whatever walls stand here (see `plum sandbox doctor`); run only what "
            "you would run yourself",
            file=sys.stderr,
        )


def _hub(which: str | None, runs: Path) -> Any:
    if which not in (None, "local"):
        raise UserError(f"--hub {which}: only `local` is known; for another server set HF_ENDPOINT")
    if which and not (runs / "hub" / "hub.json").is_file():  # an empty one would only hide the mistake
        raise UserError(
            f"--hub local: there is no local Hub in {(runs / 'hub').absolute()}; "
            "name the folder of your runs with --runs DIR, or make one with `plum run` or `plum hub serve`"
        )
    from plum_hub.hub.session import use_hub

    return use_hub("local" if which else None, runs, always=True)


def _load_line(repo: str, config: str, revision: str, split: str) -> str:
    return f'load_dataset("{repo}", "{config}", revision="{revision}", split="{split}")'


def _say_where(which: str | None, runs: Path) -> None:
    from plum_hub.progress import say

    say(f"files:      {runs}/")
    if which == "local":
        say(f"the local Hub keeps them in {runs}/hub; to use them from any client: plum hub serve --runs {runs}")
    else:
        say(f"Hub:        {os.environ.get('HF_ENDPOINT', 'https://huggingface.co')}")


def _result(value: Any, as_json: bool, words: str = "") -> None:
    if as_json:
        print(json.dumps(value), flush=True)
    elif words:
        print(words, flush=True)


def main() -> None:
    """Run the command; a `UserError` becomes one line and exit code 1."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror}; what is done is kept, the same command goes on", file=sys.stderr)
        sys.exit(1)
    except RuntimeError as error:
        from plum_hub.sandbox import SandboxError  # here, so that `plum --help` does not pay for it

        if not isinstance(error, SandboxError):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
