"""The recipe's file: read, extended, overridden, filled in and validated, with a mistake's own line in the error.

`extends: other.yaml` takes another file's settings (by a path relative to this one) and changes what it names, section
by section. Unknown keys are errors that name the line and the nearest known key; `{seed}`, `{name}`, `{namespace}` and
`{tag}` in any string are filled in once, here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from plum_hub.errors import UserError, nearest
from plum_hub.recipe import sections
from plum_hub.recipe.sections import Recipe


def load(path: Path, overrides: list[str] | None = None) -> Recipe:
    """Read, override and validate a recipe.

    Args:
        path: the YAML file.
        overrides: `key.sub=value` strings; values are YAML.

    Raises:
        UserError: one line that names the file's line, what is wrong and the nearest known key.
    """
    data, root = _read(path)
    for override in overrides or []:
        _override(data, override)
    data = _fill(data, data)
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise UserError(_explain(path, root, error)) from None


def _read(path: Path, above: tuple[Path, ...] = ()) -> tuple[dict[str, Any], yaml.Node | None]:
    """A file's settings over those of the file it extends, and the tree of its own for finding lines."""
    if not path.is_file():
        others = sorted(str(p) for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise UserError(f"recipe {path} does not exist{nearest(str(path), others)}")
    if path.resolve() in above:
        raise UserError(f"{path}: `extends` goes round in a circle")
    try:
        text = path.read_text(encoding="utf-8")
        data = _plain(yaml.load(text, Loader=_Loader))
        root = yaml.compose(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', error)}") from None
    except (
        OSError,
        ValueError,
        RecursionError,
    ) as error:  # a folder, another encoding, no such date, a loop of aliases
        raise UserError(f"{path} cannot be read as a recipe: {error}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path}: a recipe is a mapping of keys to values")
    parent = data.pop("extends", None)
    if parent is not None:
        if not isinstance(parent, str):
            raise UserError(f"{path}: `extends` is the path of another recipe")
        data = _over(_read(path.parent / parent, (*above, path.resolve()))[0], data)
    return data, root


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`: sections key by key, anything else as a whole; null is back to the default."""
    merged = {key: value for key, value in below.items() if above.get(key, "") is not None}
    for key, value in above.items():
        if value is not None:
            mine = merged.get(key)
            merged[key] = _over(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return merged


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers: to YAML 1.1, which PyYAML reads, `1e-3` is a string."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"),
    list("-+0123456789."),
)
# Whole numbers match that too: they must be tried as integers first.
for _first, _resolvers in _Loader.yaml_implicit_resolvers.items():
    _resolvers.sort(key=lambda resolver: resolver[0] == "tag:yaml.org,2002:float")


def _plain(value: Any) -> Any:
    """A copy in which an aliased section stands on its own wherever it is used, so that `--set` changes one of them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def dump(recipe: Recipe) -> str:
    """The recipe with every setting resolved, as YAML that `load` reads back."""
    return yaml.safe_dump(recipe.model_dump(mode="json", by_alias=True, exclude_none=True), sort_keys=False)


def check_trainer_args(recipe: Recipe, here: bool = True) -> None:
    """Check `args` of every training against TRL's configuration classes (imports TRL: seconds).

    Args:
        here: it is this machine that will train, so that the packages it needs must be installed.

    Raises:
        UserError: an argument TRL does not have, with the nearest one that it has; a text where it wants a number.
    """
    from plum_hub.trainers import check, config_fields

    for name, entry in recipe._trainings():
        known = config_fields(entry.method)
        for key, value in entry.args.items():
            if key not in known:
                raise UserError(
                    f"train entry `{name}`: TRL's {entry.method.upper()}Config has no argument `{key}`"
                    + nearest(key, known)
                )
            if isinstance(known[key], (int, float)) and not isinstance(value, (int, float)):
                raise UserError(f"train entry `{name}`: args.{key} is a number such as {known[key]}, not {value!r}")
        check(name, entry, here)


def _override(data: dict[str, Any], override: str) -> None:
    """Set one dotted key."""
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UserError(f"--set {override}: expected key=value, for example --set seed=1")
    *parents, last = key.split(".")
    node: Any = data
    for part in parents:
        if not isinstance(node, dict):
            raise UserError(f"--set {override}: `{part}` is not inside a section")
        if node.get(part) is None:
            node[part] = {}
        node = node[part]
    if not isinstance(node, dict):
        raise UserError(f"--set {override}: `{'.'.join(parents)}` is not a section")
    try:
        node[last] = _plain(yaml.load(value, Loader=_Loader))
    except (yaml.YAMLError, ValueError, RecursionError):
        raise UserError(f"--set {override}: the value is not valid YAML") from None


_NAMES = ("seed", "name", "namespace", "tag")


def _fill(value: Any, data: dict[str, Any]) -> Any:
    """Fill `{seed}`, `{name}`, `{namespace}`, `{tag}` in every string, other braces left as they are."""
    if isinstance(value, dict):
        return {k: _fill(v, data) for k, v in value.items()}
    if isinstance(value, list):
        return [_fill(v, data) for v in value]
    if not isinstance(value, str):
        return value
    defaults = {name: field.default for name, field in Recipe.model_fields.items() if name in _NAMES}
    for _ in range(2):  # `name` may itself hold {seed}
        for name in _NAMES:
            value = value.replace("{" + name + "}", str(data.get(name, defaults[name])))
    return value


def _explain(path: Path, root: yaml.Node | None, error: ValidationError) -> str:
    """The most telling validation error as one line: file, line, key, what is wrong, the fix."""
    # a misspelt key is also a missing one: the misspelling is the better news
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    where = tuple(part for part in first["loc"] if part != "[key]")
    key = ".".join(str(part) for part in where)
    line = _line(root, where)
    place = f"{path}:{line}" if line else str(path)
    if first["type"] == "extra_forbidden":
        return f"{place}: unknown key `{key}`{nearest(str(where[-1]), _keys_at(where[:-1]))}"
    message = re.sub(r"^Value error, ", "", first["msg"])
    if first["type"] == "string_pattern_mismatch":
        known = ", ".join("{" + name + "}" for name in _NAMES)
        message = f"letters, digits, `.`, `_` and `-` only (and {known}), not {first['input']!r}"
    return f"{place}: {f'`{key}`: ' if key else ''}{message}"


def _keys_at(where: tuple[Any, ...]) -> list[str]:
    """The keys that the section at `where` knows."""
    model: Any = Recipe
    for part in where:
        field = model.model_fields.get(part) or next((f for f in model.model_fields.values() if f.alias == part), None)
        if field is None:  # a name inside a mapping of sections, such as train.<name>
            continue
        found = re.findall(r"[A-Z]\w+", str(field.annotation))
        model = next((getattr(sections, n) for n in found if isinstance(getattr(sections, n, None), type)), Recipe)
    return [field.alias or name for name, field in model.model_fields.items()]


def _line(node: yaml.Node | None, where: tuple[Any, ...]) -> int | None:
    """The line of the deepest part of `where` that the file holds."""
    line = None
    for part in where:
        if not isinstance(node, yaml.MappingNode):
            break
        for key, value in node.value:
            if key.value == str(part):
                line, node = key.start_mark.line + 1, value
                break
        else:
            break
    return line
