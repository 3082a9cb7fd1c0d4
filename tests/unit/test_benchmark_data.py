"""The benchmark of the data: what it makes, how it counts, what it says; never how fast we are."""

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
import pytest
import soundfile
import torch
import typer
from rich.console import Console

from diffusiontalker import cli, environment
from diffusiontalker.benchmarks import memory
from diffusiontalker.benchmarks.data import feeding, loader, preparing, synthetic
from diffusiontalker.benchmarks.data import run as data
from diffusiontalker.benchmarks.data.feeding import RAY, TORCH, Case, EpochTiming
from diffusiontalker.benchmarks.data.table import lines, table
from diffusiontalker.config import DataBenchmarkSettings
from diffusiontalker.corpus.manifest import Manifest, open_corpus
from diffusiontalker.corpus.shards import clips_of, read_table
from diffusiontalker.errors import UserError


def nothing(done: int, total: int) -> None:
    """Progress that nobody looks at."""


# made sets


@pytest.fixture(scope="module")
def made_set(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("made")
    return folder, synthetic.shard_set(folder, 9, nothing)


def test_made_clips_are_as_the_feature_stage_leaves_them() -> None:
    clip, rest = synthetic.clip(4), synthetic.clip(5)
    assert clip.features is not None
    assert clip.log_mel is not None
    assert clip.features.shape == (300, 768)
    assert clip.log_mel.shape == (600, 80)
    assert clip.coefficients.shape == (300, 52)
    assert clip.audio.shape == (160_000,)
    assert 90 <= len(rest.coefficients) < 300
    assert abs(len(rest.audio) / 16_000 - len(rest.coefficients) / 30) < 1e-4
    assert np.array_equal(synthetic.clip(4).coefficients, clip.coefficients)
    assert not np.array_equal(synthetic.clip(3).coefficients, clip.coefficients)


def test_made_shards_are_a_whole_set(made_set: tuple[Path, Manifest]) -> None:
    folder, manifest = made_set
    assert open_corpus(folder) == manifest
    assert [shard.clips for shard in manifest.shards] == [3, 2, 2, 2]
    clips = clips_of(read_table(folder / manifest.shards[1].file))
    assert [clip.id for clip in clips] == ["clip-00003", "clip-00004"]


def test_noise_does_not_compress(made_set: tuple[Path, Manifest]) -> None:
    for shard in made_set[1].shards:
        stored = shard.frames * (768 * 2 + 2 * 80 * 2 + 52 * 4 + 16_000 / 30 * 2)
        assert shard.bytes > 0.85 * stored


def test_a_larger_set_takes_no_room(made_set: tuple[Path, Manifest], tmp_path: Path) -> None:
    folder, manifest = made_set
    larger = synthetic.multiply(folder, manifest, tmp_path, times=3)
    assert open_corpus(tmp_path) == larger
    assert len({shard.file for shard in larger.shards}) == 3 * len(manifest.shards)
    assert larger.seconds() == pytest.approx(3 * manifest.seconds())
    first = (folder / manifest.shards[0].file).stat()
    assert (tmp_path / larger.shards[-4].file).stat().st_ino == first.st_ino


def test_made_recordings_are_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "BEAT_MINUTES", 2)
    synthetic.beat_set(tmp_path / "beat", 3, nothing)
    info = soundfile.info(tmp_path / "beat" / "1" / "1_wayne_0_1_1.wav")
    assert (info.samplerate, info.channels, info.subtype) == (48_000, 1, "PCM_16")
    assert info.duration == 120
    tree = json.loads((tmp_path / "beat" / "1" / "1_wayne_0_2_2.json").read_text())
    assert len(tree["names"]) == 51
    assert len(tree["frames"]) == 60 * 60
    assert tree["frames"][30]["time"] == 0.5
    assert len(tree["frames"][0]["weights"]) == 51


