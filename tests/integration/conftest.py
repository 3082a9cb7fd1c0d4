"""A browser, and the page with its packages, for all tests that need them."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
from tests.browsing import speech
from tests.tools import tool
from tests.unit import models

from diffusiontalker.animation.heads import head_glb
from diffusiontalker.export import artifact

WEB = Path(__file__).parents[2] / "web"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--enable-unsafe-swiftshader",  # WebGL on the CPU
    "--disable-background-networking",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)


# Not for the session: while Playwright runs, asyncio.run is refused in the same thread.
@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium, whose microphone hears ``speech`` again and again."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = tool(*CHROMIUM)
    heard = tmp_path_factory.mktemp("microphone") / "speech.wav"
    soundfile.write(heard, speech(4.0, 48_000), 48_000, subtype="PCM_16")
    flags = (*FLAGS, f"--use-file-for-fake-audio-capture={heard}")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of web/ with its packages, the head, and two students of random weights: ``student``,
    and ``whole``, which hears whole recordings alone."""
    npm = tool("npm")
    folder = tmp_path_factory.mktemp("web") / "web"
    left = shutil.ignore_patterns("node_modules", "student")
    shutil.copytree(WEB, folder, ignore=left)
    made = subprocess.run(
        [npm, "ci", "--no-audit", "--no-fund", "--prefer-offline"],
        cwd=folder, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    (folder / "head.glb").write_bytes(head_glb())
    artifact.export(models.talker(teacher=False), 2, folder / "student", "# A student\n")
    whole = models.talker(teacher=False, look_ahead=None)
    artifact.export(whole, 1, folder / "whole", "# A student\n")
    return folder
