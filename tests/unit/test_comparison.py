"""The papers' tables: what is trained for them, the statistics, and every format of them."""

import csv
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from tests import refusals

from diffusiontalker import config
from diffusiontalker.comparison import page, statistics, tables, variants, writers
from diffusiontalker.comparison import run as comparison_run
from diffusiontalker.comparison.published import PUBLISHED
from diffusiontalker.comparison.variants import ABLATIONS, Variant
from diffusiontalker.config import CompareSettings
from diffusiontalker.pipeline import run as pipeline_run
from diffusiontalker.pipeline.run import Run
from diffusiontalker.summary.comparison import ComparedRow, Comparison, Estimate
from diffusiontalker.summary.run import ClipRow, Errors, Evaluation, Floors, Row

FOLDER = Path(__file__).parents[2] / "configs" / "papers"
SPLITS = ("test_seen", "test_unseen")
CLIPS = 8


def load(name: str, *overrides: str) -> CompareSettings:
    return variants.completed(
        config.load_as(CompareSettings, FOLDER / name, ["output=here", *overrides])
    )


def evaluation(models: list[tuple[str, int]], level: float, seed: int = 0) -> Evaluation:
    """Metrics of models: every one is ``level``, and a little more for each clip."""
    keys = ("mbe", "lbe", "lbe_published", "energy_score", "lve", "eve", "fdd_vertex")
    rows, clips = [], []
    rng = np.random.default_rng(seed)
    for name, steps in models:
        about: dict[str, Any] = {"name": name, "steps": steps, "distilled": name != "teacher"}
        for split in SPLITS:
            one = dict.fromkeys(keys, level + 0.01 * seed)
            rows.append(Row(**about, split=split, clips=CLIPS, fps=100.0, identity_f1=0.5, **one))
            for number in range(CLIPS):
                errors = {key: value + 0.001 * rng.random() for key, value in one.items()}
                clips.append(
                    ClipRow(**about, split=split, clip=str(number), identity="ada", frames=9,
                            emotion="anger" if number % 2 else None, errors=errors)
                )  # fmt: skip
    floor = {split: Floors(sampling=Errors(mbe=0.1, energy_score=0.05)) for split in SPLITS}
    return Evaluation(rows=tuple(rows), clips=tuple(clips), floor=floor)


def found(settings: CompareSettings, seeds: int = 2) -> dict[tuple[str, int], Evaluation]:
    """Made metrics of all variants; the reference is the best, and one rival as good."""
    diffusion, out = settings.diffusion, {}
    students = [(f"student-{n}", n) for n in diffusion.rounds]
    for seed in range(seeds):
        for variant in variants.variants_of(settings, tables.chosen(settings)):
            models = [students[-1]]
            if variant.name == variants.REFERENCE:
                models = [*(("teacher", n) for n in settings.evaluation.teacher_steps), *students]
            elif variant.name.startswith("scratch-"):
                models = [(variant.name, int(variant.name.removeprefix("scratch-")))]
            elif variant.name in settings.comparison.rivals.names:
                rivals = settings.comparison.rivals
                counts = {"facediffuser": rivals.diffusion_steps,
                          "industrial": (rivals.industrial_steps,)}  # fmt: skip
                models = [(variant.name, n) for n in counts.get(variant.name, (1,))]
            level = 0.2 if variant.name in (variants.REFERENCE, "selftalk") else 0.3
            out[variant.name, seed] = evaluation(models, level, seed)
    return out


def comparison(settings: CompareSettings) -> Comparison:
    own = found(settings)
    there = own if settings.comparison.vocaset else {}
    made = tables.tables(settings, tables.chosen(settings), own, there)
    return Comparison(paper=variants.paper_of(settings), preset="full", seeds=2,
                      tables=tuple(made), seconds={"reference": 3.0})  # fmt: skip


@pytest.mark.parametrize("name", ["v1.yaml", "v1-min.yaml", "v2.yaml", "v2-min.yaml"])
def test_every_row_with_a_published_figure_is_measured(name: str) -> None:
    settings = load(name, "comparison.vocaset=somewhere")
    paper = variants.paper_of(settings)
    assert paper == name[:2]
    for table, rows in PUBLISHED[paper].items():
        labels = {entry.label for entry in tables.entries(settings, table)}
        assert set(rows) <= labels, table
        keys = {key for figures in rows.values() for key in figures}
        assert keys <= set(tables.COLUMNS[paper][table]), table


def test_the_preset_small_changes_neither_steps_nor_losses() -> None:
    for name in ("v1-min.yaml", "v2-min.yaml"):
        settings, small = load(name), load(name, "comparison.preset=small")
        assert (small.diffusion, small.losses) == (settings.diffusion, settings.losses)
        assert small.comparison.seeds == 3
        assert small.corpus.minutes < settings.corpus.minutes


