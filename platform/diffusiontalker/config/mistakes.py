"""A mistake in the settings as one line: what, where, and the nearest right key."""

import difflib
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from diffusiontalker.config.data import DataSettings
from diffusiontalker.config.renamed import renames
from diffusiontalker.config.run import ExportJobSettings, Settings
from diffusiontalker.config.sweep import SweepSettings


def explain(kind: type[BaseModel], error: ValidationError, tree: Any) -> str:
    """The first mistake of a pydantic error about ``tree`` as one line; of keys that have another
    name now, all."""
    if isinstance(tree, dict) and (old := renames(kind, tree)):
        return "settings of an earlier release; rename " + ", ".join(
            f"{key} to {new}" for key, new in old.items()
        )
    mistake = first(error)
    shown, beside = _walk(kind, mistake["loc"])
    where = ".".join(shown)
    if mistake["type"] == "extra_forbidden":
        if len(shown) == 1 and (job := _job_of(kind, error, tree)):
            return f"unknown setting {where!r}, which is one of {job}"
        near = difflib.get_close_matches(shown[-1], beside, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(beside)}"
        return f"unknown setting {where!r}; {hint}"
    if mistake["type"] == "missing":
        return f"{where} is needed; give it in a file (--config FILE), or as {where}=..."
    message = mistake["msg"].removeprefix("Value error, ")
    if mistake["type"].startswith("union_tag"):
        tags = mistake.get("ctx", {}).get("expected_tags")
        message = f"needs a kind, one of {tags}" if tags else "needs a kind"
    if mistake["type"] == "model_type":
        message = "expected a section of keys and values"
    if not where:  # of several settings together, which the message names
        return str(message)
    if mistake["type"] == "value_error" and not isinstance(mistake["input"], str | int | float):
        return f"{where}: {message}"  # of several settings of a section, which the message names
    return f"{where}: {message} (got {_short(mistake['input'])})"


def first(error: ValidationError) -> Any:
    """The mistake to report: an unknown key rather than a missing one, which is mostly the same key
    misspelt."""
    return min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")


def _job_of(kind: type[BaseModel], error: ValidationError, tree: Any) -> str | None:
    """The job whose settings have, or had in an earlier release, all the top-level keys that
    ``kind`` has not."""
    jobs: dict[str, type[BaseModel]] = {
        "jobs/sweep.py": SweepSettings,
        "jobs/prepare.py": DataSettings,
        "jobs/distill.py": Settings,
        "jobs/export.py": ExportJobSettings,
    }
    if kind not in jobs.values():
        return None
    extra = [one["loc"] for one in error.errors() if one["type"] == "extra_forbidden"]
    keys = {str(location[0]) for location in extra if len(location) == 1}
    for job, other in jobs.items():
        renamed = {key.partition(".")[0] for key in renames(other, tree)}
        if keys <= renamed | set(other.model_fields):
            return job
    return None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _walk(
    kind: type[BaseModel], location: tuple[int | str, ...]
) -> tuple[list[str], list[str]]:  # fmt: skip
    """The location of a pydantic error as users write it, and the keys that exist there."""
    shown: list[str] = []
    models, beside, in_dict = [kind], [kind], False
    for part in location:
        fields = [m.model_fields[str(part)] for m in models if str(part) in m.model_fields]
        if fields and not in_dict:
            beside, annotation = models, fields[0].annotation
            models, in_dict = _models_in(annotation), get_origin(annotation) is dict
        elif in_dict or isinstance(part, int):
            in_dict = False
        elif taken := [m for m in models if _is_kind(m, part)]:
            models = beside = taken  # pydantic's tag of a union, which no user wrote
            continue
        elif models:
            beside = models  # an unknown key
        else:
            continue  # the type of a value
        shown.append(str(part))
    return shown, [key for model in beside for key in model.model_fields]


def _is_kind(model: type[BaseModel], part: str) -> bool:
    field = model.model_fields.get("kind")
    return field is not None and part in get_args(field.annotation)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
