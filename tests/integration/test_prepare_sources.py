"""Every shipped configuration of a data set, on a small set as published, on real Ray."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests import etf_made, own_aligner, sources_made, vocaset_made

from diffusiontalker import config, preparation, storage
from diffusiontalker.corpus import ingest, shards
from diffusiontalker.corpus.ingest.batches import PlannedTake
from diffusiontalker.corpus.ingest.take_reader import read_take
from diffusiontalker.corpus.manifest import Manifest, open_corpus, verify
from diffusiontalker.corpus.shards import Clip, phones_of
from diffusiontalker.corpus.sources import open_source
from diffusiontalker.errors import UserError
from diffusiontalker.objectives.articulation import articulation

CONFIGS = Path(__file__).parents[2] / "configs/data"
pytestmark = pytest.mark.usefixtures("ray_s3")


def prepared(kind: str, root: Path, *overrides: str) -> tuple[Manifest, dict[str, Clip], str]:
    """Manifest, clips by take, and the page."""
    out = root.parent / f"{root.name}-shards"
    keys = [f"source.root={root}", f"output={out}", *overrides]
    settings = config.load_data(CONFIGS / f"{kind}.yaml", keys)
    preparation.prepare(ingest.inspect(settings, storage.location(out)))
    manifest = open_corpus(out)
    clips = [
        clip for s in manifest.shards for clip in shards.clips_of(shards.read_table(out / s.file))
    ]
    return manifest, {clip.take: clip for clip in clips}, (out / "prepare.html").read_text()


def test_beat(tmp_path: Path) -> None:
    takes = (
        "1_wayne_0_9_9",
        "1_wayne_0_72_72",
        "1_wayne_1_2_2",
        "2_scott_0_1_1",
        "2_scott_0_58_58",
    )
    root = sources_made.make_beat(tmp_path / "beat", takes)
    (root / "2" / "2_scott_0_88_88.json").write_text('{"names": [')
    (root / "2" / "2_scott_0_88_88.wav").write_bytes((root / "2/2_scott_0_1_1.wav").read_bytes())
    manifest, clips, page = prepared("beat", root, "split.unseen_speakers=0", "max_quarantined=0.2")
    assert {take: (c.identity, c.emotion, c.split) for take, c in clips.items()} == {
        "1_wayne_0_9_9": ("1_wayne", "neutral", "train"),
        "1_wayne_0_72_72": ("1_wayne", "happiness", "val"),
        "1_wayne_1_2_2": ("1_wayne", None, "train"),
        "2_scott_0_1_1": ("2_scott", "neutral", "test_seen"),
        "2_scott_0_58_58": ("2_scott", "neutral", "val"),
    }
    assert manifest.identities == ["1_wayne"]
    assert "2_scott_0_88_88" in page
    clip = clips["1_wayne_0_9_9"]
    assert len(clip.coefficients) == 90
    truth = sources_made.face(3.0, 0, 30.0)
    assert np.abs(clip.coefficients - truth)[2:-2].max() < 0.05  # from 60 fps, a little smoothed


def test_3d_etf(tmp_path: Path) -> None:
    _, clips, _ = prepared("3d-etf", etf_made.make_etf(tmp_path / "etf"))
    assert {clip.emotion for clip in clips.values()} > {None}
    actor = next(take for take in clips if take.startswith("03-01"))
    assert clips[actor].identity == f"ravdess-{actor[-2:]}"
    truth = etf_made.face(actor, 2.5)
    assert np.allclose(clips[actor].coefficients, truth, atol=1e-6)


def test_speech(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, text in (("ann/1", "oapo mama"), ("ann/2", "ubu"), ("bo/1", "unlike"), ("bo/2", "a")):
        path = tmp_path / f"speech/{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        seconds = 0.3 + 0.1 * len(text)
        soundfile.write(path, 0.1 * rng.normal(size=round(seconds * 16_000)), 16_000)
        path.with_suffix(".txt").write_text(text)
    aligner = f"source.options.aligner={Path(own_aligner.__file__)}:Letters"
    _, clips, page = prepared(
        "speech", tmp_path / "speech", aligner, "split={val: 0, test: 0, unseen_speakers: 0}",
        "max_quarantined=0.5", "min_clip_seconds=0.5",
    )  # fmt: skip
    assert set(clips) == {"ann/1", "ann/2"}  # the others: an alignment not trusted, and too short
    clip = clips["ann/1"]
    assert (clip.identity, clip.text) == ("ann", "oapo mama")
    assert articulation([clip.coefficients], [phones_of(clip)]).closure == 1
    assert "score" in page


@pytest.mark.parametrize("form", ["raw", "derived"])
def test_vocaset(tmp_path: Path, form: str) -> None:
    rig = vocaset_made.made_rig()
    rig.save(tmp_path / "rig.npz")
    root, fps = tmp_path / "voca", 60.0
    if form == "raw":
        vocaset_made.make_vocaset_raw(root, rig)
    else:
        fps = 30.0
        vocaset_made.make_vocaset_derived(root, rig)
    _, clips, _ = prepared(
        "vocaset", root, f"source.options.rig={tmp_path / 'rig.npz'}", f"source.options.fps={fps}"
    )
    assert {clip.identity: clip.split for clip in clips.values()} == {
        "FaceTalk_170728_03272_TA": "train",
        "FaceTalk_170904_00128_TA": "train",
        "FaceTalk_170811_03275_TA": "val",
        "FaceTalk_170809_00138_TA": "test_unseen",
    }
    for clip in clips.values():
        truth = vocaset_made.truth(str(clip.identity), clip.take[-10:], 75, 30.0)
        assert np.abs(clip.coefficients - truth)[2:-2].max() < 0.03


def test_a_folder(tmp_path: Path) -> None:
    index = "name,emotion,split\nann/one,joy,train\nann/two,,val\nbob/three,joy,test_unseen\n"
    takes = ("ann/one.csv", "ann/two.json", "bob/three.npz")
    root = sources_made.make_folder(tmp_path / "mine", takes, index, lag=0.1, seconds=6.0)
    (root / "bob/alone.wav").write_bytes((root / "ann/one.wav").read_bytes())
    manifest, clips, page = prepared("folder", root)
    assert {(c.identity, c.emotion, c.split) for c in clips.values()} == {
        ("ann", "joy", "train"), ("ann", None, "val"), ("bob", "joy", "test_unseen"),
    }  # fmt: skip
    assert manifest.emotions == ["joy"]
    assert "bob/alone.wav" in page
    known = config.load_data(None, [f"source.root={root}", "source.kind=folder", "output=x"])
    report = [
        read_take(source, PlannedTake(take, "train"), known)[1]
        for source in [open_source(known.source)]
        for take in source.takes().takes
    ]
    assert [r.lag_seconds for r in report] == [pytest.approx(0.1, abs=0.02)] * 3


def test_a_set_is_replaced_by_a_complete_one_alone(tmp_path: Path) -> None:
    root = sources_made.make_folder(tmp_path / "mine")
    before, _, _ = prepared("folder", root, "max_quarantined=0")
    out = tmp_path / "mine-shards"
    sound = (root / "ada/one.wav").read_bytes()
    (root / "ada/one.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError, match="published before is unchanged"):
        prepared("folder", root, "max_quarantined=0")
    assert open_corpus(out) == before
    verify(out, before, lambda *_: None)
    (root / "ada/one.wav").write_bytes(sound + b"more")
    after, clips, _ = prepared("folder", root, "max_quarantined=0")
    assert after.source_fingerprint != before.source_fingerprint
    assert not {s.file for s in after.shards} & {s.file for s in before.shards}
    assert {path.name for path in out.glob("*.parquet")} == {s.file for s in after.shards}
    assert not [*out.glob("part-*"), *out.glob("plan.json")]
    assert len(clips) == 4