def test_one_core_prepares_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "BEAT_MINUTES", 1)
    synthetic.beat_set(tmp_path / "beat", 1, nothing)
    found = preparing.inspect(tmp_path / "beat", tmp_path / "out")
    figures = preparing.on_one_core(found, nothing)
    assert figures["speech_seconds"] == pytest.approx(60, abs=0.1)
    assert figures["one_core"] > 0
    assert list((tmp_path / "out").glob("*-00000.parquet"))


# the yardstick


def windows(made_set: tuple[Path, Manifest], count: int, rank: int = 0, world: int = 1) -> Any:
    folder, manifest = made_set
    dataset = loader.loader(folder, manifest, 96, 1, count, rank, world).dataset
    assert isinstance(dataset, loader.Windows)
    return list(dataset)


def test_the_yardsticks_windows_are_cut_from_clips(made_set: tuple[Path, Manifest]) -> None:
    clips = [synthetic.clip(i) for i in range(9)]
    for window in windows(made_set, 12):
        clip, start = next(
            (clip, int(at[0]))
            for clip in clips
            if len(at := np.flatnonzero((clip.coefficients == window["coefficients"][0]).all(1)))
        )
        assert clip.features is not None
        assert clip.log_mel is not None
        stop = start + len(window["coefficients"])
        assert np.array_equal(window["coefficients"], clip.coefficients[start:stop])
        assert np.array_equal(window["features"], clip.features[start:stop])
        assert np.array_equal(window["log_mel"], clip.log_mel[2 * start : 2 * stop])
        assert synthetic.IDENTITIES[int(window["identity"])] == clip.identity
        assert synthetic.EMOTIONS[int(window["emotion"])] == clip.emotion


def test_the_yardstick_goes_on_as_long_as_it_is_asked(made_set: tuple[Path, Manifest]) -> None:
    assert len(windows(made_set, 70)) == 70


def test_ranks_of_the_yardstick_share_no_shard(made_set: tuple[Path, Manifest]) -> None:
    one, other = (
        {int(window["identity"]) for window in windows(made_set, 60, rank, 2)} for rank in (0, 1)
    )
    # Shards hold the clips 0-2, 3-4, 5-6 and 7-8; a clip's number is its speaker's.
    assert one == {0, 1, 2, 5, 6}
    assert other == {3, 4, 7, 8}


def test_the_yardstick_pads_to_the_longest() -> None:
    batch = loader.padded(
        [
            {
                "mask": np.ones(2),
                "features": np.array([[1], [2]], np.float16),
                "emotion": np.array(3),
            },
            {"mask": np.ones(1), "features": np.array([[5]], np.float16), "emotion": np.array(0)},
        ]
    )
    assert batch["mask"].tolist() == [[1, 1], [1, 0]]
    assert batch["features"].tolist() == [[[1], [2]], [[5], [0]]]
    assert batch["features"].dtype == torch.float32
    assert batch["emotion"].tolist() == [3, 0]


# counting


def test_an_epoch_is_timed_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    now = SimpleNamespace(seconds=0.0)

    def spend(seconds: float) -> None:
        now.seconds += seconds

    monkeypatch.setattr(
        feeding, "time", SimpleNamespace(monotonic=lambda: now.seconds, sleep=spend)
    )

    def source() -> Iterator[dict[str, torch.Tensor]]:
        for took, mask in ((7.0, [[1, 1], [1, 0]]), (0.5, [[1, 1]]), (0.25, [[1, 1]])):
            spend(took)
            yield {"mask": torch.tensor(mask)}
        spend(3.0)  # the loader's end is nobody's wait

    fed = feeding.feed(source, Case(RAY, step=True), lambda batch: spend(2.0))
    assert fed == EpochTiming(windows=4, frames=7, cells=8, seconds=13.75, start=7.0, waiting=0.75)
    assert fed.waiting_share == pytest.approx(1 / 9)
    assert fed.padding_share == 0.125
    napping = feeding.feed(source, Case(RAY, step=False, pause=0.25), lambda batch: spend(2.0))
    assert napping.seconds == 8.5


