"""Sweeps and hand-made trials for the tests of the search for settings."""

from pathlib import Path
from typing import Any

from diffusiontalker.config import SweepSettings
from diffusiontalker.summary.sweep import CurvePoint, Params, Trial
from diffusiontalker.tuning.trial_store import TrialStore

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "configs" / "quickstart.yaml"
EXP = {"kind": "log_uniform", "low": 0.1, "high": 10}
LIP = {"kind": "uniform", "low": 0, "high": 2}
KEY = "0123456789ab"


def sweep(searched: dict[str, Any] | None = None, **more: Any) -> SweepSettings:
    """A sweep of the quickstart, by default over two loss weights of the teacher."""
    space = {"losses.teacher.exp": EXP, "losses.teacher.lip": LIP} if searched is None else searched
    return SweepSettings.model_validate({"base": str(BASE), "space": space, **more})


def point(epoch: int, energy: float | None, **others: float | None) -> CurvePoint:
    """An epoch of ten seconds."""
    return CurvePoint.model_validate(reported(epoch, energy, **others))


def reported(epoch: int, energy: float | None, **others: float | None) -> dict[str, Any]:
    """The same as Ray Tune is given it."""
    figures = {"lbe": 0.05, "energy_score": energy, "upper_energy": 0.07}
    return {"epochs": epoch, "seconds": 10.0, **figures, **others}


def trial(
    number: int, *energies: float | None, params: Params | None = None, **more: Any
) -> Trial:  # fmt: skip
    """A finished trial that had these energy scores, epoch by epoch."""
    given = (
        {"losses.teacher.exp": 1.0 + number, "losses.teacher.lip": 1.0}
        if params is None
        else params
    )
    curve = [point(epoch, energy) for epoch, energy in enumerate(energies, start=1)]
    values = {"id": f"t{number}", "state": "done", "seconds": 10.0 * len(curve) + 2, **more}
    return Trial(number=number, params=given, curve=curve, **values)


def store(*trials: Trial, **more: Any) -> TrialStore:
    """A store of these trials."""
    return TrialStore(key=KEY, trials=list(trials), **more)
