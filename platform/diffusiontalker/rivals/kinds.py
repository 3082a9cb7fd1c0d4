"""All rivals by name, and how one is made, prepared and loaded."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import load as from_bytes

from diffusiontalker import storage
from diffusiontalker.config import RivalSettings, Settings
from diffusiontalker.corpus.manifest import CorpusFolder
from diffusiontalker.errors import UserError
from diffusiontalker.rivals.base import CONFIG, WEIGHTS, Rival, RivalConfig
from diffusiontalker.rivals.emotalk import EmoTalk
from diffusiontalker.rivals.facediffuser import FaceDiffuser
from diffusiontalker.rivals.faceformer import FaceFormer
from diffusiontalker.rivals.industrial import Industrial
from diffusiontalker.rivals.mean_face import MeanFace
from diffusiontalker.rivals.regression import PlainRegression
from diffusiontalker.rivals.retrieval import Retrieval
from diffusiontalker.rivals.selftalk import SelfTalk
from diffusiontalker.rivals.unitalker import UniTalker
from diffusiontalker.training.architecture import student_config

KINDS: dict[str, type[Rival]] = {
    "faceformer": FaceFormer,
    "emotalk": EmoTalk,
    "facediffuser": FaceDiffuser,
    "selftalk": SelfTalk,
    "unitalker": UniTalker,
    "industrial": Industrial,
    "regression": PlainRegression,
    "mean_face": MeanFace,
    "retrieval": Retrieval,
}


def rival_config(
    name: str, settings: Settings, sizes: RivalSettings, data: CorpusFolder
) -> RivalConfig:
    """The shape of a rival for a corpus with features."""
    manifest = data.manifest
    if manifest.feature_dim is None:
        raise UserError(f"{data.folder}: holds no features of a frozen encoder, which rivals take")
    own = student_config(settings, data).to_dict() if name == "regression" else None
    return RivalConfig(
        manifest.feature_dim, tuple(manifest.identities), tuple(manifest.emotions), sizes.width, own
    )


def make_rival(name: str, config: RivalConfig, data: CorpusFolder) -> Rival:
    """A rival with initial weights, which are drawn from torch's global generator."""
    rival = KINDS[name](config)
    rival.prepare(data)
    return rival


def load_rival(folder: Path) -> Rival:
    """Read what ``base.save`` wrote, in evaluation mode.

    Raises:
        UserError: a file is missing or damaged, or is of another release.
    """
    kind, config = read_config(folder)
    with _reading(folder):
        rival = KINDS[kind](config)
        state = from_bytes(storage.read_bytes(folder / WEIGHTS))
        rival.resize(state)
        rival.load_state_dict(state)
    return rival.eval()


def read_config(folder: Path) -> tuple[str, RivalConfig]:
    """Name and shape of a saved rival. Raises UserError as ``load_rival``."""
    with _reading(folder):
        found = json.loads(storage.read_text(folder / CONFIG))
        return found["kind"], RivalConfig.from_dict(found["config"])


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{folder}: not a rival of this release ({str(error)[:200]}); remove the folder and "
            "run the same again"
        ) from error
