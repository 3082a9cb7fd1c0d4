"""What viewers notice of a face beside its errors: how it blinks, and how it articulates."""

from collections.abc import Sequence

from diffusiontalker.objectives.articulation import Phones, articulation
from diffusiontalker.objectives.lag import closure_lag
from diffusiontalker.objectives.metrics import Array
from diffusiontalker.objectives.movement import blinks


def behaviour(faces: Sequence[Array], phones: Sequence[Phones]) -> dict[str, float]:
    """Blinks of faces (T, 52) at 30 fps, and articulation of those whose phones are known.

    ``phones`` are those of the face beside them, none where they are unknown. The keys are
    ``blinks_per_minute``, ``blinks_single``, ``blinks_length_ms``, ``closure_lag_ms`` and those of
    ``Articulation``. Our choice.
    """
    eyes = blinks(faces)
    known = [(face, spoken) for face, spoken in zip(faces, phones, strict=True) if spoken]
    aligned = [face for face, _ in known], [spoken for _, spoken in known]
    return {
        "blinks_per_minute": eyes.per_minute,
        "blinks_single": eyes.single_frame,
        "blinks_length_ms": 1000 * eyes.length,
        "closure_lag_ms": closure_lag(*aligned),
        **articulation(*aligned)._asdict(),
    }
