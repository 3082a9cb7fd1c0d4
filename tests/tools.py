"""Programs that tests start."""

import os
import shutil

import pytest


def tool(*names: str) -> str:
    """The path of the first of these that is installed. Without one a test is skipped, and fails
    where ``CI`` says that it must not be."""
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        why = f"no {names[0]} on the PATH"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(why)
        pytest.skip(why)
    return path
