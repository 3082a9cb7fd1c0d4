"""A sweep from its settings to the winning configuration: prepare, search, confirm, write."""

import importlib.util
import time
from dataclasses import replace
from itertools import chain
from pathlib import Path

import ray
from ray import tune

from diffusiontalker import preflight, storage
from diffusiontalker.config import Settings, SweepSettings, fingerprint, to_yaml
from diffusiontalker.corpus.manifest import open_corpus
from diffusiontalker.corpus.phonemes import BILABIAL, base_phoneme
from diffusiontalker.corpus.procedural import generation
from diffusiontalker.corpus.shards import read_table
from diffusiontalker.errors import UserError
from diffusiontalker.pipeline.data import prepare_data, with_obtainable_corpus
from diffusiontalker.pipeline.run import Run
from diffusiontalker.pipeline.training import train_round, train_teacher, with_pseudo_labels
from diffusiontalker.pseudo_labels.recordings import listing
from diffusiontalker.summary.sweep import MISSED_CLOSURES, Trial
from diffusiontalker.tuning import results, schedulers, space, study, trial_store
from diffusiontalker.tuning.callbacks import SweepCallback
from diffusiontalker.tuning.confirmation import confirm
from diffusiontalker.tuning.progress import SearchBudget
from diffusiontalker.tuning.tensorboard import TensorBoardWriter
from diffusiontalker.tuning.trial import TrialSetup
from diffusiontalker.tuning.trial_store import TrialStore
from diffusiontalker.tuning.tuner import can_reuse_actors, mlflow_callbacks, run_name, run_trials

TRIALS = "trials"
"""Folder of the trials' checkpoints, removed at the end."""
PAGE_EVERY = 60.0
"""Seconds between two pages of a running sweep."""


def begin(sweep: SweepSettings) -> Settings:
    """Check everything that can be checked before Ray starts; returns the settings of a trial.

    Raises:
        UserError: the sweep would fail, or its trials could not be compared.
    """
    base = space.base_of(sweep)
    space.check(sweep, base)
    if sweep.stage == "chain" and base.pseudo_labels.recordings is not None:
        raise UserError(
            "pseudo_labels.recordings: a trial of the chain has a teacher of its own, and does not "
            "draw their faces anew; set changes.pseudo_labels.recordings=null, or sweep one round"
        )
    if sweep.mlflow is not None and importlib.util.find_spec("mlflow") is None:
        raise UserError("mlflow: the package is not installed; pip install mlflow, or leave it out")
    folder = storage.location(sweep.output)
    preflight.check_holds(folder, preflight.SWEEP)
    # The trials' key is that of the corpus they get, or trials of two could be compared.
    base = with_obtainable_corpus(base)
    trial_store.read(folder, key_of(sweep, base))
    if not storage.is_file(folder / trial_store.FILE) and storage.files(folder / TRIALS):
        raise UserError(
            f"{folder / TRIALS}: is not a sweep's, which would remove it; choose another output=..."
        )
    preflight.check_inputs(base, measured=False)
    check_phones(sweep, base)
    return base


def check_phones(sweep: SweepSettings, base: Settings) -> None:
    """Whether prepared shards have the phoneme times that an objective needs; the procedural corpus
    has them. Raises UserError: they have not."""
    if MISSED_CLOSURES not in sweep.objectives or base.corpus.path is None:
        return
    folder = storage.location(base.corpus.path)
    for shard in open_corpus(folder).of("val"):
        table = read_table(folder / shard.file, ["phones"])
        phones = chain.from_iterable(table["phones"].drop_null().to_pylist())
        if any(base_phoneme(phone) in BILABIAL for phone in phones):
            return
    raise UserError(
        f"objectives: {MISSED_CLOSURES} needs phoneme times, and no validation clip of {folder} "
        "has a p, b or m; choose another objective, or prepare recordings with an alignment"
    )


def key_of(sweep: SweepSettings, base: Settings) -> str:
    """The hash of what makes trials comparable; all else may change when a sweep is resumed."""
    own = sweep.model_dump(mode="json", include={"stage", "steps", "space", "objectives"})
    from diffusiontalker.features import pretrained, stage  # transformers takes seconds to load

    contents: list[object] = [stage.VERSION]  # of what may change under its name
    if base.corpus.path is None:
        contents.append(generation.key_of(base.corpus))
    else:
        contents.append(open_corpus(storage.location(base.corpus.path)).fingerprint)
    if (own_speech := base.pseudo_labels.recordings) is not None:
        listed = listing(storage.location(own_speech)).files
        contents += [base.pseudo_labels.model_dump(mode="json"), listed]
    if base.encoder.name is not None:
        contents.append(pretrained.content(base.encoder.name, base.encoder.revision))
    return fingerprint(own, space.key_of(base, space.stages_of(sweep, base)), *contents)


