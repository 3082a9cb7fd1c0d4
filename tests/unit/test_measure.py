"""Metrics of one model on one split, on clips made by hand, and the floors beside them."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from tests.unit import models

from diffusiontalker.animation.rig import default_rig
from diffusiontalker.arkit import CHANNELS, INDEX, LIP, UPPER
from diffusiontalker.evaluation import evaluate, measure
from diffusiontalker.evaluation.groups import by_label, mean_error
from diffusiontalker.evaluation.measure import ClipSamples, Vertices
from diffusiontalker.evaluation.models import animate

BROW, JAW = INDEX["browInnerUp"], INDEX["jawOpen"]


def rig() -> SimpleNamespace:
    """Four vertices at rest at 0: two lips, moved 1 m along x by the jaw (the second 2 m along y),
    a brow moved 3 m along z, and one that is neither lip nor upper face."""
    deltas = np.zeros((len(CHANNELS), 4, 3), np.float32)
    deltas[JAW, 0, 0], deltas[JAW, 1, 1], deltas[BROW, 2, 2] = 1, 2, 3
    deltas[:, 3] = 100
    return SimpleNamespace(
        mean=np.zeros((4, 3), np.float32),
        deltas=deltas,
        lip=np.array([True, True, False, False]),
        upper=np.array([False, False, True, False]),
        eyes_forehead=np.array([False, False, True, False]),
    )


@pytest.fixture
def vertices() -> Vertices:
    return Vertices(rig())


def face(jaw: list[float], brow: list[float]) -> np.ndarray:
    out = np.zeros((len(jaw), len(CHANNELS)), np.float32)
    out[:, JAW], out[:, BROW] = jaw, brow
    return out


def test_vertices_by_hand(vertices: Vertices) -> None:
    moved = vertices(face([0.5, 0.0], [0.0, 1.0]))
    assert moved.shape == (2, 3, 3)  # the fourth vertex is left out
    assert moved[0].tolist() == [[0.5, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert moved[1].tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 3]]


def test_vertices_agree_with_the_whole_rig() -> None:
    whole = default_rig()
    part = Vertices(whole)
    c = np.random.default_rng(0).uniform(0, 1, (2, len(CHANNELS))).astype(np.float32)
    full = whole.mean + np.einsum("tc,cvd->tvd", c, whole.deltas)
    np.testing.assert_allclose(part(c), full[:, whole.lip | whole.upper], atol=1e-5)
    assert part.lip.sum() == whole.lip.sum()


def test_errors_by_hand(vertices: Vertices) -> None:
    truth = face([0.0, 0.0], [0.0, 1.0])
    one, two = face([0.3, 0.0], [0.4, 1.0]), truth
    found = measure.errors(np.stack([one, two]), truth, vertices)
    # each is half of the first sample's, as the second is right; its first frame alone errs
    assert found["mbe"] == pytest.approx(math.hypot(0.3, 0.4) / 2 / 2)
    assert found["lbe"] == pytest.approx(0.3 / 2 / 2)
    # jawOpen stands in the complete lip mask, but not in the published one
    assert found["lbe_published"] == 0
    # std of brow^2 over time: truth std(0, 1) = 0.5, sample std(0.16, 1) = 0.42
    assert found["fdd"] == pytest.approx((0.5 - 0.42) / 2)
    # the largest squared lip movement is the second vertex's, 2 * 0.3
    assert found["lve"] == pytest.approx(0.6**2 / 2 / 2)
    assert found["eve"] == pytest.approx((3 * 0.4) ** 2 / 2 / 2)
    assert found["fdd_vertex"] == pytest.approx(9 * (0.5 - 0.42) / 2, rel=1e-5)


def test_fdd_takes_the_absolute_value_of_each_sequence(vertices: Vertices) -> None:
    truth = face([0.0, 0.0], [0.0, 0.5])
    less, more = face([0.0, 0.0], [0.0, 0.0]), face([0.0, 0.0], [0.0, math.sqrt(0.5)])
    # std 0.125, 0 and 0.25: signed, the two would cancel
    found = measure.errors(np.stack([less, more]), truth, vertices)
    assert found["fdd"] == pytest.approx(0.125)


def test_spread_by_hand() -> None:
    truth = face([0.0, 1.0], [0.0, 1.0])
    found = measure.motion([face([0.0, 1.0], [0.0, 0.5])], [truth])
    assert found["spread_upper"] == pytest.approx(0.5)
    assert found["spread_lower"] == pytest.approx(1.0)


def test_movement_against_the_recording() -> None:
    rng = np.random.default_rng(0)
    truth = face([0.0] * 90, rng.uniform(0, 1, 90).tolist())
    truth[30:34, [JAW, INDEX["eyeBlinkLeft"]]] = 0.9
    late = np.concatenate([truth[:2], truth[:-2]])
    found = measure.motion([late], [truth])
    assert found["lip_lag_ms"] == pytest.approx(2000 / 30, abs=2)
    assert found["blinks_shape"] == pytest.approx(0, abs=1e-6)
    assert found["spectrum_lower"] == pytest.approx(0, abs=1)
    assert measure.motion([truth / 10], [truth])["spectrum_upper"] == pytest.approx(20, abs=1)
    spectrum = measure.spectrum_of([truth])
    assert spectrum is not None
    assert len(spectrum.hz) == len(spectrum.upper) == len(spectrum.lower)
    assert spectrum.upper[-1] > 100 * spectrum.lower[-1]
    assert measure.spectrum_of([truth[:20]]) is None


def test_measure_by_hand(vertices: Vertices) -> None:
    truths = [face([0.0, 0.4], [0.0, 0.4]), face([0.0, 0.4], [0.0, 0.4])]
    clips = [
        models.clip("a", coefficients=truths[0], identity="ada", emotion="anger"),
        models.clip("b", coefficients=truths[1], identity="ben", emotion=None),
    ]
    shifted = truths[0] + face([0.1, 0.1], [0.0, 0.0])
    heard = [
        ClipSamples(np.stack([truths[0], shifted]), "ada", "anger"),
        ClipSamples(np.stack([truths[1], truths[1]]), "ada", "neutral"),
    ]
    found = measure.measure(heard, clips, vertices)
    assert found.mbe == pytest.approx((0.1 / 2 + 0) / 2)
    assert found.diversity_lower == pytest.approx(0.1 / 2)
    assert found.diversity_upper == 0
    # E|X - y| - 1/2 E|X - X'|: 0.05 - 0.05 in the first clip, 0 in the second
    assert found.energy_score == pytest.approx(0)
    assert found.spread_upper == pytest.approx(1)
    assert found.spread_lower == pytest.approx(1)
    # ada: precision 1/2, recall 1, F1 2/3; ben: never chosen
    assert found.identity_precision == pytest.approx(1 / 4)
    assert found.identity_recall == pytest.approx(1 / 2)
    assert found.identity_f1 == pytest.approx(1 / 3)
    assert found.emotion_f1 == 1  # the clip that names none is left out


def test_measured_faces_meet_their_own_truths(vertices: Vertices) -> None:
    # clips of unlike lengths and ranges: a mix-up of samples and truths would show in the spread
    clips = [models.clip(str(i), frames=10 + 5 * i, seed=i) for i in range(3)]
    clips[1].coefficients[:] *= 0.1
    heard = [ClipSamples(np.stack([c.coefficients] * 2), "ada", "anger") for c in clips]
    found = measure.measure(heard, clips, vertices)
    for key in ("mbe", "lbe", "lve", "eve", "fdd", "fdd_vertex", "energy_score", "diversity_upper"):
        assert getattr(found, key) == pytest.approx(0, abs=1e-6), key
    assert found.spread_upper == pytest.approx(1)


def test_floors_by_hand(vertices: Vertices) -> None:
    truth = face([0.0, 0.0], [0.0, 1.0])
    redraw = face([0.0, 0.0], [0.5, 0.5])
    expected = face([0.0, 0.0], [0.25, 0.75])
    found = measure.floors(
        [models.clip(coefficients=truth, redraw=redraw, expected=expected)], vertices
    )
    assert found is not None
    sampling, regression = found.sampling, found.regression
    assert sampling is not None
    assert regression is not None
    assert sampling.mbe == pytest.approx(0.5)
    assert sampling.mbe_of_mean is None  # of one draw, it would be no floor of several
    assert sampling.lbe == 0
    assert sampling.energy_score == pytest.approx(0.25)  # half the distance of two draws
    assert sampling.diversity_upper == pytest.approx(0.5)
    assert sampling.diversity_lower == 0
    assert sampling.spread_upper == pytest.approx(0)
    assert regression.mbe == pytest.approx(0.25)
    assert regression.energy_score == pytest.approx(0.25)  # a point: its score is its error
    assert regression.spread_upper == pytest.approx(0.5)


def test_a_perfect_sampler_lands_on_the_sampling_floor(vertices: Vertices) -> None:
    # a process with a mean and independent draws around it; the sampler draws from it too
    rng = np.random.default_rng(0)
    clips, heard = [], []
    for i in range(24):
        mean = rng.uniform(0.2, 0.8, (30, 52))
        draws = (mean + rng.normal(0, 0.1, (8, 30, 52))).astype(np.float32)
        clips.append(
            models.clip(
                str(i), coefficients=draws[0], redraw=draws[1], expected=mean.astype(np.float32)
            )
        )
        heard.append(ClipSamples(draws[2:], "ada", "anger"))
    floors, found = measure.floors(clips, vertices), measure.measure(heard, clips, vertices)
    assert floors is not None
    keys = ("mbe", "lbe", "energy_score", "diversity_upper", "diversity_lower", "spread_upper")
    for key in keys:
        assert getattr(found, key) == pytest.approx(getattr(floors.sampling, key), rel=0.02), key
    # the expected face errs less, by sqrt 2 for Gaussian draws, and still scores worse
    assert floors.regression.mbe == pytest.approx(found.mbe / math.sqrt(2), rel=0.02)
    assert floors.regression.energy_score > 1.3 * found.energy_score


def test_errors_signed_and_absolute_and_of_the_mean(vertices: Vertices) -> None:
    truth = np.zeros((4, 52), np.float32)
    truth[:, BROW] = [0, 1, 0, 1]  # std of squares .5
    still, wild = np.zeros_like(truth), 2 * truth  # 0, and 2
    found = measure.errors(np.stack([still, wild]), truth, vertices)
    assert found["fdd_signed"] == pytest.approx((0.5 - 1.5) / 2)
    assert found["fdd"] == pytest.approx((0.5 + 1.5) / 2)
    assert found["fdd_published"] == found["fdd_published_signed"] == 0  # which has no brows
    assert found["fdd_vertex_signed"] < 0 < found["fdd_vertex"]
    assert (found["mbe"], found["mbe_of_mean"]) == (pytest.approx(0.5), 0)


def test_lve_by_clips_and_by_frames(vertices: Vertices) -> None:
    clips = [models.clip("a", 10), models.clip("b", 30)]
    right = clips[0].coefficients, np.zeros((30, 52), np.float32)
    sampled = [ClipSamples(np.stack([face, face]), "ada", "anger") for face in right]
    found = measure.measure(sampled, clips, vertices)
    wrong = measure.clip_errors(sampled[1], clips[1], vertices)["lve"]
    assert found.lve == pytest.approx(wrong / 2)
    assert found.lve_frames == pytest.approx(wrong * 30 / 40)


def test_clips_by_label() -> None:
    about = {"name": "student-2", "steps": 2, "distilled": True, "split": "test_seen"}
    rows = [
        measure.clip_row(about, models.clip(name, emotion=emotion), {"mbe": error})
        for name, emotion, error in (("a", "joy", 1.0), ("b", None, 5.0), ("c", "joy", 3.0))
    ]
    found = {name: mean_error(own, "mbe") for name, own in by_label(rows, "emotion").items()}
    assert found == {"joy": 2.0, "unknown": 5.0}
    assert mean_error(rows, "lve") is None
    assert list(by_label(rows, "identity")) == ["ada"]


def test_the_redraw_itself_is_the_sampling_floor(vertices: Vertices) -> None:
    clips = [models.clip(str(i), seed=i) for i in range(4)]
    redraws = [np.stack([c.redraw, c.redraw]) for c in clips]
    found = measure.measure([ClipSamples(r, "ada", "anger") for r in redraws], clips, vertices)
    floors = measure.floors(clips, vertices)
    assert floors is not None
    for key in ("mbe", "lbe", "lbe_published", "fdd", "lve", "eve", "fdd_vertex", "spread_lower"):
        assert getattr(found, key) == pytest.approx(getattr(floors.sampling, key)), key


def test_floors_of_recordings_are_unknown(vertices: Vertices) -> None:
    found = measure.floors([models.clip(redraw=None), models.clip(expected=None)], vertices)
    assert found.sampling is found.regression is None
    assert found.recording is not None
    assert found.recording.mbe is None  # nothing to compare it with
    assert found.recording.blinks_per_minute is not None


def test_listening_to_a_teacher_and_a_student() -> None:
    for teacher in (True, False):
        talker = models.talker(teacher=teacher)
        for sampler in ("ddim", "ancestral"):
            one, two, three = (
                measure.embed_and_sample(talker, models.clip(), 2, sampler, seeds=2, seed=s)
                for s in (0, 0, 1)
            )
            assert one.samples.shape == (2, 20, 52)
            assert np.array_equal(one.samples, two.samples)
            assert not np.array_equal(one.samples, three.samples)
            assert one.identity == three.identity


def test_channels_of_the_rig_match_the_regions() -> None:
    assert JAW in LIP
    assert BROW in UPPER


# evaluate: what needs no cluster


def test_animate_and_its_clock() -> None:
    talker = models.talker(teacher=False)
    audio = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    one, two = (animate(talker, None, audio, 2, "ddim") for _ in range(2))
    assert one.shape == (15, 52)
    assert np.array_equal(one, two)
    calls: list[int] = []
    assert evaluate.median_seconds(lambda: calls.append(1), repeats=3) >= 0
    assert len(calls) == 5
