"""The training stage of a rival: the data, budget and loop of our teacher."""

from functools import partial
from pathlib import Path

from diffusiontalker.config import RivalSettings, Settings
from diffusiontalker.corpus.manifest import CorpusFolder
from diffusiontalker.rivals import base, kinds
from diffusiontalker.training.stage_run import StageRun, fit_stage
from diffusiontalker.training.windows import MotionWindows


def train_rival(
    name: str, settings: Settings, sizes: RivalSettings, data: CorpusFolder, run: StageRun,
    out: Path,
) -> list[dict[str, float]]:  # fmt: skip
    """Train a rival, where it learns, and save it; returns the history of losses. Raises
    UserError."""
    config = kinds.rival_config(name, settings, sizes, data)
    make = partial(kinds.make_rival, name, config, data)
    # Of the parts of our loss that can be monitored a rival has few.
    rival, train = make(), settings.training.teacher.model_copy(update={"monitor": "loss"})
    history: list[dict[str, float]] = []
    if rival.learns:
        windowing = MotionWindows(
            train.window, data.manifest.identities, data.manifest.emotions,
            features=rival.takes_features,
        )  # fmt: skip
        history = fit_stage(settings, train, data, windowing, make, rival, run)
    base.save(out, name, rival)
    return history
