"""Checks before Ray starts: a mistake is reported in a second, not after an hour.

Imports that take seconds stand in the functions that need them, so that the cheap checks run first.
"""

import os
from collections.abc import Collection
from pathlib import Path

import yaml

from diffusiontalker import storage
from diffusiontalker.config import (
    NO_RESULT,
    MotionTrainSettings,
    Settings,
    differences,
    to_yaml,
    with_current_names,
)
from diffusiontalker.corpus.manifest import CorpusFolder, Manifest, open_corpus
from diffusiontalker.errors import UserError
from diffusiontalker.report.wording import first_names

RUN, SWEEP, SHARDS, ARTIFACT = "a run", "a sweep", "a set of shards", "an artifact"
MARKS = {
    RUN: "environment.json",
    SWEEP: "trials.json",
    SHARDS: "manifest.json",
    ARTIFACT: "decoder.onnx",
}
"""The file that marks what a folder holds."""
SETTINGS = "settings.yaml"
"""The settings of a run, in its folder."""
ORIGIN = "# configuration: "
"""The first line of that file: the configuration that the settings were read from."""
NO_FILE = "none"
SHOWN = 5
"""Settings that a message names at most."""


def check(settings: Settings, config_file: str | None = None, measured: bool = True) -> None:
    """Check all that can be checked beforehand, then write the settings into the run's output.

    Args:
        settings: of the run.
        config_file: the file they were read from.
        measured: the run trains students and evaluates them, which needs a test split.

    Raises:
        UserError: the first mistake found.
    """
    origin = _check_output(settings, config_file)
    check_inputs(settings, measured)
    if measured:
        from diffusiontalker.export import artifact

        artifact.check_place(storage.location(settings.output) / artifact.STUDENT)
    text = f"{ORIGIN}{origin}\n{to_yaml(settings)}"
    storage.write_bytes(storage.location(settings.output) / SETTINGS, text.encode())


def check_inputs(settings: Settings, measured: bool) -> None:
    """Check that all inputs of a run exist and fit its settings. Raises UserError."""
    if settings.extraction.cache is not None:
        storage.location(settings.extraction.cache)
    _check_machine(settings)
    _check_corpus(settings, measured)
    if settings.encoder.name is not None:
        from diffusiontalker.features import pretrained

        pretrained.check(settings.encoder.name, settings.encoder.layers, settings.encoder.revision)
    if measured and settings.evaluation.rig is not None:
        from diffusiontalker.animation.rig import Rig

        Rig.load(settings.evaluation.rig)


def check_holds(folder: Path, wanted: str) -> None:
    """Check that an output is empty or holds what is ``wanted`` there, a key of ``MARKS``; make the
    folder if it is missing.

    Raises:
        UserError: it cannot be written, or holds something else, which would be mixed or replaced.
    """
    storage.make_folder(folder)
    for what, mark in MARKS.items():
        if what != wanted and storage.is_file(folder / mark):
            raise UserError(f"{folder}: holds {what}, as {mark} shows; name another output=...")
    path = folder / SETTINGS
    if wanted == SHARDS or storage.is_file(folder / MARKS[wanted]) or not storage.is_file(path):
        return
    if wanted != RUN or not storage.read_text(path).startswith(ORIGIN):
        raise UserError(
            f"{path}: is not {wanted}'s, which would replace it; name another output=..."
        )


def _check_output(settings: Settings, config_file: str | None) -> str:
    """Check that the output can be written and holds no other run; returns its configuration.

    A run may be repeated in its folder with changed settings, and keeps the stages that they do not
    affect. One of another configuration or another corpus is another run.

    Raises:
        UserError: the output holds another run, or something else.
    """
    folder = storage.location(settings.output)
    check_holds(folder, RUN)
    own = Path(config_file).name if config_file else NO_FILE
    path = folder / SETTINGS
    if not storage.is_file(path):
        return own
    text = storage.read_text(path)
    first = text.partition("\n")[0]
    origin = first.removeprefix(ORIGIN) if first.startswith(ORIGIN) else None
    if config_file and storage.location(config_file) == path:
        own = origin or own  # the run's own settings, to go on with
    changed = _changed(text, settings)
    if not changed:
        return own
    names = first_names(changed, SHOWN)
    if origin not in (None, own) or "corpus.path" in changed:
        was = "" if origin in (None, NO_FILE) else f" of {origin}"
        raise UserError(
            f"{folder}: holds another run{was}, with other settings ({names}); name another "
            "output=..., or remove that folder"
        )
    print(f"{folder}: other settings than its last run had: {names}", flush=True)
    return own


