"""Lists of what a request may name: models, emotions, blendshapes."""

from fastapi import APIRouter
from pydantic import BaseModel

from diffusiontalker import arkit
from serve.dependencies import CallerDependency, ServiceDependency, StudentDependency
from serve.http.problems import responses

router = APIRouter(prefix="/v1")
REFUSED = responses(401, 403, 421, 422, 429, 500, 503)


class ModelInfo(BaseModel):
    """A student."""

    name: str
    steps: int
    look_ahead_ms: float | None
    precision: str


class Models(BaseModel):
    """The students that are served."""

    default: str
    models: list[ModelInfo]


class EmotionNames(BaseModel):
    """Names that ``emotion`` takes."""

    emotions: list[str]


class BlendshapeInfo(BaseModel):
    """A channel."""

    name: str
    region: str
    mirror: str


class Blendshapes(BaseModel):
    """The channels, in the order of the coefficients."""

    fps: int
    blendshapes: list[BlendshapeInfo]


@router.get("/models", summary="The students", responses=REFUSED)
async def models(service: ServiceDependency, caller: CallerDependency) -> Models:
    """By name, with steps, look-ahead of a stream (null: whole recordings only) and precision."""
    return Models(
        default=service.students.default.name,
        models=[
            ModelInfo(
                name=served.name, steps=served.steps, look_ahead_ms=served.look_ahead_ms,
                precision=served.precision,
            )
            for served in service.students.served
        ],
    )  # fmt: skip


@router.get("/emotions", summary="The emotions", responses=REFUSED)
async def emotions(student: StudentDependency) -> EmotionNames:
    """Those in a student's library."""
    return EmotionNames(emotions=student.emotions)


@router.get("/blendshapes", summary="The channels", responses=REFUSED)
async def blendshapes(caller: CallerDependency) -> Blendshapes:
    """The 52 ARKit blendshapes in the order of the coefficients; mirror: that of the other side."""
    mirror = arkit.mirror_permutation()
    regions: dict[int, str] = {
        **dict.fromkeys(arkit.LIP, "lip"),
        **dict.fromkeys(arkit.UPPER, "upper"),
    }
    shapes = [
        BlendshapeInfo(
            name=name, region=regions.get(at, "cheek"), mirror=arkit.CHANNELS[mirror[at]]
        )
        for at, name in enumerate(arkit.CHANNELS)
    ]
    return Blendshapes(fps=arkit.FPS, blendshapes=shapes)