FED = EpochTiming(windows=10, frames=100, cells=125, seconds=2.0, start=1.0, waiting=0.5)


def test_workers_side_by_side() -> None:
    both = feeding.combined([FED, replace(FED, seconds=4.0, waiting=0.25, frames=60)])
    assert both == EpochTiming(
        windows=20, frames=160, cells=250, seconds=4.0, start=1.0, waiting=0.5
    )
    assert both.windows_per_second == 5
    assert both.frames_per_second == 40


def test_the_middle_of_the_repeats() -> None:
    repeats = [replace(FED, seconds=s, waiting=w) for s, w in ((2, 0.1), (9, 0.2), (3, 0.9))]
    assert feeding.median_timing(repeats) == replace(FED, seconds=3, waiting=0.2)


# memory


def test_a_family_is_found_by_its_parents(tmp_path: Path) -> None:
    for process, name, parent in ((7, "a", 1), (8, "b) R 1", 7), (9, "c", 8), (10, "d", 1)):
        (tmp_path / str(process)).mkdir()
        (tmp_path / str(process) / "stat").write_text(f"{process} ({name}) S {parent} 0 0\n")
        (tmp_path / str(process) / "smaps_rollup").write_text(
            f"55-7f ---p 0 00:00 0 [rollup]\nRss:  9000 kB\nPss:  {process} kB\nPss_Anon: 1 kB\n"
        )
    (tmp_path / "11").mkdir()  # has just ended
    (tmp_path / "self").mkdir()
    assert sorted(memory.family(7, tmp_path)) == [7, 8, 9]
    assert memory.proportional(9, tmp_path) == 9 * 1024
    assert memory.proportional(11, tmp_path) == 0


@pytest.mark.skipif(not memory.PROC.is_dir(), reason="counts what Linux's /proc says")
def test_the_peak_counts_children() -> None:
    code = "import sys; held = b'1' * (200 << 20); print(len(held), flush=True); sys.stdin.read()"
    with memory.Peak() as before:
        pass
    with memory.Peak() as peak:
        child = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.readline()
        peak.sample()
        child.communicate()
    assert peak.bytes - before.bytes > 190 << 20


# what is said


def case(loader: str, frames: float, workers: int = 1, step: bool = True, **more: Any) -> Any:
    return {
        "storage": "local", "workers": workers, "loader": loader, "step": step,
        "windows_per_second": frames / 96, "frames_per_second": frames, "waiting_share": 0.01,
        "padding_share": 0.0, "seconds": 9.0, "start_seconds": 2.0, **more,
    }  # fmt: skip


def report(**more: Any) -> dict[str, Any]:
    cases = [
        case(RAY, 900.0), case(TORCH, 1000.0), case(RAY, 3000.0, step=False),
        case(TORCH, 2000.0, step=False), case(RAY, 890.0, workers=2, waiting_share=0.06),
        case(TORCH, 1000.0, workers=2),
    ]  # fmt: skip
    made_up = {
        "machine": {"processor": "Abacus", "cores": 2, "ray": "2"},
        "load_average": {"before": (0.5, 1, 1), "after": (2.0, 1, 1)},
        "settings": {"times": 20},
        "batch": 8, "window": 96, "threads": 1,
        "cases": cases,
        "ratios": data.ratios(cases),
        "memory": {"set_mb": 1000.0, "larger_mb": 1300.0},
        "prepare": {
            "speech_seconds": 1800.0, "one_core": 49.0, "one_core_by_processor_time": 80.0,
            "command": 90.0,
        },
    }  # fmt: skip
    made_up |= more
    return {**made_up, "aims": data.aims(made_up)}


def test_ratios_compare_like_with_like() -> None:
    found = {(ratio["workers"], ratio["step"]): ratio["value"] for ratio in report()["ratios"]}
    assert found == {(1, True): 0.9, (1, False): 1.5, (2, True): 0.89}


