"""The search space: checks, Optuna distributions, and the settings of a trial."""

import math
from collections.abc import Mapping

from optuna import distributions as optuna

from diffusiontalker import config
from diffusiontalker.config import (
    Choice,
    Settings,
    Spread,
    SweepSettings,
    changed,
    fingerprint,
    round_settings,
)
from diffusiontalker.errors import UserError
from diffusiontalker.stage_keys import data_key, round_key, teacher_key
from diffusiontalker.summary.sweep import Params

TEACHER = "teacher"
SEED = "training.seed"
WORKERS = "training.workers"
Stage = str | int
"""``teacher``, or the steps of a round."""


def base_of(sweep: SweepSettings) -> Settings:
    """The settings of the first trial: the base with the sweep's changes. Raises UserError."""
    return changed(config.load(sweep.base), sweep.changes, "changes")


def stages_of(sweep: SweepSettings, base: Settings) -> list[Stage]:
    """What a trial trains, in order.

    Raises:
        UserError: the base has no such round.
    """
    rounds = base.diffusion.rounds
    if sweep.stage == TEACHER:
        return [TEACHER]
    if sweep.stage == "chain":
        return [TEACHER, *rounds]
    steps = sweep.steps or (rounds[-1] if rounds else 0)
    if not rounds:
        raise UserError(f"stage: {sweep.base} has no rounds; sweep stage: teacher")
    if steps not in rounds:
        known = ", ".join(map(str, rounds))
        raise UserError(f"steps: {sweep.base} has no round of {steps} steps; it has {known}")
    return [steps]


def epochs_of(settings: Settings, stage: Stage) -> int:
    """Epochs of one stage."""
    if stage == TEACHER:
        return settings.training.teacher.epochs
    return round_settings(settings, int(stage)).epochs


def epochs_in_all(settings: Settings, stages: list[Stage]) -> int:
    """Epochs of a trial that is not stopped early."""
    return sum(epochs_of(settings, stage) for stage in stages)


def defaults(sweep: SweepSettings, base: Settings) -> Params:
    """The base's own values of all that is searched."""
    return {name: config.value_of(base, name) for name in sweep.space}


def distributions(sweep: SweepSettings) -> dict[str, optuna.BaseDistribution]:
    """The space as Optuna's distributions."""
    return {name: _distribution(spread) for name, spread in sweep.space.items()}


def check(sweep: SweepSettings, base: Settings) -> None:
    """Check that the trials of the space are valid and comparable.

    Raises:
        UserError: a setting is unknown, can be out of its range, has no effect on the training,
            changes what trials start from, or its range excludes the base's own value.
    """
    stages = stages_of(sweep, base)
    epochs = epochs_in_all(base, stages)

    def same_data(other: Settings) -> bool:
        return data_key(other) == data_key(base)

    for name, spread in sweep.space.items():
        where = f"space.{name}"
        others = [changed(base, {name: value}, where) for value in _examples(spread)]
        own = config.value_of(base, name)
        if name == SEED:
            raise UserError(f"{where}: confirm tries other seeds; take it out")
        if name == WORKERS:
            raise UserError(f"{where}: trials all have as many workers as the base; take it out")
        _check_base_value(where, spread, own)
        if any(epochs_in_all(other, stages) != epochs for other in others):
            raise UserError(f"{where}: trials of unlike length cannot be compared; take it out")
        if any(_start_hash(other, stages) != _start_hash(base, stages) for other in others):
            raise UserError(
                f"{where}: all trials start from the same data"
                f"{' and teacher' if stages[0] != TEACHER else ''}, which this would change; take "
                "it out" + (", or sweep stage: chain" if all(map(same_data, others)) else "")
            )
        if all(_training_hash(other, stages) == _training_hash(base, stages) for other in others):
            trained = "the teacher" if stages == [TEACHER] else f"a {sweep.stage}"
            raise UserError(f"{where}: changes nothing in the training of {trained}; take it out")


def _examples(spread: Spread | Choice) -> tuple[object, ...]:
    """Values of a spread that are tried as settings."""
    if isinstance(spread, Choice):
        return spread.choices
    if spread.kind == "int":
        return int(spread.low), int(spread.high)
    # The value in between is fractional, so that an integer setting refuses it.
    return spread.low, spread.low + (spread.high - spread.low) / math.pi, spread.high


def _check_base_value(where: str, spread: Spread | Choice, own: object) -> None:
    """The base's own value must be in the space."""
    if isinstance(spread, Choice):
        inside, among = own in spread.choices, ", ".join(map(str, spread.choices))
    else:
        inside = (
            isinstance(own, int | float)
            and not isinstance(own, bool)
            and spread.low <= own <= spread.high
        )
        among = f"{spread.low:g} to {spread.high:g}"
    if not inside:
        name = where.removeprefix("space.")
        raise UserError(
            f"{where}: the base's own value {own} is not among {among}; widen that, or set "
            f"changes.{name}"
        )


def _start_hash(settings: Settings, stages: list[Stage]) -> str:
    """A hash of what a trial starts from. The student that a later round starts from is trained
    with the base's losses and schedule, but must have the trial's shape."""
    found = [data_key(settings)]
    if stages[0] != TEACHER:
        found += _stage_keys(settings, [TEACHER])
        if stages[0] != settings.diffusion.rounds[0]:
            found.append(fingerprint(settings.model.student))
    return fingerprint(*found)


def _training_hash(settings: Settings, stages: list[Stage]) -> str:
    """A hash of the training of a trial."""
    return fingerprint(settings.diffusion, *_stage_keys(settings, stages))


def key_of(settings: Settings, stages: list[Stage]) -> str:
    """A hash of what determines a trial, from the data to the last of its stages."""
    rounds = settings.diffusion.rounds
    before = [] if stages[-1] == TEACHER else rounds[: rounds.index(int(stages[-1])) + 1]
    keys = _stage_keys(settings, [TEACHER, *before])
    return fingerprint(settings.diffusion, data_key(settings), *keys)


def _stage_keys(settings: Settings, stages: list[Stage]) -> list[str]:
    return [
        teacher_key(settings, []) if stage == TEACHER else round_key(settings, int(stage), "", [])
        for stage in stages
    ]


def _distribution(spread: Spread | Choice) -> optuna.BaseDistribution:
    if isinstance(spread, Choice):
        return optuna.CategoricalDistribution(spread.choices)
    if spread.kind == "int":
        return optuna.IntDistribution(int(spread.low), int(spread.high))
    return optuna.FloatDistribution(spread.low, spread.high, log=spread.kind == "log_uniform")


def apply(base: Settings, params: Mapping[str, object]) -> Settings:
    """The settings of a trial. Raises UserError: they do not go together."""
    return changed(base, params, "trial")
