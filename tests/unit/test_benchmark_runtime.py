"""The benchmark of the runtime: how it counts and what it says; never how fast we are."""

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from tests import summaries
from tests.refusals import refusal
from tests.unit import models
from transformers import HubertConfig

from diffusiontalker import config, errors, storage
from diffusiontalker.benchmarks.runtime import latency, page, process, references
from diffusiontalker.benchmarks.runtime import run as runtime
from diffusiontalker.benchmarks.runtime.run import HUBERT, SHIPPED
from diffusiontalker.benchmarks.runtime.table import length, lines, number, table, title
from diffusiontalker.config import RuntimeBenchmarkSettings
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import Manifest, write_manifest
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.summary.run import ExportReport
from diffusiontalker.training.checkpoints import save_talker

# turns


class Clock:
    """Time that passes only when somebody spends it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def perf_counter(self) -> float:
        return self.seconds

    def spend(self, seconds: float) -> None:
        self.seconds += seconds

    sleep = spend


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(latency, "time", clock)
    return clock


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([0.2, 0.03, 0.05, 9.0], 0.04),  # the first found cold caches; the fourth is not made
        ([0.5, 9.0], 0.5),  # long enough alone
    ],
)
def test_a_turn_is_the_median_of_its_calls(
    clock: Clock, calls: list[float], expected: float
) -> None:
    took = iter(calls)
    assert latency.turn(lambda: clock.spend(next(took))) == pytest.approx(expected)


def test_all_have_a_turn_before_anyone_has_the_next(clock: Clock) -> None:
    order: list[str] = []
    shown: list[tuple[float, str]] = []

    def call(name: str, took: Iterator[float]) -> Callable[[], None]:
        def work() -> None:
            order.append(name)
            clock.spend(next(took))

        return work

    calls = {"a": call("a", iter([7.0, 1.0, 2.0])), "b": call("b", iter([8.0, 3.0, 4.0]))}
    found = latency.interleaved(calls, 2, lambda share, name: shown.append((share, name)))
    assert order == ["a", "b"] * 3
    assert {name: pytest.approx(seconds) for name, seconds in found.items()} == {
        "a": [1.0, 2.0],
        "b": [3.0, 4.0],
    }
    assert [name for _, name in shown] == order
    assert [share for share, _ in shown] == pytest.approx([k / 6 for k in range(6)])


# streaming


def test_every_whole_push_of_a_stream_is_timed(clock: Clock) -> None:
    streams: list[list[np.ndarray]] = []

    def push(samples: np.ndarray) -> None:
        streams[-1].append(samples)
        clock.spend(0.001 * len(streams[-1]))

    def stream(rate: int) -> SimpleNamespace:
        assert rate == 16_000
        streams.append([])
        return SimpleNamespace(push=push)

    samples = np.arange(6 * 16_000 + 100, dtype=np.float32)
    found = latency.pushes(SimpleNamespace(stream=stream), samples)
    assert len(streams) == 2  # the first warms up, for five seconds
    assert len(streams[0]) == 125
    assert found == pytest.approx([1.0 + k for k in range(150)])
    assert np.array_equal(np.concatenate(streams[1]), samples[:96_000])


def test_the_distribution_of_pushes() -> None:
    found = latency.distribution([1.0, 3.0, 2.0, 5.0, 4.0])
    assert found == pytest.approx(
        {
            "mean_ms": 3.0, "p50_ms": 3.0, "p95_ms": 4.8, "p99_ms": 4.96, "max_ms": 5.0,
            "streams_per_core": 40 / 3,
        }
    )  # fmt: skip


# fresh processes


def test_a_fresh_process_finds_this_copy_and_only_the_runtime() -> None:
    code = (
        "import sys\nimport diffusiontalker.runtime.student as ours\n"
        "print(ours.__file__, 'torch' in sys.modules)"
    )
    path, torch_too = process._python(code).split()
    package = Path(errors.__file__).parent
    assert (path, torch_too) == (str(package / "runtime" / "student.py"), "False")
    assert 0 < process.import_seconds(repeats=1) < 60


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux's /proc")
def test_the_peak_is_the_childs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    tell = process.ANIMATE[process.ANIMATE.index("status =") :]
    speech = np.zeros(10, np.float32)
    monkeypatch.setattr(process, "ANIMATE", "import numpy as np\n" + tell)
    peak = process.peak_bytes(Path("none"), speech, 1.0)
    assert peak is not None
    assert 5e6 < peak < 150e6  # this process, with torch in it, holds far more
    monkeypatch.setattr(process, "ANIMATE", "import numpy as np\nnp.ones(20_000_000)\n" + tell)
    more = process.peak_bytes(Path("none"), speech, 1.0)
    assert more is not None
    assert more - peak == pytest.approx(160e6, rel=0.1)


def test_memory_grows_in_units_of_the_audio(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = {60.0: 100_000_000, 3600.0: 330_400_000}
    monkeypatch.setattr(process, "peak_bytes", lambda folder, samples, seconds: peaks[seconds])
    found = runtime._memory(Path("artifact"), np.zeros(1, np.float32))
    assert found == {"minute_mb": 100.0, "hour_mb": 330.4, "audio_mb": 230.4, "growth": 1.0}
    monkeypatch.setattr(process, "peak_bytes", lambda *_: None)
    assert runtime._memory(Path("artifact"), np.zeros(1, np.float32)) is None


# peers


@pytest.fixture(scope="module")
def small_hubert() -> references.Hubert:
    return references.Hubert(
        HubertConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
            conv_dim=(8, 8), conv_kernel=(10, 8), conv_stride=(5, 64), num_feat_extract_layers=2,
            num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
        )
    )  # fmt: skip


def test_the_reference_is_hubert_base() -> None:
    with torch.device("meta"):
        reference = references.Hubert()
    # As published: 95 million parameters, twelve layers of 768.
    assert references.megabytes(reference.model.parameters()) == pytest.approx(4 * 94.4, abs=0.5)
    assert (reference.config.num_hidden_layers, reference.config.hidden_size) == (12, 768)
    assert not reference.model.training


@pytest.mark.parametrize(("every_step", "runs"), [(False, 1), (True, 3)])
def test_v1_hears_once_or_every_step(
    small_hubert: references.Hubert, monkeypatch: pytest.MonkeyPatch, every_step: bool, runs: int
) -> None:
    v1 = references.V1(small_hubert, models.config(teacher=False))
    gru = v1.talker.decoder.gru
    assert (gru.num_layers, gru.hidden_size) == (2, 256)
    assert v1.talker.context is None
    heard = []
    samples = np.random.default_rng(0).normal(0, 0.1, 8_000).astype(np.float32)
    inner = small_hubert.model.forward
    monkeypatch.setattr(
        small_hubert.model, "forward", lambda *a, **k: heard.append(1) or inner(*a, **k)
    )
    face = v1.animate(samples, steps=3, every_step=every_step)
    assert len(heard) == runs
    assert face.shape == (15, 52)
    assert face.min() >= 0
    assert face.max() <= 1


def test_megabytes_count_what_tensors_hold() -> None:
    tensors = [torch.zeros(1000, 100), torch.zeros(50_000, dtype=torch.float16)]
    assert references.megabytes(tensors) == pytest.approx(0.5)


# the run


def finished_run(root: Path, shards_folder: Path, **more: Any) -> Path:
    """A run's folder whose students of 4 and 2 steps have random weights."""
    root.mkdir()
    named = []
    for steps in (4, 2):
        save_talker(root / f"student-{steps}", models.talker(seed=steps, teacher=False))
        named.append(
            {"name": f"student-{steps}", "steps": steps, "folder": str(root / f"student-{steps}")}
        )
    teacher = {"name": "teacher", "steps": 16, "folder": "none"}
    given = {"shards": str(shards_folder), "models": [teacher, *named], **more}
    storage.write_json(root / "summary.json", summaries.content(**given))
    return root


