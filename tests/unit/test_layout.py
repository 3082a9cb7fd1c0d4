"""The shape of the repository: what no linter sees and a careless commit would break."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "platform" / "diffusiontalker"

# Written in two halves, so that this file does not match itself.
REGISTRY_HOSTS = tuple(
    f"{name}.{domain}"
    for name, domain in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("download.pytorch", "org"),
        ("conda.anaconda", "org"),
        ("registry.npmjs", "org"),
        ("registry.yarnpkg", "com"),
        ("deb.debian", "org"),
        ("security.debian", "org"),
        ("proxy.golang", "org"),
        ("static.crates", "io"),
    )
)


def imported_roots(source: str) -> Iterator[str]:
    """Top-level names that a module imports, wherever in the module the import stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def repository_files() -> list[Path]:
    """Files that are tracked or about to be; skips where there is no git checkout."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in files if path.is_file()]


def canonical(name: str) -> str:
    """A distribution's name as the packaging specification normalises it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_source_root_is_not_a_package():
    assert not (ROOT / "platform" / "__init__.py").exists(), (
        "platform/__init__.py would hide the standard library's platform module"
    )


def test_standard_library_platform_wins_in_the_root():
    # With -c the current folder stands first on sys.path, as it does for every job.
    code = "import platform, uuid; platform.system(); print(platform.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not Path(done.stdout.strip()).is_relative_to(ROOT / "platform")


def test_no_file_names_a_package_registry():
    found = [
        f"{path.relative_to(ROOT)}: {host}"
        for path in repository_files()
        if b"\0" not in (content := path.read_bytes())
        for host in REGISTRY_HOSTS
        if host.encode() in content
    ]
    assert found == []


def test_imported_roots_tells_ray_serve_from_ours():
    assert set(imported_roots("from ray import serve\nfrom . import jobs\n")) == {"ray"}
    assert set(imported_roots("def f():\n    from serve.app import app\n")) == {"serve"}
    assert set(imported_roots("import os, jobs.distill as job\n")) == {"os", "jobs"}


def test_package_does_not_import_its_entry_points():
    guilty = [
        str(path.relative_to(ROOT))
        for path in sorted(PACKAGE.rglob("*.py"))
        if {"jobs", "serve"} & set(imported_roots(path.read_text(encoding="utf-8")))
    ]
    assert guilty == []


def test_a_job_is_a_page():
    """80 lines, or 15 for each of several commands."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "jobs").glob("*.py")}
    long = [
        name
        for name, text in texts.items()
        if len(text.splitlines()) > max(80, 15 * text.count("\ndef "))
    ]
    assert long == []


def test_every_declared_dependency_is_pinned_plainly():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    # name==version only: no local version (+cpu), no address, no path.
    unusual = [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)]
    assert unusual == []

    with (ROOT / "pyproject.toml").open("rb") as file:
        pyproject = tomllib.load(file)
    project = pyproject["project"]
    declared = [*project["dependencies"], *pyproject["build-system"]["requires"]]
    for extra in project["optional-dependencies"].values():
        declared += extra
    names = {canonical(re.split(r"[^\w.-]", requirement)[0]) for requirement in declared}
    ours = {project["name"]}  # by which one extra includes others
    assert names - ours - {canonical(pin.partition("==")[0]) for pin in pins} == set()


def test_what_is_to_be_installed_is_ours_and_exists():
    """By its name alone pip would fetch whatever somebody else puts on an index under it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    by_name, extras = [], set()
    for path in repository_files():
        if b"\0" in (content := path.read_bytes()):
            continue
        text = content.decode()
        if re.search(rf"pip install[^\n]*['\" ]{project['name']}\b(?!-\d)", text):
            by_name.append(str(path.relative_to(ROOT)))
        for listed in re.findall(r"pip install [^\n]*?'?\.\[([\w,]+)\]", text):
            extras |= set(listed.split(","))
    assert by_name == []
    assert {"client", "glb", "platform"} <= extras <= set(project["optional-dependencies"])


def test_the_wheel_asks_for_no_newest_python():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == ">=3.11"
