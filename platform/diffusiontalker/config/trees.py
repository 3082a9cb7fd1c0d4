"""Settings as plain dictionaries in dictionaries."""

from collections.abc import Sequence
from typing import Any

from diffusiontalker.errors import UserError


def merged(default: Any, given: Any) -> Any:
    """``given`` over ``default``, section by section; None for a section means its defaults."""
    if isinstance(default, dict) and given is None:
        return default
    if not isinstance(default, dict) or not isinstance(given, dict):
        return given
    return default | {key: merged(default.get(key), value) for key, value in given.items()}


def dotted(tree: dict[str, Any], ends: Sequence[str]) -> dict[str, Any]:
    """Nested sections as one dictionary with dotted keys; a section with a key of ``ends`` is a
    value."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value and not _ends(value, ends):
            found |= {f"{key}.{inner}": v for inner, v in dotted(value, ends).items()}
        else:
            found[str(key)] = value
    return found


def _ends(section: dict[str, Any], ends: Sequence[str]) -> bool:
    return any(not isinstance(section[name], dict) for name in set(ends) & set(section))


def put(tree: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Set the value at a dotted ``key``; the line of a mistake begins with ``where``."""
    *sections, leaf = key.split(".")
    for section in sections:
        if tree.get(section) is None:
            tree[section] = {}
        tree = tree[section]
        if not isinstance(tree, dict):
            raise UserError(f"{where}: {section!r} is a value, not a section")
    tree[leaf] = value
