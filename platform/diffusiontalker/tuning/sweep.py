"""A sweep from its settings to the winning configuration: prepare, search, confirm, deliver."""

import importlib.util
import logging
import math
import os
import time
from collections.abc import Mapping
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import ray
from ray import tune

from diffusiontalker import pipeline, preflight, storage
from diffusiontalker.config import Settings, SweepSettings, fingerprint, to_yaml
from diffusiontalker.corpus.manifest import open_corpus
from diffusiontalker.errors import UserError
from diffusiontalker.training import stages as training_stages
from diffusiontalker.training.progress import StageDisplay
from diffusiontalker.training.stages import Data
from diffusiontalker.tuning import results, schedulers, space, study, trial_store
from diffusiontalker.tuning.callbacks import Local, Watch
from diffusiontalker.tuning.table import Progress
from diffusiontalker.tuning.tensorboard import Boards
from diffusiontalker.tuning.trial import Plan, run_trial
from diffusiontalker.tuning.trial_store import (
    FIGURES,
    TRIAL,
    Confirmed,
    Params,
    Records,
    Trial,
    handed,
)

TRIALS = "trials"
"""Where trials keep their weights, and nothing is left at the end."""
PAGE_EVERY = 60.0
"""Seconds between two pages while the sweep goes on."""
Json = dict[str, Any]
# Ctrl-C is the job's to hear, Tune would end as if all were done; and the table is ours.
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
# Nor does anybody read its logs of every trial (and a pickle): ours are ``boards`` and the records.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
# A lost process is told by its trial going on, an error by the trial's state.
logging.getLogger("ray.tune").setLevel(logging.CRITICAL)


def begin(sweep: SweepSettings) -> Settings:
    """Look at all that can be looked at before Ray starts; returns the settings of a trial.

    Raises:
        UserError: whatever would make the sweep fail, or compare what cannot be compared.
    """
    base = space.base_of(sweep)
    space.check(sweep, base)
    if sweep.mlflow is not None and importlib.util.find_spec("mlflow") is None:
        raise UserError("mlflow: the package is not installed; pip install mlflow, or leave it out")
    folder = storage.location(sweep.output)
    preflight.check_holds(folder, preflight.SWEEP)
    trial_store.read(folder, key_of(sweep, base))
    if not storage.is_file(folder / trial_store.FILE) and storage.files(folder / TRIALS):
        raise UserError(
            f"{folder / TRIALS}: is not a sweep's, which would remove it; choose another output=..."
        )
    preflight.check_inputs(base, measured=False)
    return base


def key_of(sweep: SweepSettings, base: Settings) -> str:
    """The hash of what makes trials comparable: the rest may change while a sweep goes on."""
    own = sweep.model_dump(mode="json", include={"stage", "steps", "space", "objectives"})
    contents = []  # of what may change under its name
    if base.corpus.path is not None:
        contents.append(open_corpus(storage.location(base.corpus.path)).fingerprint)
    if base.encoder.name is not None:
        from diffusiontalker.features import encoder  # transformers takes seconds to load

        contents.append(encoder.content(base.encoder.name, base.encoder.revision))
    return fingerprint(own, space.key_of(base, space.stages_of(sweep, base)), *contents)


def run(sweep: SweepSettings) -> Records:
    """Run the sweep, or what a killed one has left; returns what is known of its trials.

    Raises:
        UserError: as ``begin``, or every trial failed.
    """
    base = begin(sweep)
    folder = storage.location(sweep.output)
    known = trial_store.read(folder, key_of(sweep, base))
    known.write(folder)  # from here on the folder is a sweep's
    storage.write_bytes(folder / preflight.SETTINGS, to_yaml(sweep).encode())
    plan = prepare(sweep, base, folder / TRIALS)
    search(sweep, plan, known, folder)
    if not known.in_state("done"):
        said = next((t.error for t in known.in_state("failed") if t.error), "none came to its end")
        raise UserError(f"{folder}: no trial of {len(known.trials)} succeeded; the first: {said}")
    confirm(sweep, plan, known, folder)
    results.deliver(sweep, base, known, folder)
    return known


