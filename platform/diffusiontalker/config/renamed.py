"""Settings of earlier releases and where they are now."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from diffusiontalker.config.trees import dotted

RENAMED = {
    "audio_dim": "model.shared.audio_dim",
    "personalizer": "model.shared.personalizer",
    "context": "model.teacher.context",
    "decoder": "model.teacher.decoder",
    "student": "model.student",
    "student.encoder_width": "model.shared.encoder_width",
    "student.encoder_depth": "model.shared.encoder_depth",
    "student.look_ahead_ms": "model.shared.look_ahead_ms",
    "diffusion.schedule": "model.shared.schedule",
    "losses": "losses.teacher",
    "student_losses": "losses.student",
    "encoder.log_mel": "model.teacher.log_mel",
    "encoder.cache": "extraction.cache",
    "encoder.actors": "extraction.actors",
    "encoder.gpus_per_actor": "extraction.gpus_per_actor",
    "encoder.extract_seconds": "extraction.batch_seconds",
    "encoder.hidden": "encoder.small.hidden",
    "encoder.depth": "encoder.small.depth",
    "encoder.epochs": "training.encoder.epochs",
    "encoder.passes": "training.encoder.passes",
    "encoder.batch_seconds": "training.encoder.batch_seconds",
    "encoder.learning_rate": "training.encoder.learning_rate",
    "training.window": "training.teacher.window and training.first_round.window and "
    "training.round.window",
    "training.gpu": "resources.gpu",
    "training.worker_cpus": "resources.worker_cpus",
    "training.threads": "resources.threads",
    "training.max_failures": "resources.max_failures",
}
"""Old key or section -> new one; the longest prefix of a key counts."""


def renames(kind: type[BaseModel], tree: Mapping[str, Any]) -> dict[str, str]:
    """The keys and sections of ``tree`` that a kind of settings does not have and an earlier
    release had, and their names now."""
    found = {}
    keys = dotted(dict(tree), ())
    current = [key for key in keys if _has(kind, key.split("."))]
    for key in keys:
        if pair := _rename(kind, key):
            old, new, rest = pair
            if any(one.startswith(f"{old}.") for one in current):  # these remain in the section
                old, new = key, f"{new}.{rest}"
            found[old] = new
    return found


def with_current_names(kind: type[BaseModel], tree: Mapping[str, Any]) -> dict[str, Any]:
    """The values of ``tree`` under dotted keys, those of an earlier release under their names
    now."""
    found = {}
    for key, value in dotted(dict(tree), ()).items():
        pair = _rename(kind, key)
        if pair is None:
            found[key] = value
            continue
        _, new, rest = pair
        found |= {f"{one}.{rest}" if rest else one: value for one in new.split(" and ")}
    return found


def _rename(kind: type[BaseModel], key: str) -> tuple[str, str, str] | None:
    """The longest prefix of a key that has another name now, that name, and the rest of the key."""
    parts = key.split(".")
    if _has(kind, parts):
        return None
    for end in range(len(parts), 0, -1):
        old, rest = ".".join(parts[:end]), parts[end:]
        new = RENAMED.get(old)
        if new is not None and _has(kind, [*new.split(" and ")[0].split("."), *rest]):
            return old, new, ".".join(rest)
    return None


def _has(kind: Any, parts: list[str]) -> bool:
    """Whether settings of a kind have a key, or a section, at this place."""
    for part in parts:
        fields = getattr(kind, "model_fields", {})
        if part not in fields:
            return False
        kind = fields[part].annotation
    return True
