"""Keys of stages: each setting and each version changes those of the stages it can affect."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from tests import stage_sources

from diffusiontalker import config, stage_keys
from diffusiontalker.config import (
    AugmentationSettings,
    DegradationSettings,
    PseudoLabelSettings,
    Section,
    Settings,
    fingerprint,
)
from diffusiontalker.corpus.procedural import generation
from diffusiontalker.errors import UserError
from diffusiontalker.features.stage import content

SETTINGS = Settings(
    output="runs/a",
    augmentation=AugmentationSettings(degradation=DegradationSettings(share=0.5)),
    pseudo_labels=PseudoLabelSettings(recordings="speech"),
)
STAGES = [
    "corpus", "encoder", "features", "teacher", "pseudo_labels", "round-8", "round-4", "round-2",
    "evaluation",
]  # fmt: skip
FIRST = {
    "output": None,
    "extraction": None,
    "resources": None,
    "export": None,  # done anew every time
    "corpus": "corpus",
    "encoder": "features",
    "augmentation.degradation": "features",
    "augmentation.lost_bands": "teacher",
    "augmentation.vocal_tract": "round-8",
    "encoder.small": "encoder",
    "training": "encoder",
    "training.workers": None,
    "training.encoder": "encoder",
    "training.teacher": "teacher",
    "training.first_round": "round-8",
    "training.round": "round-4",
    "model.shared": "teacher",
    "model.teacher": "teacher",
    "model.student": "round-8",
    "losses.teacher": "teacher",
    "losses.student": "round-8",
    "diffusion": "evaluation",
    "diffusion.sampler": "pseudo_labels",
    "pseudo_labels": "pseudo_labels",
    "evaluation": "evaluation",
}
"""The first stage that a section affects, and with it all later ones."""
TOGETHER = {
    "diffusion.steps": {"diffusion.steps": 32, "diffusion.rounds": (16, 8, 4, 2)},
    # Alone, eSpeak's weight changes nothing.
    "corpus.voices.espeak": {"corpus.voices.espeak": 2.0, "corpus.voices.kokoro": 0.6},
    **{
        key: {key: "lip"}
        for key in (f"training.{stage}.monitor" for stage in ("teacher", "first_round", "round"))
    },
}
"""Settings that cannot change alone, or that take a few names alone."""


def keys(s: Settings) -> dict[str, str]:
    """The key of every stage, where a stage before stands by its key for its content."""
    found = {"corpus": s.corpus.path or generation.key_of(s.corpus)}
    found["encoder"] = stage_keys.encoder_key(s, [found["corpus"]])
    clips = fingerprint(found["corpus"], s.encoder, found["encoder"])
    data = content(clips, s.augmentation.degradation)
    found["features"] = data
    last = found["teacher"] = stage_keys.teacher_key(s, [data])
    models = [last]
    listing = {f"{s.pseudo_labels.recordings}.wav": "1"}
    labels = found["pseudo_labels"] = stage_keys.pseudo_labels_key(s, last, data, listing)
    for steps in s.diffusion.rounds:
        last = found[f"round-{steps}"] = stage_keys.round_key(s, steps, last, [data, labels])
        models.append(last)
    found["evaluation"] = stage_keys.evaluation_key(s, models, [data])
    return found


def leaves(section: Section, before: str = "") -> Iterator[str]:
    """The dotted name of every setting."""
    for name, value in section:
        if isinstance(value, Section):
            yield from leaves(value, f"{before}{name}.")
        else:
            yield f"{before}{name}"


def other(name: str, text: str) -> Settings:
    """The settings with another value for one of them; ``text`` is one where a text may stand."""
    if name in TOGETHER:
        return config.changed(SETTINGS, TOGETHER[name], "here")
    section: Any = SETTINGS
    *path, leaf = name.split(".")
    for part in path:
        section = getattr(section, part)
    now = getattr(section, leaf)
    candidates: list[Any] = [text, *get_args(type(section).model_fields[leaf].annotation)]
    if isinstance(now, bool):
        candidates = [not now]
    elif isinstance(now, int | float):
        candidates = [now * 2, now + 1, now + 32, now / 2, now + 0.1]
    elif isinstance(now, tuple):
        candidates = [now[:-1], now + now]
    elif now is None:
        candidates = [text, 1, 0.5]
    for value in candidates:
        try:
            found = config.changed(SETTINGS, {name: value}, "here")
        except UserError:
            continue
        if config.value_of(found, name) != now:
            return found
    raise AssertionError(f"{name}: no other value found")


@pytest.mark.parametrize("name", list(leaves(SETTINGS)))
def test_a_setting_changes_the_keys_of_all_stages_it_affects(name: str, tmp_path: Path) -> None:
    file = tmp_path / "a"  # a rig is read, since its content may change under its name
    file.write_bytes(b"content")
    parts = name.split(".")
    sections = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    first = next((FIRST[one] for one in sections if one in FIRST), "unknown")
    assert first != "unknown", f"{name}: say in FIRST which stage its section affects first"
    before, after = keys(SETTINGS), keys(other(name, str(file)))
    changed = [stage for stage in STAGES if stage in after and after[stage] != before[stage]]
    expected = [] if first is None else STAGES[STAGES.index(first) :]
    if name == "diffusion.steps":  # another teacher's guidance, and another first round
        changed, expected = changed[-1:], expected[-1:]
    assert changed == [stage for stage in expected if stage in after]


def test_sections_without_results_are_those_that_change_no_key() -> None:
    assert {name for name, stage in FIRST.items() if stage is None} == {
        *config.NO_RESULT, "export",
    }  # fmt: skip


BASELINES: dict[str, Callable[[Settings], str]] = {
    "scratch": lambda s: stage_keys.scratch_key(s, 2, []),
    "rival": lambda s: stage_keys.rival_key(s, "regression", 64, []),
}
"""Stages of a comparison, on which no other depends."""


@pytest.mark.parametrize("stage", BASELINES)
def test_a_baseline_depends_on_the_budget_and_network_and_not_on_distillation(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = BASELINES[stage]
    before = key(SETTINGS)
    for name in ("training.seed", "training.teacher.passes", "model.student.decoder.width"):
        assert key(other(name, "a")) != before, name
    for name in ("diffusion.steps", "losses.student.dis", "training.round.passes", "export.clips"):
        assert key(other(name, "a")) == before, name
    monkeypatch.setitem(stage_keys.VERSIONS, stage, 99)
    assert key(SETTINGS) != before


@pytest.mark.parametrize("stage", sorted(stage_keys.VERSIONS.keys() - BASELINES))
def test_a_version_changes_its_stage_and_those_after_it(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keys(SETTINGS)
    monkeypatch.setitem(stage_keys.VERSIONS, stage, 99)
    after = keys(SETTINGS)
    changed = [name for name in STAGES if after[name] != before[name]]
    first = {"round": "round-8"}.get(stage, stage)
    assert changed == STAGES[STAGES.index(first) :]


@pytest.mark.parametrize("stage", sorted(stage_sources.ENTRIES))
def test_a_stage_whose_sources_changed_has_a_new_version_or_the_same_result(stage: str) -> None:
    assert stage_sources.digest(stage_sources.modules(stage)) == stage_sources.recorded()[stage], (
        f"the sources of {stage} have changed: if the same settings give another result, raise its "
        "version (stage_keys.VERSIONS, or VERSION in features.stage or procedural.generation); "
        "then record the sources: python -m tests.stage_sources"
    )
