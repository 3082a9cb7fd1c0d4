"""Identities and emotions as requests name them: auto, a name, weights, a saved embedding."""

import numpy as np
from serve.access import Caller
from serve.problems import Problem, blame
from serve.service import Service
from serve.students import Served, fingerprint

from diffusiontalker.runtime.conditioning import AUTO, Conditioning, Library, parse_conditioning
from diffusiontalker.runtime.student import Student

PATTERN = r"^[^\x00-\x1f]{1,1000}$"
MOST_SAVED = 8
"""Saved identities of one blend: each is read from where they are kept."""


async def identity(
    asked: str | dict[str, float], service: Service, served: Served, student: Student, who: Caller
) -> Conditioning:
    """An identity: of the library, saved by the caller, or weights over both. Raises Problem."""
    library = student.libraries[0]
    choice = _parsed(library, asked)
    names = choice if isinstance(choice, dict) else (choice,)
    others = [name for name in names if name not in (AUTO, *library.names)]
    if len(others) > MOST_SAVED:
        raise Problem(
            422, f"identity: {len(others)} names beside the model's; blend at most {MOST_SAVED} "
            "saved identities", "identity",
        )  # fmt: skip
    saved = {}
    for name in others:
        print_ = await service.fetch(fingerprint, served.folder)
        found = await service.fetch(service.identities.load, who.owner, name, print_)
        if found is not None:
            saved[name] = found
    if not saved:
        return _checked(library, choice)
    wider = Library(
        library.kind, [*library.names, *saved], np.stack([*library.entries, *saved.values()])
    )
    with blame(library.kind):
        embedding = wider.resolve(choice)
    return choice if embedding is None else embedding


def emotion(asked: str | dict[str, float], student: Student) -> Conditioning:
    """An emotion of the library. Raises Problem."""
    return _checked(student.libraries[1], _parsed(student.libraries[1], asked))


def _parsed(library: Library, asked: str | dict[str, float]) -> str | dict[str, float]:
    if not isinstance(asked, str) or asked in library.names:
        return asked
    with blame(library.kind):
        return parse_conditioning(asked)


def _checked(library: Library, choice: Conditioning) -> Conditioning:
    with blame(library.kind):
        library.resolve(choice)
    return choice
