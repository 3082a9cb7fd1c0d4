"""An artifact on recordings of people: measures of lips, jaw and blinks, and curves to look at."""

import numpy as np

from diffusiontalker import storage
from diffusiontalker.benchmarks.human import page
from diffusiontalker.benchmarks.human.figures import Report, aims, measure
from diffusiontalker.benchmarks.human.recordings import Recording, read_recordings
from diffusiontalker.config import HumanBenchmarkSettings
from diffusiontalker.environment import machine
from diffusiontalker.runtime.student import Student
from diffusiontalker.training.progress import StageDisplay


def run(settings: HumanBenchmarkSettings) -> Report:
    """Animate and measure every recording; write ``human.json`` and ``human.html``.

    Raises:
        UserError: no such artifact, or as ``read_recordings``.
    """
    recordings = read_recordings(settings.recordings)
    student = Student(settings.model)
    out = storage.location(settings.out)
    storage.make_folder(out)
    with StageDisplay("animate") as display:
        faces = []
        for number, one in enumerate(recordings):
            display.update(number / len(recordings), one.name)
            made = student.animate(one.samples, one.rate, seed=settings.seed, where=one.name)
            faces.append(made.coefficients)
    pooled = measure(faces, [one.phones for one in recordings])
    report = Report(
        machine=machine(("numpy", "onnxruntime")),
        settings=settings,
        pooled=pooled,
        recordings={
            one.name: measure([face], [one.phones])
            for one, face in zip(recordings, faces, strict=True)
        },
        aims=aims(pooled),
    )
    storage.write_json(out / "human.json", report.model_dump(mode="json"))
    page.write_page(out / "human.html", report, _longest(recordings, faces, settings.plotted))
    return report


def _longest(
    recordings: list[Recording], faces: list[np.ndarray], count: int
) -> list[tuple[Recording, np.ndarray]]:
    pairs = list(zip(recordings, faces, strict=True))
    return sorted(pairs, key=lambda pair: -pair[0].seconds)[:count]
