"""Throughput and memory of data preparation and of data loading in training."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from diffusiontalker import cluster, config, storage
from diffusiontalker.benchmarks.data import feeding, preparing, synthetic
from diffusiontalker.benchmarks.data.feeding import Case
from diffusiontalker.benchmarks.memory import Peak
from diffusiontalker.config import DataBenchmarkSettings, Settings
from diffusiontalker.corpus.manifest import CorpusFolder
from diffusiontalker.environment import machine
from diffusiontalker.errors import UserError
from diffusiontalker.evaluation.goals import at_least, at_most
from diffusiontalker.report.wording import pluralize
from diffusiontalker.summary.run import Goal
from diffusiontalker.training.progress import StageDisplay, start_progress_board
from diffusiontalker.training.stage_run import StageRun

WORKERS = (1, 2)
THROUGHPUT, WAITING, MEMORY, PREPARING = 0.9, 0.05, 1.25, 50.0
"""Goals. For memory it is our choice: a set 20 times larger may need a quarter more."""
PAUSE = 0.05
"""Seconds of a simulated training step where memory is measured: without one no batches would
queue up."""
PACKAGES = ("numpy", "pyarrow", "ray", "torch")
_CLIP_BYTES, _MINUTE_BYTES = 1 << 20, 16 << 20
"""Disk space for a clip, and for a minute of speech as published and, twice, as shards."""
Json = dict[str, Any]


def run(settings: DataBenchmarkSettings) -> Json:
    """Measure everything with synthetic sets in a temporary folder, and write ``data.json``.

    Raises:
        UserError: too little disk space, no such bucket, or RAY_ADDRESS is set.
    """
    if "RAY_ADDRESS" in os.environ:
        raise UserError("RAY_ADDRESS is set, but this measures this machine alone; unset it")
    training = config.load(settings.training)
    out = storage.location(settings.out)
    storage.make_folder(out)
    if settings.s3 is not None:
        _check_bucket(settings.s3)
    before = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="diffusiontalker-benchmark-") as name:
        folder = Path(name)
        _check_room(folder, settings)
        data = _make(folder / "set", settings.clips)
        memory = _memory(folder, data, training, settings.times)
        prepared = _prepare(folder, settings.minutes)
        cases = _feed(folder, data, training, settings)
    report = {
        "machine": machine(PACKAGES),
        "load_average": {"before": before, "after": os.getloadavg()},
        "settings": settings.model_dump(mode="json"),
        "batch": training.training.teacher.batch,
        "window": training.training.teacher.window,
        "threads": training.resources.threads,
        "cases": cases,
        "ratios": ratios(cases),
        "memory": memory,
        "prepare": prepared,
    }
    report["aims"] = aims(report)
    storage.write_json(out / "data.json", to_jsonable_python(report))
    return report


def ratios(cases: list[Json]) -> list[Json]:
    """Frames per second of Ray Data over those of the DataLoader, for each pair of cases."""
    found = []
    for ours in (case for case in cases if case["loader"] == feeding.RAY):
        same = {key: ours[key] for key in ("storage", "workers", "step")}
        other = next(
            case
            for case in cases
            if case["loader"] == feeding.TORCH and same.items() <= case.items()
        )
        found.append({**same, "value": ours["frames_per_second"] / other["frames_per_second"]})
    return found


def aims(report: Json) -> list[Goal]:
    """Each goal with its value, its target, and whether it is met."""
    found: list[Goal] = []
    for ratio in report["ratios"]:
        if ratio["step"]:
            found.append(
                at_least(
                    f"{_where(ratio)}: frames/s into the step, of the DataLoader's",
                    ratio["value"],
                    THROUGHPUT,
                )
            )
    for case in report["cases"]:
        if case["step"] and case["loader"] == feeding.RAY:
            found.append(
                at_most(
                    f"{_where(case)}: share of its time that the step waits",
                    case["waiting_share"],
                    WAITING,
                )
            )
    memory, times = report["memory"], report["settings"]["times"]
    return [
        *found,
        at_most(f"memory for {times} times the set, of what the set takes",
                memory["larger_mb"] / memory["set_mb"], MEMORY),
        at_least("prepare: times real time on one core", report["prepare"]["one_core"], PREPARING),
    ]  # fmt: skip


def _where(case: Json) -> str:
    return f"{case['storage']}, {pluralize(case['workers'], 'worker')}"


def _check_room(folder: Path, settings: DataBenchmarkSettings) -> None:
    need = settings.clips * _CLIP_BYTES + settings.minutes * _MINUTE_BYTES
    free = shutil.disk_usage(folder).free
    if free < need:
        raise UserError(
            f"{folder.parent}: {free >> 20} MB are free, {need >> 20} are needed; set TMPDIR to a "
            "folder with more room, or lower clips and minutes"
        )
    print(f"{'room':<12} {need >> 20} MB below {folder}, removed at the end", flush=True)


def _check_bucket(prefix: str) -> None:
    """Refuse a wrong prefix before anything takes minutes."""
    remote = storage.location(prefix)
    if not storage.is_remote(remote):
        raise UserError(f"s3={prefix}: not in S3; write s3=s3://bucket/prefix, or leave it out")
    storage.make_folder(remote)


def _make(folder: Path, clips: int) -> CorpusFolder:
    folder.mkdir()
    with StageDisplay("set") as display:
        return CorpusFolder(folder, synthetic.shard_set(folder, clips, display.count))


def _memory(folder: Path, data: CorpusFolder, training: Settings, times: int) -> Json:
    """Peak memory in MB of a pass over the set and over one ``times`` larger, each in a new Ray
    session."""
    larger = folder / "larger"
    larger.mkdir()
    sets = {
        "set": data,
        "larger": CorpusFolder(
            larger, synthetic.multiply(data.folder, data.manifest, larger, times)
        ),
    }
    found = {}
    for name, one in sets.items():
        place = StageRun(folder / "train", f"memory-{name}", "memory")
        with StageDisplay(f"memory, {name}"), Peak() as peak, cluster.session():
            case = Case(feeding.RAY, step=False, pause=PAUSE)
            feeding.measure(one, training, [case], passes=1, repeats=1, workers=1, place=place)
        found[f"{name}_mb"] = peak.bytes / 1e6
    return found


def _prepare(folder: Path, minutes: int) -> Json:
    """Speed as a multiple of real time, in this process alone and of the whole job."""
    root = folder / "beat"
    with StageDisplay("recordings") as display:
        synthetic.beat_set(root, minutes, display.count)
    with StageDisplay("one core") as display:
        alone = preparing.on_one_core(preparing.inspect(root, folder / "alone"), display.count)
    found = preparing.inspect(root, folder / "prepared")
    with cluster.session(), StageDisplay("all cores") as display:
        together = preparing.on_all_cores(found, display.count)
    return {**alone, **together}


def _feed(
    folder: Path, data: CorpusFolder, training: Settings, settings: DataBenchmarkSettings
) -> list[Json]:
    """Figures of every combination of storage, workers, loader and consumer."""
    cases = [
        Case(loader, step) for step in (True, False) for loader in (feeding.RAY, feeding.TORCH)
    ]
    found = []
    with _places(data, settings.s3) as places, cluster.session():
        for (place, where), workers in ((p, w) for p in places.items() for w in WORKERS):
            stage, board = f"{place}, {workers}", start_progress_board()
            with StageDisplay(stage, board):
                timings = feeding.measure(
                    where, training, cases, settings.passes, settings.repeats, workers,
                    StageRun(folder / "train", f"{place}-{workers}", stage, board),
                )  # fmt: skip
            found += [
                {"storage": place, "workers": workers, **case_json(case, one)}
                for case, one in zip(cases, timings, strict=True)
            ]
    return found


def case_json(case: Case, timing: feeding.EpochTiming) -> Json:
    """A case and its figures as in ``data.json``."""
    return {
        "loader": case.loader,
        "step": case.step,
        "windows_per_second": timing.windows_per_second,
        "frames_per_second": timing.frames_per_second,
        "waiting_share": timing.waiting_share,
        "padding_share": timing.padding_share,
        "seconds": timing.seconds,
        "start_seconds": timing.start,
    }


@contextmanager
def _places(data: CorpusFolder, prefix: str | None) -> Iterator[dict[str, CorpusFolder]]:
    """The set on the local disk and, for the time of the context, in S3."""
    if prefix is None:
        print("S3           not measured; s3=s3://bucket/prefix does", flush=True)
        yield {"local": data}
        return
    remote = storage.location(prefix) / f"benchmark-{uuid.uuid4().hex[:12]}"
    try:
        with StageDisplay("upload"):
            storage.store(data.folder, remote)
        yield {"local": data, "S3": CorpusFolder(remote, data.manifest)}
    finally:
        storage.empty_folder(remote)