def test_the_last_student_is_measured_on_validation_clips(
    tmp_path: Path, corpus_folder: Path
) -> None:
    chosen = runtime.choose(finished_run(tmp_path / "run", corpus_folder))
    assert (chosen.name, chosen.steps) == ("student-2", 2)
    assert [clip.id for clip in chosen.clips] == ["val-0", "val-1", "val-2"]
    weights = models.talker(seed=2, teacher=False).state_dict()["decoder.out.weight"]
    assert torch.equal(chosen.talker.state_dict()["decoder.out.weight"], weights)


def test_speech_goes_on_as_long_as_it_is_asked(hand_made: Callable[..., Clip]) -> None:
    clips = [hand_made(audio=np.full(6_000, value, np.float32)) for value in (0.1, 0.2)]
    made = runtime.speech(clips, 1.0)
    assert made.dtype == np.float32
    assert made.shape == (16_000,)
    assert np.array_equal(made[[0, 5_999, 6_000, 11_999, 12_000]], np.float32([1, 1, 2, 2, 1]) / 10)


def test_a_run_that_is_missing_is_said() -> None:
    settings = RuntimeBenchmarkSettings(run="/no/such/run", out="/no/such/out")
    said = refusal(lambda: runtime.run(settings))
    assert said.startswith("/no/such/run: holds no summary.json; give the folder")
    assert not Path("/no/such/out").exists()


