"""The sources that determine each stage's result, hashed without comments, docstrings and layout.

A test compares them with ``stage_sources.json``. Where it fails, either the same settings now give
another result: raise the stage's version, so that no old result is picked up. Or they do not, as
after a renaming. In both cases record the sources again: ``python -m tests.stage_sources``.
"""

import ast
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import grimp

import diffusiontalker

PACKAGE = Path(diffusiontalker.__file__).parent
RECORD = Path(__file__).with_suffix(".json")
ENTRIES = {
    "corpus": "corpus.procedural.generation",
    "features": "features.stage",
    "training": "training.stages",
    "pseudo_labels": "pseudo_labels.stage",
    "evaluation": "evaluation.evaluate",
    "rivals": "rivals.stage",
    "rivals_evaluated": "rivals.evaluated",
}
"""Where the code of a stage begins; what that imports belongs to it. ``training`` are the stages of
encoder, teacher and rounds; ``rivals_evaluated`` is a part of the evaluation."""
INDIFFERENT = {"assets", "config", "errors", "storage", "training.progress"}
"""Modules that change no result: the values of settings and the content of assets are in the keys
themselves."""


def modules(stage: str) -> set[str]:
    """The modules of a stage, without the package's name."""
    graph = grimp.build_graph("diffusiontalker", cache_dir=None)
    upstream = graph.find_upstream_modules(f"diffusiontalker.{ENTRIES[stage]}")
    found = {ENTRIES[stage], *(name.partition(".")[2] for name in upstream)}
    return {
        name
        for name in found
        if name and not any(name == one or name.startswith(f"{one}.") for one in INDIFFERENT)
    }


def digest(names: Iterable[str]) -> str:
    """Of the modules' syntax trees."""
    found = hashlib.sha256()
    for name in sorted(names):
        path = PACKAGE.joinpath(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        tree = _WithoutDocstrings().visit(ast.parse(path.read_text(encoding="utf-8")))
        found.update(ast.dump(tree).encode())
    return found.hexdigest()[:12]


class _WithoutDocstrings(ast.NodeTransformer):
    """Removes docstrings, which are expressions of a string alone."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else node


def recorded() -> dict[str, str]:
    """What was recorded last, by stage."""
    found: dict[str, str] = json.loads(RECORD.read_text())
    return found


if __name__ == "__main__":
    RECORD.write_text(json.dumps({s: digest(modules(s)) for s in ENTRIES}, indent=1) + "\n")
