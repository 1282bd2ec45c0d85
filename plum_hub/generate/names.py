"""Engine names: one string says which engine, which model at which revision, and how.

    hf:org/model@rev                        transformers in this process; a bare org/model@rev or a folder means this
    hf:org/model@rev?continuous_batching=true
    vllm:org/model@rev?tensor_parallel_size=2&lora=org/adapter@v1&max_model_len=4096
    openai:MODEL@http://host:8000/v1?concurrency=64&key_env=OPENAI_API_KEY&input_price=2.5&output_price=10

`parse` takes a string apart, `str` puts it together again, and `pin` turns revisions into commits, so that a recipe or
a card can say exactly what wrote a text. `check` finds early, without network, what would fail when the engine is
loaded; `shaping` says what of a name shapes the texts. Prices are US dollars per million tokens. A key is never part of
a string: `key_env` names the environment variable that holds it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from plum_hub.errors import UserError, nearest
from plum_hub.names import resolve, split_revision


def _count(value: str) -> int:
    if int(value) < 1:
        raise ValueError
    return int(value)


def _price(value: str) -> float:
    if not 0 <= float(value) < float("inf"):
        raise ValueError
    return float(value)


def _share(value: str) -> float:
    if not 0 < float(value) <= 1:
        raise ValueError
    return float(value)


def _dtype(value: str) -> str:
    if value not in ("auto", "bfloat16", "float16", "float32"):
        raise ValueError
    return value


def _truth(value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError
    return value == "true"


def _variable(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise ValueError  # most likely the key itself
    return value


#: Per engine its options, each with what reads the value, and words for what it must be.
OPTIONS: dict[str, dict[str, tuple[Callable[[str], object], str]]] = {
    "hf": {"continuous_batching": (_truth, "true or false")},
    "vllm": {
        "tensor_parallel_size": (_count, "a whole number of GPUs"),
        "lora": (str, "org/adapter@revision or a folder"),
        "max_model_len": (_count, "a whole number of tokens"),
        "dtype": (_dtype, "auto, bfloat16, float16 or float32"),
        "gpu_memory_utilization": (_share, "a share of the GPU's memory such as 0.9"),
    },
    "openai": {
        "concurrency": (_count, "a whole number of requests at a time"),
        "key_env": (_variable, "the NAME of an environment variable, never the key itself"),
        "input_price": (_price, "US dollars per million prompt tokens"),
        "output_price": (_price, "US dollars per million completion tokens"),
    },
}


#: Options that shape no text.
NEUTRAL = {"concurrency", "input_price", "output_price", "key_env", "gpu_memory_utilization"}
SMALL = 2**20  # bytes; of larger files in a model's folder, size and time stand for the content


@dataclass(frozen=True)
class EngineName:
    """A parsed engine name. `revision` is "" where none is given; for `openai:` it is the server's URL."""

    kind: str
    model: str
    revision: str = ""
    options: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        options = "&".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.kind}:{self.where}" + (f"?{options}" if options else "")

    @property
    def where(self) -> str:
        """`model@revision`, as `plum_hub.names` and users write it."""
        return f"{self.model}@{self.revision}" if self.revision else self.model


def parse(text: str) -> EngineName:
    """Take an engine name apart.

    Raises:
        UserError: an engine or an option that does not exist (with the nearest one), a value that does not fit.
    """
    kind, colon, rest = text.partition(":")
    if not colon or _is_folder(text):
        kind, rest = "hf", text
    if kind not in OPTIONS:
        raise UserError(
            f"engine `{kind}:` is not known{nearest(kind, OPTIONS)}; there are hf:org/model@revision, "
            "vllm:org/model@revision and openai:MODEL@http://host:8000/v1"
        )
    query = ""
    if not _is_folder(rest):  # whose name may have anything in it
        rest, _, query = rest.partition("?")
    options = _options(kind, query, text)
    if kind == "openai":
        found = re.fullmatch(r"(\S+?)@(https?://\S+)", rest)
        if not found:
            raise UserError(f"{text}: an openai engine is MODEL@URL, for example openai:MODEL@http://localhost:8000/v1")
        model, url = found[1], found[2].rstrip("/")
        _check_url(model, url)
        return EngineName(kind, model, url, options)
    # A folder may have an @ in its name.
    model, revision = (rest, None) if _is_folder(rest) else split_revision(rest)
    if not model:
        raise UserError(f"`{text}` names no model; write {kind}:org/model@revision")
    if not _is_folder(model) and re.search(r"[\s:]", rest):
        raise UserError(f"`{rest}` is neither a folder nor org/model@revision; write {kind}:org/model@revision")
    if revision is None and rest.endswith("@") and not _is_folder(rest):
        raise UserError(f"`{text}` names no revision after the @; leave the @ out for the newest commit")
    return EngineName(kind, model, revision or "", options)


