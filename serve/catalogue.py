"""What a caller may choose from: models, identities, emotions, blendshapes."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel
from serve import recordings
from serve.animate import WhichStudent
from serve.identities import LONGEST, NAME, SHORTEST
from serve.problems import Problem, blame, responses
from serve.service import Asking, Serving
from serve.students import fingerprint

from diffusiontalker import arkit
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.level import is_quiet
from diffusiontalker.runtime.offline import Recognised

router = APIRouter(prefix="/v1")
T = TypeVar("T")
Which = Annotated[WhichStudent, Query()]
REFUSED = responses(401, 403, 421, 422, 429, 500, 503)


class Model(BaseModel):
    """A student."""

    name: str
    steps: int
    look_ahead_ms: float | None
    precision: str


class Models(BaseModel):
    """The students that are served."""

    default: str
    models: list[Model]


class IdentityNames(BaseModel):
    """Whom a request may name."""

    library: list[str]
    saved: list[str]


class EmotionNames(BaseModel):
    """What a request may name."""

    emotions: list[str]


class Saved(BaseModel):
    """An identity that was saved."""

    name: str
    seconds: float
    nearest: str
    notes: list[str] = []


class Blendshape(BaseModel):
    """A channel."""

    name: str
    region: str
    mirror: str


class Blendshapes(BaseModel):
    """The channels, in the order of every frame."""

    fps: int
    blendshapes: list[Blendshape]


@router.get("/models", summary="The students", responses=REFUSED)
async def models(service: Serving, caller: Asking) -> Models:
    """By name, with steps, look-ahead as a stream (null: whole recordings alone) and precision."""
    return Models(
        default=service.students.default.name,
        models=[
            Model(
                name=served.name, steps=served.steps, look_ahead_ms=served.look_ahead_ms,
                precision=served.precision,
            )
            for served in service.students.served
        ],
    )  # fmt: skip


@router.get("/emotions", summary="The emotions", responses=REFUSED)
async def emotions(service: Serving, caller: Asking, which: Which) -> EmotionNames:
    """Those that a student knows."""
    served = service.students.find(which.model, which.steps)
    return EmotionNames(emotions=(await service.students.load(served.name)).emotions)


@router.get("/identities", summary="The identities", responses=REFUSED)
async def identities(service: Serving, caller: Asking, which: Which) -> IdentityNames:
    """Those that a student knows, and those that were saved with this key."""
    served = service.students.find(which.model, which.steps)
    library = (await service.students.load(served.name)).identities
    saved = await service.fetch(service.identities.names, caller.owner)
    return IdentityNames(library=library, saved=saved)


@router.post(
    "/identities",
    status_code=201,
    summary="Save a voice as an identity",
    responses={**REFUSED, **responses(400, 408, 409, 413, 504)},
    openapi_extra=recordings.OPENAPI,
)
async def save_identity(
    request: Request,
    service: Serving,
    caller: Asking,
    name: Annotated[str, Query(pattern=f"^{NAME.pattern}$")],
) -> Saved:
    """Some 10 seconds of speech become an embedding under a name, for all students served."""
    for served in service.students.served:
        if name in ("auto", *(await service.students.load(served.name)).identities):
            raise Problem(409, f"name {name!r} is of the library; choose another", "name")
    async with recordings.received(request, service, caller) as body:
        wanted = service.wanted()

        async def run(work: Callable[..., T], *args: Any) -> T:
            return await recordings.while_there(request, service.run(caller, wanted, work, *args))

        sound = await run(recordings.decode, body, service.limits)
        samples = sound.samples
        seconds = len(samples) / SAMPLE_RATE
        if not SHORTEST <= seconds <= LONGEST:
            raise Problem(
                422, f"body: {seconds:.1f} s of audio; an identity takes {SHORTEST:g} to "
                f"{LONGEST:g} s", "body",
            )  # fmt: skip
        if await run(is_quiet, samples):
            raise Problem(422, "body: nobody speaks in it; send a voice", "body")
        heard: dict[str, Recognised] = {}
        for served in service.students.served:
            student = await service.students.load(served.name)
            print_ = await service.fetch(fingerprint, served.folder)
            with blame("body"):
                heard[print_] = await run(
                    student.recognise, samples, SAMPLE_RATE, "body", wanted.check
                )
        embeddings = {print_: found.identity for print_, found in heard.items()}
        await service.fetch(
            service.identities.save, caller.owner, name, embeddings, service.limits.identities
        )
    like = next(iter(heard.values())).identities
    nearest = max(like, key=like.__getitem__)
    return Saved(name=name, seconds=round(seconds, 3), nearest=nearest, notes=list(sound.notes))


@router.delete(
    "/identities/{name}",
    status_code=204,
    summary="Forget a saved identity",
    responses={**REFUSED, **responses(404)},
    response_class=Response,
)
async def forget_identity(
    service: Serving, caller: Asking, name: Annotated[str, Path(max_length=64)]
) -> None:
    """Its embedding is removed."""
    await service.fetch(service.identities.forget, caller.owner, name)


@router.get("/blendshapes", summary="The channels", responses=REFUSED)
async def blendshapes(caller: Asking) -> Blendshapes:
    """The 52 ARKit blendshapes in the order of every frame; mirror is the other side's."""
    mirror = arkit.mirror_permutation()
    regions: dict[int, str] = {
        **dict.fromkeys(arkit.LIP, "lip"),
        **dict.fromkeys(arkit.UPPER, "upper"),
    }
    shapes: list[Any] = [
        Blendshape(name=name, region=regions.get(at, "cheek"), mirror=arkit.CHANNELS[mirror[at]])
        for at, name in enumerate(arkit.CHANNELS)
    ]
    return Blendshapes(fps=arkit.FPS, blendshapes=shapes)