def test_aims_are_met_or_missed() -> None:
    aims = {aim.name: aim.met for aim in report()["aims"]}
    assert aims == {
        "local, 1 worker: frames/s into the step, of the DataLoader's": True,
        "local, 2 workers: frames/s into the step, of the DataLoader's": False,
        "local, 1 worker: share of its time that the step waits": True,
        "local, 2 workers: share of its time that the step waits": False,
        "memory for 20 times the set, of what the set takes": False,
        "prepare: times real time on one core": False,
    }
    better = report(memory={"set_mb": 1000.0, "larger_mb": 1200.0})
    assert [aim.met for aim in better["aims"] if "memory" in aim.name] == [True]


def test_the_table_holds_every_case() -> None:
    page = io.StringIO()
    Console(file=page, width=80).print(table(report()))
    rows = [" ".join(line.split()) for line in page.getvalue().splitlines()]
    assert "Shards Workers Into Loader Windows/s Frames/s Waits Padding Start" in rows
    assert "local 1 step Ray Data 9.4 900 1.0% 0.0% 2.0 s" in rows
    assert "local 1 step ratio 0.90" in rows
    assert "local 1 nothing PyTorch 20.8 2,000 0.0% 2.0 s" in rows
    assert "local 1 nothing ratio 1.50" in rows
    assert "local 2 step Ray Data 9.3 890 6.0% 0.0% 2.0 s" in rows


def test_the_lines_say_what_was_missed() -> None:
    said = lines(report())
    assert said[0].split() == (
        "memory 1,000 MB at most with the set, 1,300 MB with 20 times as much".split()
    )
    assert "30 minutes of speech at 49 x real time on one core" in said[1]
    assert "Abacus, 2 cores" in said[2]
    assert "load average 0.5 before and 2.0 after" in said[2]
    assert said[-1] == "MISSED prepare: times real time on one core: 49 (target >= 50)"
    assert sum(line.startswith("met ") for line in said) == 2


def test_the_processors_name(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Abacus 3000\n\nmodel name\t: Abacus 3001\n")
    assert environment.processor(info) == "Abacus 3000"
    assert environment.processor(tmp_path / "none")


# mistakes


def test_a_cluster_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(UserError, match="RAY_ADDRESS is set"):
        data.run(DataBenchmarkSettings())


def test_s3_is_checked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError, match=r"s3=/data: not in S3; write s3=s3://bucket/prefix"):
        data.run(DataBenchmarkSettings(out=str(tmp_path), s3="/data"))


def test_a_full_disk_is_said_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=600 << 20))
    with pytest.raises(UserError, match="600 MB are free, 672 are needed; set TMPDIR"):
        data.run(DataBenchmarkSettings(out=str(tmp_path)))


# several jobs in one script


def run(jobs: list[Callable[..., None]], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["jobs", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main(jobs)
    return int(ended.value.code or 0)


def bake(overrides: cli.Overrides = None, seed: Annotated[int, typer.Option()] = 0) -> None:
    """Bake a cake."""
    print("bake", overrides, seed)


def burn() -> None:
    """Burn it."""
    raise UserError("oven: too hot")


@pytest.mark.parametrize("jobs", [[bake], [bake, burn]], ids=["one", "two"])
def test_jobs_are_sub_commands(
    jobs: list[Callable[..., None]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(jobs, monkeypatch, "bake", "a=1", "--seed", "3") == 0
    assert capsys.readouterr().out == "bake ['a=1'] 3\n"
    assert run(jobs, monkeypatch, "--help") == 0
    assert "Bake a cake." in capsys.readouterr().out
    for wrong in ([], ["boil"], ["a=1"]):
        assert run(jobs, monkeypatch, *wrong) == 2


def test_a_sub_commands_mistake_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([bake, burn], monkeypatch, "burn") == 2
    assert capsys.readouterr().err == "error: oven: too hot\n"