def check(name: EngineName) -> None:
    """Find without network, and without loading anything, what would fail when the engine is needed.

    Raises:
        UserError: a key that is not set, vLLM that is not installed, a folder that does not exist.
    """
    key(name)
    if name.kind == "vllm" and importlib.util.find_spec("vllm") is None:
        raise UserError(f'the vllm: engine needs vLLM; pip install "plum-hub[vllm]", or use hf:{name.where}')
    if name.kind != "openai":
        for where in [name.model, *(name.options[option] for option in name.options if option == "lora")]:
            if not _is_folder(where) and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", split_revision(where)[0]):
                raise UserError(f"{name}: `{where}` is neither a folder that exists nor org/model@revision")


def key(name: EngineName) -> str:
    """The key for a server; empty where the name has no `key_env`.

    Raises:
        UserError: the variable is not set, or holds what no HTTP header can.
    """
    if "key_env" not in name.options:
        return ""
    variable = name.options["key_env"]
    found = os.environ.get(variable, "").strip()
    if not found:
        raise UserError(f"{name}: the environment variable {variable} is not set")
    if not (found.isascii() and found.isprintable()):
        raise UserError(f"{name}: the environment variable {variable} holds characters that no key has")
    return found


def shaping(name: EngineName) -> list[object]:
    """What of a name shapes the texts, JSON-able: neither the server's URL nor prices; of a folder what is in it.

    Weights may change under the same path, and a server may come back on another port.
    """
    options = {
        option: folder_digest(Path(given)) if option == "lora" and _is_folder(given) else given
        for option, given in name.options.items()
        if option not in NEUTRAL
    }
    if name.kind == "openai":
        return [name.kind, name.model, "", options]
    model = folder_digest(Path(name.model)) if _is_folder(name.model) else name.model
    return [name.kind, model, name.revision, options]


def folder_digest(folder: Path) -> str:
    """A digest of a model's files: names and contents; of those larger than `SMALL` the size and when they changed."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            found = path.stat()
            small = found.st_size <= SMALL
            content = hashlib.sha256(path.read_bytes()).hexdigest() if small else (found.st_size, found.st_mtime_ns)
            digest.update(repr((name.as_posix(), content)).encode())
    return digest.hexdigest()


def pin(text: str) -> EngineName:
    """The same name with every revision as a commit; no model is loaded. Folders and servers have none to resolve.

    Raises:
        UserError: see `parse` and `plum_hub.names.resolve`.
    """
    name = parse(text)
    if name.kind == "openai":
        return name
    options = dict(name.options)
    if "lora" in options:
        options["lora"] = _pinned(options["lora"])
    model, revision = split_revision(_pinned(name.where)) if not _is_folder(name.model) else (name.model, None)
    return replace(name, model=model, revision=revision or "", options=options)


def value(name: EngineName, option: str) -> object:
    """An option's value as a number or text, None where it is not given."""
    return OPTIONS[name.kind][option][0](name.options[option]) if option in name.options else None


def _pinned(where: str) -> str:
    return where if _is_folder(where) else "@".join(resolve(where, "model"))


def _is_folder(where: str) -> bool:
    try:
        return Path(where).is_dir()
    except OSError:  # too long for a path
        return False


def _check_url(model: str, url: str) -> None:
    """Raise unless `url` is one under which `/chat/completions` may be."""
    try:
        parts = urlsplit(url)
        whole = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        parts, whole = urlsplit(""), False
    if "@" in parts.netloc or "@" in url.split("/")[2]:
        # The string goes into recipes, datasets and cards: it is not repeated here either.
        raise UserError(f"openai:{model}: no user name or key in the URL; name its variable with ?key_env=NAME")
    if not whole or parts.fragment:
        raise UserError(f"openai:{model}: {url} is no URL of a server; write for example http://localhost:8000/v1")
    if parts.path.endswith(("/completions", "/chat", "/models")):
        raise UserError(f"openai:{model}: {url} goes too far: end the URL where the API begins, mostly in /v1")


def _options(kind: str, query: str, text: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in query.split("&") if query else []:
        key, _, given = part.partition("=")
        if key not in OPTIONS[kind]:
            known = ", ".join(OPTIONS[kind]) or "none"
            raise UserError(f"engine `{kind}:` has no option `{key}`{nearest(key, OPTIONS[kind])}; it has: {known}")
        if key in options:
            raise UserError(f"{text}: `{key}` is given twice")
        read, words = OPTIONS[kind][key]
        try:
            if not given:
                raise ValueError
            read(given)
        except ValueError:
            shown = "" if key == "key_env" else f", not `{given}`"
            raise UserError(f"engine `{kind}:`: `{key}` is {words}{shown}") from None
        options[key] = given
    return options
