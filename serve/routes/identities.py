"""/v1/identities: list identities, save a voice as one, delete it."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel

from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.level import is_quiet
from diffusiontalker.runtime.conditioning import AUTO
from diffusiontalker.runtime.offline import Recognised
from serve.dependencies import CallerDependency, ServiceDependency, StudentDependency
from serve.http.problems import Problem, as_invalid, responses
from serve.models.saved_identities import MAX_SECONDS, MIN_SECONDS, NAME
from serve.models.students import fingerprint
from serve.routes import request_body

router = APIRouter(prefix="/v1/identities")
T = TypeVar("T")
REFUSED = responses(401, 403, 421, 422, 429, 500, 503)


class IdentityNames(BaseModel):
    """Names that ``identity`` takes."""

    library: list[str]
    saved: list[str]


class SavedIdentity(BaseModel):
    """An identity that was saved."""

    name: str
    seconds: float
    nearest: str
    notes: list[str] = []


@router.get("", summary="The identities", responses=REFUSED)
async def identities(
    service: ServiceDependency, caller: CallerDependency, student: StudentDependency
) -> IdentityNames:
    """Those in a student's library, and those saved with this key."""
    saved = await service.run_io(service.identities.names, caller.owner)
    return IdentityNames(library=student.identities, saved=saved)


@router.post(
    "",
    status_code=201,
    summary="Save a voice as an identity",
    responses={**REFUSED, **responses(400, 408, 409, 413, 504)},
    openapi_extra=request_body.OPENAPI,
)
async def save_identity(
    request: Request,
    service: ServiceDependency,
    caller: CallerDependency,
    name: Annotated[str, Query(pattern=f"^{NAME.pattern}$")],
) -> SavedIdentity:
    """The identity embedding of some 10 seconds of speech, for each of the students."""
    for served in service.students.served:
        if name in (AUTO, *(await service.students.load(served.name)).identities):
            raise Problem(409, f"name {name!r} is of the library; choose another", "name")
    async with request_body.received(request, service, caller) as body:
        deadline = service.new_deadline()

        async def run(work: Callable[..., T], *args: Any) -> T:
            return await request_body.cancel_on_disconnect(
                request, service.run_in_thread(caller, deadline, work, *args)
            )

        sound = await run(request_body.decode, body, service.limits, deadline)
        samples = sound.samples
        seconds = len(samples) / SAMPLE_RATE
        if not MIN_SECONDS <= seconds <= MAX_SECONDS:
            raise Problem(
                422, f"body: {seconds:.1f} s of audio; an identity takes {MIN_SECONDS:g} to "
                f"{MAX_SECONDS:g} s", "body",
            )  # fmt: skip
        voices: dict[str, Recognised] = {}
        for served in service.students.served:
            student = await service.students.load(served.name)
            if await run(is_quiet, samples, student.config.front_end):
                raise Problem(422, "body: is silent; send speech", "body")
            space = await service.run_io(fingerprint, served.folder)
            with as_invalid("body"):
                voices[space] = await run(
                    student.recognise, samples, SAMPLE_RATE, "body", deadline.check
                )
        embeddings = {space: voice.identity for space, voice in voices.items()}
        await service.run_io(
            service.identities.save, caller.owner, name, embeddings, service.limits.identities
        )
    similarity = next(iter(voices.values())).identities
    nearest = max(similarity, key=similarity.__getitem__)
    return SavedIdentity(
        name=name, seconds=round(seconds, 3), nearest=nearest, notes=list(sound.notes)
    )


@router.delete(
    "/{name}",
    status_code=204,
    summary="Delete a saved identity",
    responses={**REFUSED, **responses(404)},
    response_class=Response,
)
async def delete_identity(
    service: ServiceDependency, caller: CallerDependency, name: Annotated[str, Path(max_length=64)]
) -> None:
    """Its embedding is removed."""
    await service.run_io(service.identities.delete, caller.owner, name)
