"""The documents against the repository: links, files and settings of commands, quoted figures."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from diffusiontalker import config

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    ROOT / name
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "web/README.md",
        "web/examples/README.md",
    )
] + sorted((ROOT / "docs").glob("*.md"))
FIGURES = ROOT / "docs" / "figures.md"
LOADERS = {
    "jobs/compare.py": config.CompareSettings,
    "jobs/distill.py": config.Settings,
    "jobs/train.py": config.Settings,
    "jobs/prepare.py": config.DataSettings,
    "jobs/sweep.py": config.SweepSettings,
}


def test_no_figure_is_left_to_be_filled_in() -> None:
    for document in DOCUMENTS:
        assert not re.search(r"@[A-Z]+@", document.read_text(encoding="utf-8")), document.name


def blocks(text: str) -> list[str]:
    """The content of fenced blocks that name no language: what people type."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [content for language, content in fenced if not language]


def commands() -> Iterator[tuple[Path, list[str]]]:
    """Every command of the documents that runs a job, split into words, without its comment."""
    for document in DOCUMENTS:
        for block in blocks(document.read_text(encoding="utf-8")):
            for line in re.sub(r"\\\n\s*", "", block).splitlines():
                if "python jobs/" in line:
                    yield document, shlex.split(line, comments=True)


def anchors(text: str) -> set[str]:
    """Anchors of headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, anchor = target.partition("#")
        file = document.parent / name if name else document
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), target


def test_commands_name_files_that_are_there() -> None:
    named = [(d, word) for d, words in commands() for word in words]
    assert ("README.md", "configs/large.yaml") in {(d.name, word) for d, word in named}
    for document, word in named:
        if re.fullmatch(r"(configs|jobs)/[\w/.-]+", word):
            assert (ROOT / word).is_file(), f"{document.name}: {word}"


def test_the_settings_of_commands_are_settings() -> None:
    tried = 0
    for document, words in commands():
        job = next((word for word in words if word in LOADERS), None)
        if job is None:
            continue
        rest = words[words.index(job) + 1 :]
        file = rest[rest.index("--config") + 1] if "--config" in rest else None
        if file is not None and file.startswith("runs/"):
            continue  # which a job writes
        given = [word for word in rest if re.match(r"[\w.]+=", word)]
        overrides = [word.replace("=...", "=a/folder/of/yours") for word in given]
        assert config.load_as(LOADERS[job], ROOT / file if file else None, overrides), document
        tried += 1
    assert tried >= 8


def test_the_recording_of_commands_is_the_demo_s() -> None:
    for document in DOCUMENTS:
        for block in blocks(document.read_text(encoding="utf-8")):
            for path in re.findall(r"[\w/]*\bspeech\.wav", block):
                assert path == "runs/quickstart/sample/speech.wav", f"{document.name}: {path}"


def test_the_environment_is_activated_before_it_is_needed() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first = min(text.index(f"\n{word} ") for word in ("python", "ray", "curl"))
    assert text.index(". .venv/bin/activate") < first


def test_quoted_figures_are_those_of_their_one_home() -> None:
    home = FIGURES.read_text(encoding="utf-8")
    quoted = 0
    for document in DOCUMENTS:
        if document in (FIGURES, ROOT / "CHANGELOG.md"):
            continue
        for paragraph in document.read_text(encoding="utf-8").split("\n\n"):
            figures = re.findall(r"\d[\d,.]*(?= frames/s)", paragraph)
            if "LBE" in paragraph and "max_growth" not in paragraph:
                figures += re.findall(r"\d[\d.]*(?= % above)", paragraph)
            for figure in figures:
                assert re.search(rf"(?<![\d,.]){re.escape(figure)}(?![\d,.]*\d)", home), (
                    f"{document.name}: {figure} is not in figures.md"
                )
                quoted += 1
    assert quoted >= 6
