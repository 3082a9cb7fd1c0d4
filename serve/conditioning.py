"""Identity and emotion of a request: auto, a name, weights over names, or a saved identity."""

import numpy as np

from diffusiontalker.runtime.conditioning import AUTO, Conditioning, Library, parse_conditioning
from diffusiontalker.runtime.student import Student
from serve.admission.access import Caller
from serve.http.problems import Problem, as_invalid
from serve.models.students import ServedStudent, fingerprint
from serve.service import Service

MAX_SAVED = 8
"""Saved identities in one blend, as each is read from storage."""


async def identity(
    requested: str | dict[str, float],
    service: Service,
    served: ServedStudent,
    student: Student,
    caller: Caller,
) -> Conditioning:
    """An identity of the library, saved by the caller, or weights over both. Raises Problem."""
    library = student.libraries[0]
    conditioning = _parse(library, requested)
    names = conditioning if isinstance(conditioning, dict) else (conditioning,)
    others = [name for name in names if name not in (AUTO, *library.names)]
    if len(others) > MAX_SAVED:
        raise Problem(
            422, f"identity: {len(others)} names beside the model's; blend at most {MAX_SAVED} "
            "saved identities", "identity",
        )  # fmt: skip
    saved = {}
    for name in others:
        space = await service.run_io(fingerprint, served.folder)
        embedding = await service.run_io(service.identities.load, caller.owner, name, space)
        if embedding is not None:
            saved[name] = embedding
    if not saved:
        return _validated(library, conditioning)
    extended = Library(
        library.kind, [*library.names, *saved], np.stack([*library.entries, *saved.values()])
    )
    with as_invalid(library.kind):
        resolved = extended.resolve(conditioning)
    return conditioning if resolved is None else resolved


def emotion(requested: str | dict[str, float], student: Student) -> Conditioning:
    """An emotion of the library, or weights over it. Raises Problem."""
    return _validated(student.libraries[1], _parse(student.libraries[1], requested))


def _parse(library: Library, requested: str | dict[str, float]) -> str | dict[str, float]:
    if not isinstance(requested, str) or requested in library.names:
        return requested
    with as_invalid(library.kind):
        return parse_conditioning(requested)


def _validated(library: Library, conditioning: Conditioning) -> Conditioning:
    with as_invalid(library.kind):
        library.resolve(conditioning)
    return conditioning
