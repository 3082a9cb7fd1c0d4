"""Preparing a data set: the description of its splits, and a replacement that fails."""

from pathlib import Path

import pytest
from tests.etf_made import make_etf
from tests.refusals import refusal
from tests.sets import write_set
from tests.sources_made import make_beat, make_folder
from tests.unit.ingest_sets import settings

from diffusiontalker import preparation
from diffusiontalker.corpus import ingest
from diffusiontalker.corpus.ingest.tables import TakesSummary
from diffusiontalker.corpus.manifest import Manifest, open_corpus, write_manifest
from diffusiontalker.corpus.sources import open_source


def split_rule(root: Path, *overrides: str) -> str:
    chosen = settings(root, *overrides)
    source = open_source(chosen.source)
    return preparation.split_rule(source, source.takes().takes, chosen)


def test_what_splits_keep_apart_is_told_of_each_source(tmp_path: Path) -> None:
    beat = split_rule(make_beat(tmp_path / "beat", seconds=0.2), "source.kind=beat")
    assert "6 of 6 takes in the data set's own" in beat
    assert "authors' split is by script" in beat
    etf = split_rule(make_etf(tmp_path / "etf", 0.2), "source.kind=3d-etf")
    assert "one video, or of one actor's statement, mood and strength stay together (5 g" in etf
    assert "RAVDESS has two statements" in etf
    own = split_rule(make_folder(tmp_path / "own", seconds=0.2), "source.kind=folder")
    assert "which takes share a sentence is not known" in own
    clip_by_clip = split_rule(tmp_path / "own", "source.kind=folder", "split.rule=published")
    assert "parts of one take lie on both sides" in clip_by_clip


def test_a_replacement_that_fails_says_that_the_published_set_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = Manifest("x", [], [], [])
    failed = ingest.IngestResult(manifest, TakesSummary([], []), "9 of 9 takes are malformed")
    monkeypatch.setattr(preparation.ingest, "convert", lambda *_: failed)
    chosen, out = settings(write_set(tmp_path / "set", each=1)), tmp_path / "out"
    job = ingest.inspect(chosen, out)
    assert "unchanged" not in refusal(lambda: preparation.prepare(job))
    write_manifest(out, manifest)
    assert "published before is unchanged" in refusal(lambda: preparation.prepare(job))
    assert open_corpus(out) == manifest
