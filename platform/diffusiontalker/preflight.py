"""What is looked at before Ray starts: a mistake here is said in a second, not after an hour.

Imports that take seconds stand in the functions that need them, so that the cheap checks come
first and a mistake that they find is said at once.
"""

import os
from pathlib import Path

import yaml

from diffusiontalker import storage
from diffusiontalker.config import NO_RESULT, MotionTrainSettings, Settings, differences, to_yaml
from diffusiontalker.corpus.manifest import Manifest, open_corpus
from diffusiontalker.errors import UserError

RUN, SWEEP, SHARDS, ARTIFACT = "a run", "a sweep", "a set of shards", "an artifact"
MARKS = {
    RUN: "environment.json",
    SWEEP: "trials.json",
    SHARDS: "manifest.json",
    ARTIFACT: "decoder.onnx",
}
"""By which file a folder is known for what it holds."""
SETTINGS = "settings.yaml"
"""The settings of a run, in its folder."""
ORIGIN = "# configuration: "
"""How that file begins: the configuration that the settings were read from."""
NO_FILE = "none"
SHOWN = 5
"""Settings that a line names at most."""


def check(settings: Settings, config_file: str | None = None, measured: bool = True) -> None:
    """Whether all that can be known beforehand lets the run come to its end; the output is then
    the run's, and holds its settings.

    Args:
        settings: of the run.
        config_file: what they were read from.
        measured: the run goes on to students and ends with measuring, which needs a test split.

    Raises:
        UserError: the first thing that does not.
    """
    origin = _check_output(settings, config_file)
    if measured and not settings.diffusion.rounds:
        raise UserError(
            "diffusion.rounds is empty, so there would be no student: name the steps of some, or "
            "train the teacher alone with jobs/train.py"
        )
    check_inputs(settings, measured)
    if measured:
        from diffusiontalker.export import artifact

        artifact.check_place(storage.location(settings.output) / artifact.STUDENT)
    text = f"{ORIGIN}{origin}\n{to_yaml(settings)}"
    storage.write_bytes(storage.location(settings.output) / SETTINGS, text.encode())


def check_inputs(settings: Settings, measured: bool) -> None:
    """Whether all is there that a run with these settings works with. Raises UserError."""
    if settings.extraction.cache is not None:
        storage.location(settings.extraction.cache)
    _check_machine(settings)
    _check_corpus(settings, measured)
    if settings.encoder.name is not None:
        from diffusiontalker.features import encoder

        encoder.check(settings.encoder.name, settings.encoder.layers, settings.encoder.revision)
    if measured and settings.evaluation.rig is not None:
        from diffusiontalker.animation.rig import Rig

        Rig.load(settings.evaluation.rig)


def check_holds(folder: Path, wanted: str) -> None:
    """Whether an output, which is made if it is not there, holds nothing yet, or what is
    ``wanted`` there, a key of ``MARKS``.

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
    """Whether the output can be written, and holds no other run; returns the configuration's name.

    A setting may be changed, and the run made again in its folder, which keeps what it does not
    touch. What came from another configuration, or learned from another corpus, is another run.

    Raises:
        UserError: the output is somebody else's.
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
    names = ", ".join(changed[:SHOWN])
    if len(changed) > SHOWN:
        names += f" and {len(changed) - SHOWN} more"
    if origin not in (None, own) or "corpus.path" in changed:
        was = "" if origin in (None, NO_FILE) else f" of {origin}"
        raise UserError(
            f"{folder}: holds another run{was}, with other settings ({names}); name another "
            "output=..., or remove that folder"
        )
    print(f"{folder}: other settings than its last run had: {names}", flush=True)
    return own


def _changed(text: str, settings: Settings) -> list[str]:
    """The settings that determine results and differ from those in ``text``, which may be of
    another release."""
    try:
        before = yaml.safe_load(text)
    except yaml.YAMLError:
        before = None
    now = settings.model_dump(mode="json")
    found = differences(before if isinstance(before, dict) else {}, now)
    return [key for key in found if key.partition(".")[0] not in NO_RESULT]


def _check_machine(settings: Settings) -> None:
    """Whether this machine has what the workers ask for: Ray would wait for more without end. What
    a cluster holds, or could grow to, is not known yet. Raises UserError."""
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
    if resources.gpu and (wanted := max(training.workers, 1)) > (gpus := _gpus()):
        raise UserError(
            f"resources.gpu: {wanted} GPUs are needed, one for each of training.workers, and this "
            f"machine has {gpus}; set resources.gpu=false, or fewer workers"
        )


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _check_corpus(settings: Settings, measured: bool) -> None:
    """Whether there is a corpus to train on, or settings to make one. Raises UserError."""
    if settings.corpus.path is None:
        from diffusiontalker.corpus.procedural import generation

        generation.plan(settings.corpus)
        return
    folder = storage.location(settings.corpus.path)
    manifest = open_corpus(folder)
    for split in ("train", "val"):
        manifest.of(split)
    if measured:
        manifest.test_splits()
    if settings.encoder.name is None:
        _check_phones(folder, manifest)
    _check_batches(settings, manifest, measured)


def _check_phones(folder: Path, manifest: Manifest) -> None:
    """Whether any clip has the phones that an encoder is trained on. Raises UserError."""
    from diffusiontalker.corpus import shards

    for shard in manifest.of("train"):
        column = shards.read_table(folder / shard.file, ["phones"]).column(0)
        if any(column.to_pylist()):
            return
    raise UserError(
        f"{folder}: has no phoneme times to train an encoder on; set encoder.name to a Hugging "
        "Face speech model such as facebook/hubert-base-ls960, and encoder.layers to some of its "
        "layers"
    )


def _check_batches(settings: Settings, manifest: Manifest, measured: bool) -> None:
    """Whether every worker gets a batch. Raises UserError."""
    from diffusiontalker.training import ray_data, windows

    training = settings.training
    runs: dict[str, MotionTrainSettings] = {"teacher": training.teacher}
    if measured:
        runs |= {"first_round": training.first_round, "round": training.round}
    for name, train in runs.items():
        motion = windows.MotionWindows(train.window, manifest.identities, manifest.emotions)
        count = ray_data.batches_of(manifest, "train", motion, train.batch) * train.passes
        if count < training.workers:
            raise UserError(
                f"training.{name}: {count} batches do not go round {training.workers} workers; "
                "lower training.workers or the batch, or add data"
            )