def test_a_run_without_students_is_said(tmp_path: Path, corpus_folder: Path) -> None:
    teacher = {"name": "teacher", "steps": 16, "folder": "none"}
    root = finished_run(tmp_path / "run", corpus_folder, models=[teacher])
    assert "names no student" in refusal(lambda: runtime.choose(root))


def test_a_damaged_run_is_said(tmp_path: Path, corpus_folder: Path) -> None:
    root = finished_run(tmp_path / "run", corpus_folder, models=None)
    assert f"{root}/summary.json: not as this release writes it: models" in refusal(
        lambda: runtime.choose(root)
    )


def test_a_run_without_validation_clips_is_said(
    tmp_path: Path, hand_made: Callable[..., Clip]
) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    info = shards.write_shard(folder / "train-00000.parquet", [hand_made()])
    write_manifest(folder, Manifest("hand", [info], ["ada"], ["anger"]))
    root = finished_run(tmp_path / "run", folder)
    assert "the corpus has no split 'val'" in refusal(lambda: runtime.choose(root))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("lengths=[0.1]", "lengths.0: Input should be greater than or equal to 1"),
        ("lengths=[]", "lengths: "),
        ("threads=[0]", "threads.0: "),
        ("stream_seconds=5", "stream_seconds: Input should be greater than or equal to 60"),
        ("repeat=3", "did you mean 'repeats'?"),
    ],
)
def test_bad_settings_are_said(override: str, said: str) -> None:
    assert said in refusal(lambda: config.load_as(RuntimeBenchmarkSettings, None, [override]))


# what is said


def test_a_row_is_frames_per_second_of_the_median_turn() -> None:
    row = runtime.row("x", 10.0, 1, [0.04, 0.01, 0.02])
    assert row["frames_per_second"] == pytest.approx(15_000)
    assert row["wall_seconds"] == [0.04, 0.01, 0.02]


def judged(precision: str, *shares: float, changed: int) -> ExportReport:
    """What an export found on 8 clips, where every error of fp32 is 0.2."""
    errors = ("lbe", "energy_score", "streamed_lbe")
    return ExportReport(
        precision=precision,
        clips=8,
        fp32=dict.fromkeys(errors, 0.2),
        validation={key: 0.2 * (1 + share) for key, share in zip(errors, shares, strict=True)},
        growth=dict(zip(errors, shares, strict=True)),
        voices_changed=changed,
    )


def report(fps: float = 30_000.0, long: float = 27_000.0, **more: Any) -> dict[str, Any]:
    speeds = runtime.against_hubert(
        [
            runtime.row(SHIPPED, 10.0, 1, [300 / fps]),
            runtime.row(SHIPPED, 600.0, 1, [18_000 / long]),
            runtime.row(HUBERT, 10.0, 1, [300 / 250]),
            runtime.row(SHIPPED, 10.0, 2, [300 / 40_000]),
            runtime.row(SHIPPED, 600.0, 2, [18_000 / 36_000]),
            runtime.row(HUBERT, 10.0, 2, [300 / 500]),
        ]
    )
    pushes = [0.5, 0.5, 1.0, 4.0]
    made_up = {
        "machine": {"processor": "Abacus", "cores": 2, "torch": "2"},
        "load_average": {"before": (0.5, 1, 1), "after": (2.0, 1, 1)},
        "settings": {"lengths": [10.0, 600.0], "threads": [1, 2], "repeats": 5},
        "student": {"name": "student-2", "steps": 2},
        "sizes_mb": {SHIPPED: 2.5, HUBERT: 377.5},
        "exports": {
            "fp32": ExportReport(precision="fp32"),
            "fp16": judged("fp16", 0.0001, -0.0001, 0.0002, changed=1),
            "int8": judged("int8", 0.031, 0.01, 0.012, changed=0),
        },
        "speeds": speeds,
        "streaming": {**latency.distribution(pushes), "look_ahead_ms": 70.0, "pushes_ms": pushes},
        "memory": {"minute_mb": 100.0, "hour_mb": 400.0, "audio_mb": 230.4, "growth": 1.3},
        "import_seconds": 0.2,
    }  # fmt: skip
    made_up |= more
    return {**made_up, "aims": runtime.aims(made_up)}


def met(made_up: dict[str, Any]) -> list[bool | None]:
    return [aim.met for aim in made_up["aims"]]


def test_ratios_are_to_hubert_of_the_same_length_and_threads() -> None:
    found = {(s["subject"], s["seconds"], s["threads"]): s for s in report()["speeds"]}
    ratios = {key: one["times_hubert"] for key, one in found.items()}
    assert ratios == {
        (SHIPPED, 10.0, 1): pytest.approx(120),
        (SHIPPED, 600.0, 1): None,  # HuBERT did not run there
        (HUBERT, 10.0, 1): 1,
        (SHIPPED, 10.0, 2): pytest.approx(80),
        (SHIPPED, 600.0, 2): None,
        (HUBERT, 10.0, 2): 1,
    }


