"""Identities and emotions as requests name them: auto, a name, weights, a saved embedding."""

from serve.access import Caller
from serve.problems import Problem, blame
from serve.service import Service
from serve.students import Served, fingerprint

from diffusiontalker.runtime.student import Student
from diffusiontalker.runtime.voice import AUTO, Choice, Library

PATTERN = r"^[^\x00-\x1f]{1,1000}$"
HINT = "auto, a name, or weights over names such as ann:0.7,bob:0.3"


async def identity(
    asked: str | dict[str, float], service: Service, served: Served, student: Student, who: Caller
) -> Choice:
    """An identity, of the library or saved by the caller. Raises Problem."""
    if isinstance(asked, str) and asked not in (AUTO, *student.identities):
        print_ = await service.fetch(fingerprint, served.folder)
        saved = await service.fetch(service.identities.load, who.owner, asked, print_)
        if saved is not None:
            return saved
    return _checked(student.libraries[0], asked)


def emotion(asked: str | dict[str, float], student: Student) -> Choice:
    """An emotion of the library. Raises Problem."""
    return _checked(student.libraries[1], asked)


def _checked(library: Library, asked: str | dict[str, float]) -> Choice:
    choice: Choice = asked
    if isinstance(asked, str) and ":" in asked and asked not in library.names:
        choice = _weights(library.kind, asked)
    with blame(library.kind):
        library.resolve(choice)
    return choice


def _weights(kind: str, text: str) -> dict[str, float]:
    found = {}
    for part in text.split(","):
        name, _, weight = part.rpartition(":")
        try:
            found[name.strip()] = float(weight)
        except ValueError as error:
            raise Problem(422, f"{kind} {text[:80]!r}: give {HINT}", kind) from error
    return found