def prepare(sweep: SweepSettings, base: Settings, folder: Path) -> Plan:
    """Data, and the model that a round starts from: the base's own, in the base's own folder."""
    run = pipeline.Run(base)
    data = pipeline.prepare_data(run)
    stages, start = space.stages_of(sweep, base), None
    if stages[0] != space.TEACHER:
        start = pipeline.train_teacher(run, data)
        for steps in base.diffusion.rounds[: base.diffusion.rounds.index(int(stages[0]))]:
            start = pipeline.train_round(run, data, start, steps)
    return Plan(base, stages, Data(data.folder, data.manifest.without_tests()), start, folder)


def search(sweep: SweepSettings, plan: Plan, known: Records, folder: Path) -> None:
    """Run the trials that are still to run; each is kept as it ends."""
    ended = sum(one.ended for one in known.trials)
    if ended >= sweep.trials:
        print(f"{ended} trials are there already: kept", flush=True)
        return
    default = space.defaults(sweep, plan.base)
    epochs = space.epochs_in_all(plan.base, plan.stages)
    slots = schedulers.slots(sweep, plan.base, ray.cluster_resources())
    progress = Progress(sweep.objectives, sweep.trials, epochs, slots)
    mirror, keep = study.Study(sweep, folder), Keeper(sweep, plan, known, folder, slots)
    mirror.update(known)

    def ended_or_epoch(one: Trial) -> None:
        keep(one)
        if one.ended:
            mirror.update(known)

    def numbered(id: str) -> str:
        one = known.find(id)
        assert one is not None  # the watch has noted it
        return label(one)

    print(f"sweep        {sweep.trials - ended} trials, {slots} at a time", flush=True)
    with Watch(known, progress, ended_or_epoch, len(known.in_state("running"))) as watch:
        tune_trials(
            plan, folder, [watch, Boards(folder, numbered), *_mlflow(sweep)], sweep.max_failures,
            tune.TuneConfig(
                search_alg=study.search(sweep, known, default),
                scheduler=schedulers.scheduler(sweep, epochs, known, default),
                num_samples=sweep.trials - ended,
                max_concurrent_trials=slots,
                reuse_actors=_reused(plan.base),
            ),
            stop=watch,
        )  # fmt: skip
    if watch.broken is not None:
        raise watch.broken
    keep.write()
    storage.remove_folder(plan.folder)  # what a kill between a trial's end and its tidying left


def confirm(sweep: SweepSettings, plan: Plan, known: Records, folder: Path) -> None:
    """Train the base and those of its betters that are finalists once more with every other seed,
    to the end."""
    default = space.defaults(sweep, plan.base)
    betters = takewhile(lambda one: one.params != default, known.ranked(sweep.objectives))
    seeds = [plan.base.training.seed + 1 + k for k in range(sweep.confirm)]
    there = {(one.trial, one.seed) for one in known.confirmed}
    bases = {one.seed: one.default for one in known.confirmed}
    missing = [
        (trial, seed)
        for trial in islice(betters, sweep.finalists)
        for seed in seeds
        if (trial.id, seed) not in there
    ]
    if not missing:
        return

    def name(params: Params, seed: int) -> str:
        return f"confirm-{fingerprint(params, seed)}"

    wanted = [("base", default, seed) for _, seed in missing if seed not in bases]
    wanted += [(label(trial), trial.params, seed) for trial, seed in missing]
    points = {name(params, seed): {**params, space.SEED: seed} for _, params, seed in wanted}
    labels = {name(params, seed): f"{whose}-seed-{seed}" for whose, params, seed in wanted}
    slots = schedulers.slots(sweep, plan.base, ray.cluster_resources())
    with StageDisplay("confirm") as display:
        found = Finals(display, len(points))
        tune_trials(
            plan, folder, [found, Boards(folder, labels.__getitem__)], sweep.max_failures,
            tune.TuneConfig(max_concurrent_trials=slots, reuse_actors=_reused(plan.base)), points,
        )  # fmt: skip
    for trial, seed in missing:
        own = bases.get(seed) or found.figures.get(name(default, seed))
        won = found.figures.get(name(trial.params, seed))
        if own is not None and won is not None:
            known.confirmed.append(Confirmed(trial=trial.id, seed=seed, default=own, best=won))
    known.write(folder)
    storage.remove_folder(plan.folder)