def test_the_teacher_is_measured_in_the_last_student_s_steps() -> None:
    settings = load("v1-min.yaml", "evaluation.teacher_steps=[4]")
    assert settings.evaluation.teacher_steps == (32, 8, 4)


def test_each_ablation_is_a_setting_of_the_run() -> None:
    for name in ("v1.yaml", "v2.yaml"):
        settings = load(name)
        for variant in variants.variants_of(settings, ("ablation",)):
            own = config.changed(settings, variant.changes, variant.name)
            is_other = own.model_dump() != settings.model_dump()
            assert is_other == bool(variant.changes), variant.name


def test_only_what_the_tables_need_is_trained() -> None:
    names = [v.name for v in variants.variants_of(load("v1.yaml"), ("steps",))]
    assert names == ["reference", "scratch-16", "scratch-8"]
    names = [v.name for v in variants.variants_of(load("v2.yaml"), ("rivals",))]
    assert names[0] == "reference"
    assert "faceformer" in names
    assert tables.chosen(load("v1.yaml", "comparison.tables=[steps]")) == ("steps",)
    assert "no table" in refusals.refusal(
        lambda: tables.chosen(load("v2.yaml", "comparison.tables=[steps]"))
    )
    assert "comparison.vocaset" in refusals.refusal(
        lambda: tables.chosen(load("v2.yaml", "comparison.tables=[vocaset]"))
    )


def test_an_estimate_is_the_mean_and_the_spread_over_seeds() -> None:
    found = statistics.estimate([1.0, 2.0, 3.0], 4.0)
    assert (found.mean, found.spread, found.published) == (2.0, 1.0, 4.0)
    assert statistics.estimate([1.0]).spread is None
    assert statistics.estimate([1.0, None]).mean is None


def test_a_paired_test_sees_a_small_difference_of_all_clips() -> None:
    rng = np.random.default_rng(0)
    one = {str(i): float(v) for i, v in enumerate(rng.uniform(1, 2, 20))}
    little = {clip: value + 0.01 + 0.001 * i for i, (clip, value) in enumerate(one.items())}
    p = statistics.paired_p(one, little)
    assert p == pytest.approx(2 / 2**20)  # all 20 signs alike, of 2 ** 20
    assert statistics.paired_p(one, one) is None
    assert statistics.paired_p(one, {"0": 1.0}) is None


def test_p_values_are_corrected_for_all_tests_of_a_table() -> None:
    rows = [
        ComparedRow(name=str(p), figures={"mbe": Estimate(p=p), "lbe": Estimate()})
        for p in (0.01, 0.04, 0.03)
    ]
    found = [row.figures["mbe"].p for row in statistics.corrected(rows)]
    assert found == pytest.approx([0.03, 0.04, 0.04])
    assert statistics.corrected(rows)[0].figures["lbe"].p is None


def test_tables_hold_means_spreads_floors_and_tests() -> None:
    made = comparison(load("v1-min.yaml"))
    names = {(t.key, t.split) for t in made.tables}
    assert names == {
        (key, split) for key in tables.COLUMNS["v1"] if key != "vocaset" for split in SPLITS
    }
    zero_shot = comparison(load("v1-min.yaml", "comparison.vocaset=there")).tables
    assert {(t.key, t.split) for t in zero_shot} - names == {("vocaset", s) for s in SPLITS}
    (rivals,) = [t for t in made.tables if (t.key, t.split) == ("rivals", "test_seen")]
    rows = {row.name: row for row in rivals.rows}
    assert rivals.reference == "distilled, 8 steps"
    assert rows["sampling floor"].figures["mbe"].mean == 0.1
    ours, theirs = rows["distilled, 8 steps"].figures["mbe"], rows["EmoTalk"].figures["mbe"]
    assert ours.mean == pytest.approx(0.205)
    assert ours.spread == pytest.approx(0.01 / 2**0.5)
    assert (ours.published, ours.p, theirs.published) == (0.4094, None, 1.0537)
    still = rows["mean face"]
    assert (still.seeds, still.figures["mbe"].spread) == (0, None)  # it is not trained
    assert still.figures["mbe"].p is not None
    assert theirs.p is not None
    assert theirs.p < 0.05
    (matching,) = [t for t in made.tables if (t.key, t.split) == ("matching", "test_seen")]
    assert matching.reference is None  # nothing is tested there
    (emotions,) = [t for t in made.tables if (t.key, t.split) == ("emotions", "test_seen")]
    assert {(row.name, row.clips) for row in emotions.rows} == {("anger", 4), ("unknown", 4)}