def run(sweep: SweepSettings) -> TrialStore:
    """Run the sweep, or what is left of an interrupted one; returns its trials.

    Raises:
        UserError: as ``begin``, or every trial failed.
    """
    base = begin(sweep)
    folder = storage.location(sweep.output)
    store = trial_store.read(folder, key_of(sweep, base))
    store.write(folder)  # marks the folder as a sweep's
    storage.write_bytes(folder / preflight.SETTINGS, to_yaml(sweep).encode())
    setup = prepare(sweep, base, folder / TRIALS)
    search(sweep, setup, store, folder)
    if not store.in_state("done"):
        error = next((t.error for t in store.in_state("failed") if t.error), "none came to its end")
        raise UserError(f"{folder}: no trial of {len(store.trials)} succeeded; the first: {error}")
    confirm(sweep, setup, store, folder)
    results.write_results(sweep, base, store, folder)
    return store


def prepare(sweep: SweepSettings, base: Settings, folder: Path) -> TrialSetup:
    """The data, and the model that a round starts from, both in the base's own folder."""
    run = Run(base)
    data = prepare_data(run)
    stages, start = space.stages_of(sweep, base), None
    if stages[0] != space.TEACHER:
        start = train_teacher(run, data)
        data = with_pseudo_labels(run, data, start)
        for steps in base.diffusion.rounds[: base.diffusion.rounds.index(int(stages[0]))]:
            start = train_round(run, data, start, steps)
    data = replace(data, manifest=data.manifest.without_tests())
    return TrialSetup(base, stages, data, start, folder)


def search(sweep: SweepSettings, setup: TrialSetup, store: TrialStore, folder: Path) -> None:
    """Run the trials that are still to run; each is saved after every epoch."""
    ended = sum(trial.ended for trial in store.trials)
    if ended >= sweep.trials:
        print(f"{ended} trials are there already: kept", flush=True)
        return
    default = space.defaults(sweep, setup.base)
    epochs = space.epochs_in_all(setup.base, setup.stages)
    slots = schedulers.slots(sweep, setup.base, ray.cluster_resources(), ray.available_resources())
    budget = SearchBudget(sweep.objectives, sweep.trials, epochs, slots)
    store.slots = slots
    study_file, writer = study.StudyFile(sweep, folder), StoreWriter(sweep, setup, store, folder)
    study_file.update(store)

    def save(trial: Trial) -> None:
        writer.save(trial)
        if trial.ended:
            study_file.update(store)

    def name_of(id: str) -> str:
        trial = store.find(id)
        assert trial is not None  # SweepCallback, the first one, has added it
        return run_name(trial)

    print(f"sweep        {sweep.trials - ended} trials, {slots} at a time", flush=True)
    with SweepCallback(store, budget, save, len(store.in_state("running"))) as callback:
        run_trials(
            setup, folder,
            [callback, TensorBoardWriter(folder, name_of), *mlflow_callbacks(sweep)],
            sweep.max_failures,
            tune.TuneConfig(
                search_alg=study.search(sweep, store, default),
                scheduler=schedulers.scheduler(sweep, epochs, store, default),
                num_samples=sweep.trials - ended,
                max_concurrent_trials=slots,
                reuse_actors=can_reuse_actors(setup.base),
            ),
            stop=callback,
        )  # fmt: skip
    if callback.error is not None:
        raise callback.error
    writer.write()
    storage.remove_folder(setup.folder)  # checkpoints of trials that ended just before a kill


class StoreWriter:
    """Writes the trial store after each epoch, and the page from time to time."""

    def __init__(
        self, sweep: SweepSettings, setup: TrialSetup, store: TrialStore, folder: Path
    ) -> None:
        self.sweep, self.setup, self.store, self.folder = sweep, setup, store, folder
        self.before, self.begun, self.page_time = store.wall_seconds, time.monotonic(), 0.0

    def save(self, trial: Trial) -> None:
        """Write the store; of a trial that has ended, remove the checkpoints."""
        self.write()
        if trial.ended:
            # The winner is trained anew, with the base's full schedule.
            storage.remove_folder(self.setup.folder / trial.id)
            if time.monotonic() - self.page_time > PAGE_EVERY:
                self.page_time = time.monotonic()
                results.write_page(self.sweep, self.setup.base, self.store, self.folder)

    def write(self) -> None:
        """Write the store with the time that has passed."""
        self.store.wall_seconds = self.before + time.monotonic() - self.begun
        self.store.write(self.folder)
