"""Classes that settings name: one of those included, or a file or module of the user's own."""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from diffusiontalker.errors import UserError

T = TypeVar("T")


def load_class(setting: str, name: str, known: Mapping[str, str], base: type[T]) -> type[T]:
    """The subclass of ``base`` of that name.

    Args:
        setting: that holds the name, for errors.
        name: a key of ``known``, or ``path/to/file.py:Class``, or ``package.module:Class``.
        known: ``package.module:Class`` of the included ones.
        base: what the class must be.

    Raises:
        UserError: no such class, or it is no subclass of ``base``.
    """
    module, colon, attribute = known.get(name, name).partition(":")
    if not colon:
        raise UserError(
            f"{setting} {name!r}: known are {', '.join(known)}, and your own as "
            "path/to/file.py:Class"
        )
    try:
        found = getattr(_module(module), attribute)
    except (ImportError, OSError, AttributeError, SyntaxError) as error:
        raise UserError(f"{setting} {name!r}: cannot be imported ({error})") from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UserError(f"{setting} {name!r}: is not a {base.__name__}")
    return found


def with_absolute_path(name: str) -> str:
    """The same name with an absolute path, if it is a file's: workers have other working
    directories."""
    module, colon, attribute = name.partition(":")
    return f"{Path(module).absolute()}{colon}{attribute}" if module.endswith(".py") else name


def _module(name: str) -> ModuleType:
    """A module by its name, or a Python file by its path."""
    if not name.endswith(".py"):
        return importlib.import_module(name)
    # Files of the same name in different folders are different modules.
    path = hashlib.sha256(str(Path(name).absolute()).encode()).hexdigest()[:8]
    spec = importlib.util.spec_from_file_location(
        f"diffusiontalker_plugin_{Path(name).stem}_{path}", name
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module
