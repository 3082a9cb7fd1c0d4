"""The frame of a sweep, without Ray: whose folder it is, and which figures are final."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.refusals import refusal
from tests.unit import sweeps

from diffusiontalker import assets
from diffusiontalker.corpus.manifest import open_corpus, write_manifest
from diffusiontalker.corpus.procedural import generation
from diffusiontalker.corpus.shards import Clip, write_shard
from diffusiontalker.errors import UserError
from diffusiontalker.features import stage as feature_stage
from diffusiontalker.summary.sweep import METRICS
from diffusiontalker.tuning import confirmation, space, sweep
from diffusiontalker.tuning.trial_store import TRIAL


def test_trials_of_somebody_else_are_not_swept_away(tmp_path: Path) -> None:
    mine = tmp_path / "trials" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(UserError, match="is not a sweep's"):
        sweep.begin(sweeps.sweep(output=str(tmp_path)))
    assert mine.read_text() == "mine"
    mine.unlink()
    sweep.begin(sweeps.sweep(output=str(tmp_path)))


def test_trials_are_kept_under_the_corpus_that_they_get(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Path:
        raise UserError(f"{name}: no network")

    monkeypatch.setattr(assets, "fetch", missing)
    asked = sweeps.sweep(output=str(tmp_path), changes={"corpus.voices.kokoro": 0.6})
    mixed, base = space.base_of(asked), sweep.begin(asked)
    assert mixed.corpus.voices.kokoro
    assert not base.corpus.voices.kokoro
    assert sweep.key_of(asked, base) != sweep.key_of(asked, mixed)


def test_the_figures_of_a_run_that_did_not_end_well_are_none() -> None:
    final = confirmation.FinalMetrics(SimpleNamespace(count=lambda done, total: None), 3)  # type: ignore[arg-type]

    def trial(name: str) -> Any:
        return SimpleNamespace(config={TRIAL: {"id": name}})

    def told(name: str, value: float) -> None:
        final.on_trial_result(1, [], trial(name), dict.fromkeys(METRICS, value))

    told("well", 1.0)
    told("well", 2.0)
    final.on_trial_complete(2, [], trial("well"))
    told("diverged", 1.0)
    told("diverged", float("nan"))
    final.on_trial_complete(2, [], trial("diverged"))
    told("broken", 1.0)
    final.on_trial_error(2, [], trial("broken"))
    assert final.metrics == {"well": dict.fromkeys(METRICS, 2.0)}
    assert final.ended == 3


def test_figures_without_phoneme_times_are_final_too() -> None:
    final = confirmation.FinalMetrics(SimpleNamespace(count=lambda done, total: None), 1)  # type: ignore[arg-type]
    measured = {"lbe": 0.1, "energy_score": 0.2, "upper_energy": 0.3}
    final.on_trial_result(1, [], SimpleNamespace(config={TRIAL: {"id": "one"}}), measured)
    assert final.metrics == {"one": measured}


def test_closures_need_phoneme_times(corpus_folder: Path, hand_made: Callable[..., Clip]) -> None:
    asked = sweeps.sweep(
        changes={"corpus.path": str(corpus_folder)}, objectives=["lbe", "missed_closures"]
    )
    base = space.base_of(asked)
    line = refusal(lambda: sweep.check_phones(asked, base))
    assert "missed_closures" in line
    assert str(corpus_folder) in line
    phones = {"phones": ["ˈɑ", "mː"], "phone_starts": np.array([0, 0.2])}
    manifest = open_corpus(corpus_folder)
    clips = [hand_made(split="val"), hand_made(split="val", **phones)]
    val = write_shard(corpus_folder / "val-00000.parquet", clips)
    write_manifest(corpus_folder, replace(manifest, shards=[*manifest.of("train"), val]))
    sweep.check_phones(asked, base)
    sweep.check_phones(asked, space.base_of(sweeps.sweep()))  # the procedural corpus has them


def test_trials_on_data_that_were_prepared_anew_are_not_compared(corpus_folder: Path) -> None:
    asked = sweeps.sweep(changes={"corpus.path": str(corpus_folder)})
    base = space.base_of(asked)
    before = sweep.key_of(asked, base)
    assert sweep.key_of(asked, base) == before
    manifest = open_corpus(corpus_folder)
    write_manifest(corpus_folder, replace(manifest, shards=manifest.shards[:1]))
    assert sweep.key_of(asked, base) != before


@pytest.mark.parametrize("module", [generation, feature_stage])
def test_trials_of_another_generation_of_data_are_not_compared(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType
) -> None:
    asked = sweeps.sweep()
    before = sweep.key_of(asked, space.base_of(asked))
    monkeypatch.setattr(module, "VERSION", module.VERSION + 1)
    assert sweep.key_of(asked, space.base_of(asked)) != before


def test_trials_with_an_encoder_that_changed_in_its_folder_are_not_compared(tmp_path: Path) -> None:
    asked = sweeps.sweep(changes={"encoder.name": str(tmp_path)})
    base = space.base_of(asked)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    (tmp_path / "config.json").write_text("{}")
    before = sweep.key_of(asked, base)
    (tmp_path / "README.md").write_text("which no feature depends on")
    assert sweep.key_of(asked, base) == before
    weights.write_bytes(b"two")
    assert sweep.key_of(asked, base) != before


def test_a_sweep_of_the_teacher_is_the_same_with_other_rounds() -> None:
    def key(stage: str, **changes: Any) -> str:
        asked = sweeps.sweep(changes=changes, stage=stage)
        return sweep.key_of(asked, space.base_of(asked))

    later = {"losses.student.dis": 0.5, "training.round.epochs": 7}
    assert key("teacher", **later) == key("teacher")
    for stage in ("round", "chain"):
        assert len({key(stage), *(key(stage, **{name: later[name]}) for name in later)}) == 3
