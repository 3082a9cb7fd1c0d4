"""The machine and the versions of a measurement."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from diffusiontalker import __version__


def machine(packages: Sequence[str]) -> dict[str, Any]:
    """Processor, cores and versions, those of ``packages`` too."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "diffusiontalker": __version__,
        **{name: version(name) for name in packages},
    }


def processor(info: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, of Linux's ``cpuinfo`` where there is one."""
    lines = info.read_text().splitlines() if info.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
