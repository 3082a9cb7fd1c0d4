"""A browser, the page with its packages, and Ray beside S3, for all tests that need them."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import soundfile
from tests import s3
from tests.browsing import speech
from tests.tools import tool
from tests.unit import models

from diffusiontalker import cluster
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


class Shared:
    """A Ray cluster and an S3 server, which its workers know."""

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.server: s3.Server | None = None

    def open(self, folder: Path) -> s3.Server:
        """Both, unless they are open."""
        if self.server is None:
            server = self.stack.enter_context(s3.running(folder))
            with pytest.MonkeyPatch.context() as patch:
                patch.delenv("RAY_ADDRESS", raising=False)
                for name, value in server.environment.items():
                    patch.setenv(name, value)
                self.stack.enter_context(cluster.session())
            self.server = server
        return self.server

    def close(self) -> None:
        """Both, if they are open."""
        self.server = None
        self.stack.close()


shared = Shared()


@contextmanager
def open_ray_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.Server]:
    """An S3 server with the environment set to reach it, in a session of Ray. The next test finds
    both as they are, if it asks for them: a Ray takes 7 s of CPU to start, and each of its workers
    some more."""
    server = shared.open(tmp_path_factory.mktemp("shared") / "s3")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        s3.forget_clients()
        yield server
    s3.forget_clients()


@pytest.fixture
def ray_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.Server]:
    """``open_ray_s3`` for a test."""
    with open_ray_s3(tmp_path_factory) as server:
        yield server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files whose tests share Ray come one after the other, before all others."""
    sharing = {item.path for item in items if "ray_s3" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: item.path not in sharing)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """Tests that count processes, or start a Ray of their own, find none."""
    if "ray_s3" not in getattr(nextitem, "fixturenames", ()):
        shared.close()