def test_aims_are_met_missed_or_open() -> None:
    good = report()
    assert met(good) == [True] * 7
    values = [aim.value for aim in good["aims"]]
    p99 = 1.0 + 0.97 * 3.0  # of the four pushes
    assert values == pytest.approx([30_000, 120, 0.9, 2.5, 1.3, 0.2, p99])
    assert met(report(fps=24_000.0)) == [False, False, True, True, True, True, True]
    assert met(report(long=23_000.0))[2] is False
    assert met(report(sizes_mb={SHIPPED: 3.5, HUBERT: 1.0}))[3] is False
    assert met(report(memory={"growth": 4.9, "minute_mb": 1, "hour_mb": 1, "audio_mb": 1}))[4] is (
        False
    )
    assert met(report(import_seconds=0.6))[5] is False
    slow = {**good["streaming"], "p99_ms": 4.1}
    assert met(report(streaming=slow))[6] is False
    nothing = report(speeds=[], memory=None, streaming=None)
    assert met(nothing) == [None, None, None, True, None, True, None]


def printed(made_up: dict[str, Any]) -> list[str]:
    page = io.StringIO()
    Console(file=page, width=80).print(table(made_up))
    return [" ".join(line.split()) for line in page.getvalue().splitlines()]


def test_the_table_holds_every_subject() -> None:
    rows = printed(report())
    assert "Threads Subject 10 s 10 min 10 s MB" in rows
    assert f"1 {SHIPPED} 30,000 27,000 120 2.5" in rows
    assert f"1 {HUBERT} 250 not run 1 377.5" in rows
    assert f"2 {SHIPPED} 40,000 36,000 80 2.5" in rows
    assert f"2 {HUBERT} 500 not run 1 377.5" in rows


def test_lengths_and_numbers_in_words() -> None:
    assert [length(seconds) for seconds in (1.0, 10, 90, 600)] == ["1 s", "10 s", "90 s", "10 min"]
    assert (title(10, 1), title(600, 2)) == ("10 s, 1 thread", "10 min, 2 threads")
    assert [number(value) for value in (25_310.4, 9.366, 0.0612)] == ["25,310", "9.37", "0.0612"]


def test_the_lines_say_what_was_missed_and_what_was_refused() -> None:
    said = lines(report(fps=24_000.0))
    assert said[0] == (
        "fp16         LBE +0.01%, energy score -0.01%, LBE of streams +0.02% on 8 clips of "
        "validation; another voice is recognised in 1"
    )
    assert said[1].startswith("int8         LBE +3.10%, energy score +1.00%, LBE of streams +1.20%")
    assert "jobs/export.py refuses it (lbe on validation grows by 3.1%" in said[1]
    assert "a push of 40 ms takes 0.75 ms" in said[2]
    assert "27 streams per core" in said[2]  # 40 / 1.5
    assert "100 MB at most with 1 min, 400 MB with 1 h" in said[3]
    assert "load average 0.5 before and 2.0 after" in said[5]
    assert f"MISSED {SHIPPED}: frames/s on one thread, 10 s: 24,000 (target >= 25,000)" in said
    silent = lines(report(memory=None, streaming=None))
    assert "not measured" in silent[2]
    assert "not measured" in silent[3]


def test_the_page_holds_both_plots_and_asks_the_network_for_nothing() -> None:
    evil = "</script><script>alert(1)</script>"
    html = page.render(report(student={"name": evil, "steps": 2}))
    assert evil not in html
    assert "7 of 7 aims met" in html
    ours = re.sub(r'<script id="plotly">.*?</script>', "", html, flags=re.DOTALL)
    assert not re.search(r"(src|href)=.?https?:", ours)
    figures = json.loads(re.search(r'id="figures">(.*?)</script>', html, re.DOTALL)[1])
    speeds = {trace["name"]: trace for trace in figures["speeds"]["data"]}
    assert speeds["10 s, 2 threads"]["x"] == [40_000.0, 500.0]
    assert speeds["10 min, 1 thread"]["x"] == [27_000.0]
    assert figures["speeds"]["layout"]["xaxis"]["type"] == "log"
    tail = figures["latency"]["data"][0]
    assert tail["x"] == [4.0, 1.0, 0.5, 0.5]
    assert tail["y"] == [0.25, 0.5, 0.75, 1.0]


def test_a_page_without_a_stream_has_no_plot_of_it() -> None:
    html = page.render(report(streaming=None, memory=None))
    assert 'data-figure="latency"' not in html
    assert 'data-figure="speeds"' in html
