"""Reading settings: strict YAML, ``key=value`` overrides, one line for a mistake."""

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from diffusiontalker.config.data import DataSettings
from diffusiontalker.config.mistakes import explain, first
from diffusiontalker.config.run import Settings
from diffusiontalker.config.section import Section
from diffusiontalker.config.trees import dotted, put
from diffusiontalker.errors import UserError

Tree = TypeVar("Tree", bound=Section)


def load(path: str | Path | None, overrides: Sequence[str] = ()) -> Settings:
    """Read the settings of a run from YAML, then apply ``key=value`` overrides (dots lead into
    sections).

    Raises:
        UserError: no such file, no YAML, a key that is unknown, stands twice or is out of range;
            the line names the key and the nearest right one.
    """
    return load_as(Settings, path, overrides)


def load_data(path: str | Path | None, overrides: Sequence[str] = ()) -> DataSettings:
    """Read the settings of ``jobs/prepare.py``, as ``load``. Raises UserError."""
    return load_as(DataSettings, path, overrides)


def load_as(kind: type[Tree], path: str | Path | None, overrides: Sequence[str]) -> Tree:
    """Read settings of a kind, as ``load``. Raises UserError."""
    own = {} if path is None else _read(path)
    tree = _unshared(own)
    for override in overrides:
        _apply(tree, override)
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        where = str(path) if path is not None and _is_of(kind, own, error) else "command line"
        raise UserError(f"{where}: {explain(kind, error, tree)}") from error


def _read(path: str | Path) -> dict[str, Any]:
    """The keys and values of a YAML file. Raises UserError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        beside = {other.stem: other for other in Path(path).parent.glob("*.y*ml")}
        near = difflib.get_close_matches(Path(path).stem, beside, n=1)
        hint = f"; did you mean {beside[near[0]]}?" if near else ""
        raise UserError(f"{path}: cannot read the configuration ({reason}){hint}") from error
    try:
        tree = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"{path}: expected keys and values, got {type(tree).__name__}")
    return tree


def _unshared(tree: Any) -> Any:
    """A copy in which no two sections are the same object, as those of a YAML anchor are: an
    override of one would change the other."""
    if isinstance(tree, dict):
        return {key: _unshared(value) for key, value in tree.items()}
    return [_unshared(value) for value in tree] if isinstance(tree, list) else tree


def _is_of(kind: type[BaseModel], tree: dict[str, Any], error: ValidationError) -> bool:
    """Whether ``tree``, without overrides, has the same first mistake."""
    try:
        kind.model_validate(tree)
    except ValidationError as own:
        mistake = first(error)
        return any(
            (one["loc"], one["type"], one["msg"])
            == (mistake["loc"], mistake["type"], mistake["msg"])
            for one in own.errors()
        )
    return False


def check(kind: type[Tree], tree: Any, where: str) -> Tree:
    """``tree`` as settings of a kind.

    Raises:
        UserError: a key is unknown, missing or out of range; ``where`` begins the line.
    """
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{where}: {explain(kind, error, tree)}") from error


def changed(settings: Tree, values: Mapping[str, Any], where: str) -> Tree:
    """``settings`` with other values for dotted keys such as ``losses.teacher.exp``.

    Raises:
        UserError: a key is unknown or a value out of range; ``where`` begins the line.
    """
    tree = settings.model_dump()
    for key, value in values.items():
        put(tree, key, value, f"{where}: {key}")
    return check(type(settings), tree, where)


def value_of(settings: Section, key: str) -> Any:
    """The value or section at a dotted key that ``changed`` accepts."""
    found: Any = settings
    for part in key.split("."):
        found = getattr(found, part)
    return found


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The dotted keys whose values differ between two trees of plain settings."""
    flat, others = dotted(dict(one), ()), dotted(dict(other), ())
    return sorted(key for key in flat | others if flat.get(key) != others.get(key))


def to_yaml(settings: Section) -> str:
    """The resolved settings as YAML that ``load`` reads back."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)


def fingerprint(*parts: Any) -> str:
    """A short hash of settings, strings and numbers: the same content, the same name."""
    plain = [p.model_dump(mode="json") if isinstance(p, BaseModel) else p for p in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals and override.endswith((".yaml", ".yml")):
        raise UserError(f"{override!r} is a file, not key=value; give it as --config {override}")
    if not equals or not key:
        raise UserError(f"{override!r} is not of the form key=value, like {key or 'output'}=...")
    try:
        value = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise UserError(f"{override!r}: the value is not valid YAML") from error
    put(tree, key, value, repr(override))
