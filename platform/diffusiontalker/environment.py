"""What a result was made with: versions, commit and hardware."""

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from diffusiontalker import __version__

PACKAGES = ("torch", "ray", "transformers", "numpy", "pyarrow", "onnxruntime", "openfacefx")
"""Those that determine the results of a run."""


def environment() -> dict[str, Any]:
    """Of a run, for ``environment.json`` and ``summary.json``."""
    return {
        "diffusiontalker": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        **_versions(PACKAGES),
    }


def machine(packages: Sequence[str]) -> dict[str, Any]:
    """Of a benchmark: processor, cores and versions, those of ``packages`` too."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "diffusiontalker": __version__,
        **_versions(packages),
    }


def processor(info: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, of Linux's ``cpuinfo`` where there is one."""
    lines = info.read_text().splitlines() if info.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def commit() -> str | None:
    """The commit of the working tree this code runs from, if it is one."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty"],
            capture_output=True, text=True, timeout=5,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def _versions(packages: Sequence[str]) -> dict[str, str]:
    return {name: version(name) for name in packages}