def test_every_format_is_made_of_the_same_figures(tmp_path: Path) -> None:
    made = comparison(load("v2-min.yaml"))
    writers.write(tmp_path, made)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"comparison.{suffix}" for suffix in ("json", "md", "csv", "tex", "html")}
    assert Comparison.model_validate_json((tmp_path / "comparison.json").read_text()) == made
    text = (tmp_path / "comparison.md").read_text()
    line = next(x for x in text.splitlines() if "UniTalker" in x)
    assert "[1.44]" in line
    heads = [x for x in text.splitlines() if x.startswith("| Model")]
    assert any(r"\|FDD\|" in head for head in heads)
    bars = {one.replace(r"\|", "").count("|") for one in (line, *heads[:1])}
    assert len(bars) == 1  # as many cells below the headings
    lines = list(csv.DictReader(io.StringIO((tmp_path / "comparison.csv").read_text())))
    (one,) = [
        row for row in lines
        if (row["table"], row["split"], row["model"], row["metric"])
        == ("rivals", "test_seen", "UniTalker", "eve")
    ]  # fmt: skip
    assert float(one["mean"]) == pytest.approx(0.305)
    assert float(one["published"]) == pytest.approx(1.439e-5)
    tex = (tmp_path / "comparison.tex").read_text()
    assert tex.count(r"\begin{table}") == len(made.tables)
    assert tex.count(r"\toprule") == len(made.tables)
    assert not set(writers.SIGNS) & set(tex.replace("$|$", ""))
    assert r"test\_seen" in tex
    assert "UniTalker" in page.render(made)


@pytest.fixture
def small_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A comparison whose models are trained and measured at once; returns what was done."""
    done: list[str] = []
    manifest = SimpleNamespace(fingerprint="a", feature_fingerprint="b")
    data: Any = SimpleNamespace(folder=tmp_path, manifest=manifest, pseudo_labelled=None)
    about = SimpleNamespace(model_dump=lambda mode: {"source": "made"})

    def train(run: Run, _: Any) -> list[Any]:
        """Models whose folders are named by their keys; ``run.stage`` keeps what is there."""
        seed = run.settings.training.seed
        lip = run.settings.losses.teacher.lip
        folder = run.stage(
            "teacher", run.folder("teacher", f"{seed}-{lip:g}"),
            lambda *_: done.append(f"teacher {seed} {lip:g}"),
        )  # fmt: skip
        return [SimpleNamespace(name="student-8", model=SimpleNamespace(folder=folder, steps=8))]

    def evaluate(models: list[Any], *_: Any) -> Evaluation:
        done.append(f"evaluation of {Path(models[0].model.folder).name}")
        return evaluation([("teacher", 32), ("teacher", 8), ("student-16", 16), ("student-8", 8),
                           ("scratch-8", 8)], 0.2)  # fmt: skip

    made = [Variant(name, train) for name in ("reference", "scratch-8")]
    made += [Variant(name, train, changes) for name, changes in ABLATIONS["v1"].items()]
    monkeypatch.setattr(pipeline_run, "start_progress_board", lambda: None)
    monkeypatch.setattr(comparison_run, "prepare_data", lambda run: data)
    monkeypatch.setattr(comparison_run, "corpus_summary", lambda *_: about)
    monkeypatch.setattr(comparison_run, "variants_of", lambda *_: made)
    monkeypatch.setattr(comparison_run.evaluate, "evaluate", evaluate)
    return done


def test_vocaset_is_looked_for_before_anything_is_trained(
    small_run: list[str], tmp_path: Path
) -> None:
    overrides = [f"output={tmp_path}/out", f"comparison.vocaset={tmp_path}/nowhere"]
    settings = config.load_as(CompareSettings, FOLDER / "v1-min.yaml", overrides)
    assert "nowhere" in refusals.refusal(lambda: comparison_run.compare(settings))
    assert small_run == []


def test_variants_share_stages_and_a_second_run_does_nothing(
    small_run: list[str], tmp_path: Path
) -> None:
    overrides = [f"output={tmp_path}/out", "comparison.tables=[ablation]", "comparison.seeds=2"]
    settings = config.load_as(CompareSettings, FOLDER / "v1-min.yaml", overrides)
    made = comparison_run.compare(settings)
    # Four of the five variants train the same stage here.
    assert [x for x in small_run if x.startswith("teacher")] == [
        "teacher 0 1", "teacher 0 0", "teacher 1 1", "teacher 1 0",
    ]  # fmt: skip
    assert sum(x.startswith("evaluation") for x in small_run) == 10
    assert made.seeds == 2
    assert {table.key for table in made.tables} == {"ablation"}
    folder = tmp_path / "out" / "variants"
    assert "without-lip-loss-1" in {path.name for path in folder.iterdir()}
    kept = yaml.safe_load((folder / "without-lip-loss-1" / "settings.yaml").read_text())
    assert (kept["training"]["seed"], kept["losses"]["teacher"]["lip"]) == (1, 0.0)
    small_run.clear()
    assert comparison_run.compare(settings).tables == made.tables
    assert small_run == []
