"""A student of random weights, exported: small, and as quick to make as to use."""

from pathlib import Path

from tests.unit import models

from diffusiontalker.export import artifact

IDENTITIES = ("ann", "bob", "cyn")


def random_student(folder: Path, steps: int = 2, look_ahead: int | None = 3) -> Path:
    """Export one into ``folder`` and return it.

    But for its names it is the one of ``models.talker``: to trace another takes 10 s of CPU.
    """
    talker = models.talker(teacher=False, look_ahead=look_ahead, identities=IDENTITIES)
    artifact.export(talker, steps, folder, "# A random student\n")
    return folder