def _changed(text: str, settings: Settings) -> list[str]:
    """The settings that determine results and differ from those in ``text``, which another release
    may have written."""
    try:
        before = yaml.safe_load(text)
    except yaml.YAMLError:
        before = None
    now = settings.model_dump(mode="json")
    old = with_current_names(Settings, before if isinstance(before, dict) else {})
    found = differences(old, now)
    return [key for key in found if not f"{key}.".startswith(tuple(f"{own}." for own in NO_RESULT))]


def _check_machine(settings: Settings) -> None:
    """Check that this machine has the resources of the workers: Ray would wait for them for ever.
    Those of a cluster, which may grow, are not known yet. Raises UserError."""
    from diffusiontalker.cluster import LOCAL, local_cpus
    from diffusiontalker.training.ray_data import READER_CPUS

    if os.environ.get("RAY_ADDRESS", LOCAL) != LOCAL:
        return
    training, resources = settings.training, settings.resources
    need, there = training.workers * resources.worker_cpus + READER_CPUS, local_cpus()
    if training.workers and need > there:
        raise UserError(
            f"training.workers {training.workers} x resources.worker_cpus "
            f"{resources.worker_cpus:g} and {READER_CPUS:g} for the data are {need:g} CPUs, and "
            f"this machine has {there}; lower one of them"
        )
    wanted = max(training.workers, 1) * resources.gpus_per_worker
    if resources.gpu and wanted > (gpus := _gpus()):
        raise UserError(
            f"resources.gpu: {wanted:g} GPUs are needed, {resources.gpus_per_worker:g} for each of "
            f"training.workers, and this machine has {gpus}; set resources.gpu=false, or fewer "
            "workers"
        )


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _check_corpus(settings: Settings, measured: bool) -> None:
    """Check the corpus, or the settings of a procedural one. Raises UserError."""
    if settings.corpus.path is None:
        from diffusiontalker.corpus.procedural import planning

        planning.plan(settings.corpus)
        _check_pseudo_labels(settings, settings.corpus.emotions)
        return
    folder = storage.location(settings.corpus.path)
    manifest = open_corpus(folder)
    for split in ("train", "val"):
        manifest.of(split)
    if measured:
        manifest.test_splits()
    if settings.encoder.name is None:
        _check_phones(folder, manifest)
    _check_pseudo_labels(settings, manifest.emotions)
    _check_batches(settings, CorpusFolder(folder, manifest), measured)


def _check_phones(folder: Path, manifest: Manifest) -> None:
    """Check that a clip has the phones that an encoder is trained on. Raises UserError."""
    from diffusiontalker.corpus import shards

    for shard in manifest.of("train"):
        column = shards.read_table(folder / shard.file, ["phones"]).column(0)
        if any(column.to_pylist()):
            return
    raise UserError(
        f"{folder}: has no phoneme times to train an encoder on; set encoder.name to a Hugging "
        "Face speech model such as facebook/hubert-base-ls960, or to asset:whisper-base, and "
        "encoder.layers to some of its layers"
    )


def _check_pseudo_labels(settings: Settings, emotions: Collection[str]) -> None:
    """Check that there are recordings, and that the teacher will know their emotion. Raises
    UserError."""
    own = settings.pseudo_labels
    if own.recordings is None:
        return
    from diffusiontalker.pseudo_labels.recordings import listing

    listing(storage.location(own.recordings))
    if own.emotion is not None and own.emotion not in emotions:
        raise UserError(
            f"pseudo_labels.emotion {own.emotion!r}: not an emotion of the corpus; it has "
            f"{', '.join(emotions) or 'none'}, and null takes the one that the teacher recognises"
        )


def _check_batches(settings: Settings, data: CorpusFolder, measured: bool) -> None:
    """Check that each worker gets a batch. Raises UserError."""
    from diffusiontalker.training import ray_data, windows

    training, manifest = settings.training, data.manifest
    runs: dict[str, MotionTrainSettings] = {"teacher": training.teacher}
    if measured:
        runs |= {"first_round": training.first_round, "round": training.round}
    for name, train in runs.items():
        motion = windows.MotionWindows(train.window, manifest.identities, manifest.emotions)
        size = training.worker_batch(train.batch)
        count = ray_data.batches_of(data, "train", motion, size) * train.passes
        if count < training.workers:
            raise UserError(
                f"training.{name}: {count} batches are too few for {training.workers} workers; "
                "lower training.workers or the batch, or add data"
            )
