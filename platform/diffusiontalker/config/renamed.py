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
    "training.window": "training.teacher.window",
    "training.gpu": "resources.gpu",
    "training.worker_cpus": "resources.worker_cpus",
    "training.threads": "resources.threads",
    "training.max_failures": "resources.max_failures",
}
"""Old key or section -> new one; the longest that fits counts. (``training.window`` has become
one window of each stage: the rounds have their own.)"""


def renames(kind: type[BaseModel], tree: Mapping[str, Any]) -> dict[str, str]:
    """The keys of ``tree`` that a kind of settings does not know and an earlier release did, and
    what they are called now."""
    found = {}
    for key in dotted(dict(tree), ()):
        parts = key.split(".")
        if _knows(kind, parts):
            continue
        for end in range(len(parts), 0, -1):
            old, rest = ".".join(parts[:end]), parts[end:]
            new = RENAMED.get(old)
            if new is not None and _knows(kind, [*new.split("."), *rest]):
                if _knows(kind, parts[:end]):  # a section that is still there, for other keys
                    old, new = key, ".".join([new, *rest])
                found[old] = new
                break
    return found


def _knows(kind: Any, parts: list[str]) -> bool:
    """Whether settings of a kind have a key, or a section, at this place."""
    for part in parts:
        fields = getattr(kind, "model_fields", {})
        if part not in fields:
            return False
        kind = fields[part].annotation
    return True
