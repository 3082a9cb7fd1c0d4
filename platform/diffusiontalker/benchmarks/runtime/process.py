"""Import time and peak memory of the runtime, each measured in a fresh process."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np

import diffusiontalker
from diffusiontalker.audio import SAMPLE_RATE

IMPORT = """
import time
started = time.perf_counter()
from diffusiontalker.runtime.student import Student
print(time.perf_counter() - started)
"""
ANIMATE = """
import sys
import numpy as np
from diffusiontalker.runtime.student import Student
folder, speech, count, rate = sys.argv[1:]
Student(folder).animate(np.resize(np.load(speech), int(count)), int(rate))
status = open("/proc/self/status").read().splitlines()
print(next(line.split()[1] for line in status if line.startswith("VmHWM:")))
"""
"""Not ``ru_maxrss``: a new process inherits that of its parent."""


def import_seconds(repeats: int = 5) -> float:
    """Median seconds of importing the runtime; one more comes first, to warm the disk cache."""
    found = [float(_python(IMPORT)) for _ in range(repeats + 1)]
    return median(found[1:])


def peak_bytes(artifact: Path, samples: np.ndarray, seconds: float) -> int | None:
    """Peak memory of a process that animates ``seconds`` of speech and does nothing else.

    ``samples`` (n,) at 16 kHz are repeated for so long. None on other systems than Linux.
    """
    if not Path("/proc/self/status").is_file():
        return None
    with tempfile.TemporaryDirectory(prefix="speech-") as name:
        speech = Path(name) / "speech.npy"
        np.save(speech, samples)
        count = round(seconds * SAMPLE_RATE)
        return 1024 * int(
            _python(ANIMATE, str(artifact), str(speech), str(count), str(SAMPLE_RATE))
        )


def _python(code: str, *arguments: str) -> str:
    """Output of a fresh interpreter that imports this copy of the package."""
    root = str(Path(diffusiontalker.__file__).parents[1])
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout
