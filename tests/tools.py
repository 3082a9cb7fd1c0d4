"""Programs that tests start, and what else of a machine they need."""

import os
import shutil
from typing import NoReturn

import pytest


def tool(*names: str) -> str:
    """The path of the first of these that is installed; ``absent`` without one."""
    return next(filter(None, map(shutil.which, names)), None) or absent(
        f"no {names[0]} on the PATH"
    )


def absent(why: str) -> NoReturn:
    """Skip a test for what this machine lacks, and fail it where ``CI`` says that it must run."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(why)
    pytest.skip(why)