def tune_trials(
    plan: Plan, folder: Path, callbacks: list[tune.Callback], max_failures: int,
    how: tune.TuneConfig, points: Mapping[str, Params] | None = None,
    stop: tune.Stopper | None = None,
) -> None:  # fmt: skip
    """Run trials through Ray Tune: those that its search suggests, or all of ``points`` by ids."""
    grid = [handed(id, params)[TRIAL] for id, params in (points or {}).items()]
    tune.Tuner(
        tune.with_resources(
            tune.with_parameters(run_trial, plan=plan), schedulers.resources(plan.base)
        ),
        param_space={TRIAL: tune.grid_search(grid)} if grid else {},
        tune_config=how,
        run_config=tune.RunConfig(
            # Never one name twice: Tune would mix the logs of two attempts.
            name=f"tune-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}",
            **training_stages.storage_options(folder),
            callbacks=callbacks,
            failure_config=tune.FailureConfig(max_failures=max_failures),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # the runs' own
            stop=stop,
            verbose=0,
        ),
    ).fit()


def label(one: Trial) -> str:
    """What people call a trial."""
    return f"trial-{one.number:03d}"


class Finals(Local):
    """The last figures of every trial of a list."""

    def __init__(self, display: StageDisplay, total: int) -> None:
        self.display, self.total = display, total
        self.figures: dict[str, dict[str, float]] = {}
        """By the trials' ids; of one that failed there are none."""
        self.ended = 0

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Json, **info: Any
    ) -> None:
        """An epoch is done."""
        found = {name: float(result[name]) for name in FIGURES}
        if all(map(math.isfinite, found.values())):
            self.figures[trial.config[TRIAL]["id"]] = found
        else:  # nor do its epochs before that count
            self.figures.pop(trial.config[TRIAL]["id"], None)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has failed, and is not tried again."""
        self.figures.pop(trial.config[TRIAL]["id"], None)
        self.on_trial_complete(iteration, trials, trial)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has ended."""
        self.ended += 1
        self.display.count(self.ended, self.total)


class Keeper:
    """Writes what is known after each epoch, and the page from time to time."""

    def __init__(
        self, sweep: SweepSettings, plan: Plan, known: Records, folder: Path, slots: int
    ) -> None:
        self.sweep, self.plan, self.known, self.folder = sweep, plan, known, folder
        known.slots = slots
        self.before, self.begun, self.paged = known.wall_seconds, time.monotonic(), 0.0

    def __call__(self, one: Trial) -> None:
        self.write()
        if one.ended:
            # Nobody needs its weights: the winner is trained anew, with the base's full schedule.
            storage.remove_folder(self.plan.folder / one.id)
            if time.monotonic() - self.paged > PAGE_EVERY:
                self.paged = time.monotonic()
                results.write_page(self.sweep, self.plan.base, self.known, self.folder)

    def write(self) -> None:
        """Write the records as they are."""
        self.known.wall_seconds = self.before + time.monotonic() - self.begun
        self.known.write(self.folder)


def _mlflow(sweep: SweepSettings) -> list[tune.Callback]:
    if sweep.mlflow is None:
        return []
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    return [MLflowLoggerCallback(tracking_uri=sweep.mlflow, experiment_name="diffusiontalker")]


def _reused(base: Settings) -> bool:
    """Whether a trial may have the process of another: not where workers would live on in it."""
    return base.training.workers == 0
