"""Locations on disk, and what an s3:// address must look like; no server is asked."""

import errno
import gc
import json
import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.refusals import refusal

from diffusiontalker import storage
from diffusiontalker.corpus import data_folder

# Locations


def test_a_local_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert storage.location("runs/a") == tmp_path / "runs" / "a"
    assert storage.location(Path("runs")) == tmp_path / "runs"
    assert storage.location("~/runs") == tmp_path / "home" / "runs"
    assert storage.location("/a:b") == Path("/a:b")
    assert not storage.is_remote(storage.location("runs"))


def test_an_s3_address_is_a_location_with_the_methods_of_a_path() -> None:
    folder = storage.location("s3://bucket/runs/first")
    assert storage.is_remote(folder)
    assert storage.location(folder) is folder
    assert str(folder / "a.json") == "s3://bucket/runs/first/a.json"
    assert (folder / "a.json").parent == folder
    assert ((folder / "a.b.json").name, (folder / "a.b.json").suffix) == ("a.b.json", ".json")
    assert str(storage.location("s3://bucket")) in ("s3://bucket", "s3://bucket/")
    assert str(storage.location("s3://bucket/runs/") / "a") == "s3://bucket/runs/a"


KEYS = st.lists(
    st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1).filter(
        lambda part: part not in (".", "..")
    ),
    min_size=1,
    max_size=3,
)


@settings(deadline=None)  # the first example imports the packages
@given(KEYS)
def test_an_s3_key_is_taken_as_it_is_written(parts: list[str]) -> None:
    whole = storage.location("s3://bucket/" + "/".join(parts))
    assert whole.path == "bucket/" + "/".join(parts)
    joined = storage.location("s3://bucket")
    for part in parts:
        joined = joined / part
    assert joined.path == whole.path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gs://bucket/a", "gs:// is not known; give a local path or s3://bucket/..."),
        ("http://host/a", "http:// is not known"),
        ("S3://bucket/a", "S3:// is not known"),
        ("s3://", "names no bucket; write s3://bucket/prefix"),
        ("s3:///a", "names no bucket"),
        ("s3://bucket/../other", "'..' has no meaning in S3"),
        ("s3://bucket/a/..", "'..' has no meaning in S3"),
        ("~nobody-of-that-name/a", "there is no such user's folder"),
    ],
)
def test_an_address_that_leads_nowhere(text: str, said: str) -> None:
    message = refusal(lambda: storage.location(text))
    assert message.startswith(f"{text}: ")
    assert said in message


@pytest.mark.parametrize(
    ("text", "whole"), [("s3://b", True), ("s3://b/", True), ("s3://b/a", False), ("/", False)]
)
def test_a_bucket_is_known_by_its_missing_prefix(text: str, whole: bool) -> None:
    assert storage.is_bucket(storage.location(text)) is whole


def test_s3_without_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    message = refusal(lambda: storage.location("s3://bucket/a"))
    assert message.startswith("s3://bucket/a: S3 needs more packages")
    assert "pip install '.[s3]'" in message


def test_local_files_need_nothing_of_s3() -> None:
    probe = (
        "import sys; from diffusiontalker import storage; from pathlib import Path;"
        "storage.read_bytes(storage.location(sys.argv[1]));"
        "print({'s3fs', 'upath', 'botocore', 'tenacity', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, __file__], check=True, capture_output=True, text=True,
        env={"PYTHONPATH": ":".join(p for p in sys.path if p.endswith("platform"))},
    )  # fmt: skip
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", "1 h"])
def test_a_patience_that_is_no_number(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(storage.PATIENCE, text)
    path = storage.location("s3://bucket/a")
    message = refusal(lambda: storage.read_bytes(path))
    assert message.startswith(f"{storage.PATIENCE}={text}: write a number of seconds")


# Files


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    for content in (b"one", bytes(range(256)), b""):
        storage.write_bytes(path, content)
        assert storage.read_bytes(path) == content
        assert storage.is_file(path)
    assert list(tmp_path.iterdir()) == [path]
    assert not storage.is_file(tmp_path)
    storage.remove(path)
    storage.remove(path)  # nothing there is as well
    assert not storage.is_file(path)


def test_a_limit_is_checked_before_the_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(100))
    assert len(storage.read_bytes(path, limit=100)) == 100
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("was read"))
    message = refusal(lambda: storage.read_bytes(path, limit=99))
    assert message.startswith(f"{path}: 100 bytes, but at most 99 are read")
    missing = tmp_path / "no"
    assert refusal(lambda: storage.read_bytes(missing, limit=9)).startswith(
        f"cannot read {missing}"
    )


def test_text_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for content in ("żółć\r\n".encode(), "żółć\r\n".encode("utf-8-sig")):
        path.write_bytes(content)
        assert storage.read_text(path) == "żółć\r\n"
    path.write_bytes("żółć\r\n".encode("utf-16"))
    assert storage.read_text(path) == "żółć\r\n"
    for content in ("żółć".encode("utf-16")[:-1], "Grüße".encode("latin-1")):
        path.write_bytes(content)
        assert refusal(lambda: storage.read_text(path)).startswith(f"{path}: not UTF-8 text")


def test_json_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": [1, null]}')
    assert storage.read_json(path) == {"a": [1, None]}
    path.write_text('{"a": [1, nu')
    assert refusal(lambda: storage.read_json(path)).startswith(f"{path}: damaged, it is no JSON")


@pytest.mark.parametrize(
    ("action", "verb", "reason"),
    [
        (lambda f: storage.read_bytes(f / "no"), "read", "No such file"),
        (lambda f: storage.read_bytes(f), "read", "Is a directory"),
        (lambda f: storage.write_bytes(f / "no" / "a", b""), "write", "there is no folder"),
        (lambda f: storage.write_bytes(f / "folder", b""), "write", "Is a directory"),
        (lambda f: storage.make_folder(f / "file"), "write", "File exists"),
        (lambda f: storage.make_folder(f / "file" / "a"), "write", "Not a directory"),
        (lambda f: storage.empty_folder(f / "file"), "write", "File exists"),
        (lambda f: storage.remove(f / "folder"), "remove", "Is a directory"),
    ],
)
def test_what_cannot_be_done_is_said(
    tmp_path: Path, action: Callable[[Path], None], verb: str, reason: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    message = refusal(lambda: action(tmp_path))
    assert message.startswith(f"cannot {verb} {tmp_path}")
    assert reason in message
    assert {p.name for p in tmp_path.iterdir()} == {"file", "folder"}  # nothing half stays


@pytest.mark.parametrize("old", [b"old", None])
def test_a_disk_that_fills_up_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bytes | None
) -> None:
    path = tmp_path / "a.bin"
    if old is not None:
        path.write_bytes(old)
    whole = Path.write_bytes

    def half(self: Path, data: bytes) -> int:
        whole(self, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    message = refusal(lambda: storage.write_bytes(path, bytes(1000)))
    assert message == f"cannot write {path}: No space left on device"
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([] if old is None else [old])


# Folders


def test_sizes_tell_every_file_below(tmp_path: Path) -> None:
    (tmp_path / "b" / "deep").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    for name, count in (("b/deep/z.bin", 3), ("b/a.bin", 0), ("c.bin", 20)):
        (tmp_path / name).write_bytes(bytes(count))
    assert list(storage.sizes(tmp_path).items()) == [
        ("b/a.bin", 0),
        ("b/deep/z.bin", 3),
        ("c.bin", 20),
    ]
    assert storage.sizes(tmp_path / "empty") == {}
    for path in (tmp_path / "no", tmp_path / "c.bin"):
        assert refusal(lambda path=path: storage.sizes(path)) == f"{path}: no such folder"


def test_a_folder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "locked").mkdir()
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    for listing in (storage.sizes, data_folder.list_files):
        message = refusal(lambda listing=listing: listing(tmp_path))
        assert message == f"cannot read {tmp_path / 'locked'}: Permission denied"


def test_what_is_emptied_is_not_what_a_link_leads_to(tmp_path: Path) -> None:
    for name in ("mine", "there"):
        (tmp_path / name).mkdir()
    (tmp_path / "mine" / "a.wav").write_text("x")
    (tmp_path / "there" / "link").symlink_to(tmp_path / "mine")
    storage.empty_folder(tmp_path / "there")
    assert (tmp_path / "mine" / "a.wav").is_file()


def test_folders_are_copied_whole_and_emptied(tmp_path: Path) -> None:
    source, there, back = (tmp_path / name for name in ("source", "there", "back"))
    (source / "deep").mkdir(parents=True)
    (source / "a.json").write_text(json.dumps([1]))
    (source / "deep" / "b.bin").write_bytes(b"\0\1")
    storage.store(source, there)
    assert storage.sizes(there) == {"a.json": 3, "deep/b.bin": 2}
    assert storage.read_bytes(there / "deep" / "b.bin") == b"\0\1"
    back.mkdir()
    storage.fetch(there, back)  # the files directly in it
    assert storage.sizes(back) == {"a.json": 3}
    storage.empty_folder(there)
    assert storage.sizes(there) == {}
    storage.empty_folder(tmp_path / "new")
    assert (tmp_path / "new").is_dir()


def test_a_folder_is_removed_with_all_that_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    (folder / "b" / "c").mkdir(parents=True)
    (folder / "b" / "one").write_text("1")
    (tmp_path / "ab").write_text("a file beside it")
    storage.remove_folder(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["ab"]
    storage.remove_folder(folder)  # nothing there
    storage.remove_folder(tmp_path / "ab")  # no folder
    assert (tmp_path / "ab").exists()


def test_a_local_fault_is_not_tried_again(tmp_path: Path) -> None:
    calls = []

    def fails() -> None:
        calls.append(1)
        raise TimeoutError("a disk that hangs")

    message = refusal(lambda: storage.explained("read", tmp_path, fails))
    assert message == f"cannot read {tmp_path}: a disk that hangs"
    assert len(calls) == 1


def test_our_own_mistakes_are_not_taken_for_a_disks(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        storage.explained("read", tmp_path, lambda: 1 / 0)


# What Ray Train writes


def test_a_file_is_replaced_when_it_is_whole(tmp_path: Path) -> None:
    files, folder = storage.for_arrow(tmp_path)
    files = pickle.loads(pickle.dumps(files))  # which is sent to workers
    for content in (b"one", b"two"):
        with files.open_output_stream(f"{folder}/list.json") as file:
            file.write(content)
    assert [path.name for path in tmp_path.iterdir()] == ["list.json"]
    half = files.open_output_stream(f"{folder}/list.json")
    half.write(b"th")
    assert (tmp_path / "list.json").read_bytes() == b"two"
    with files.open_input_stream(f"{folder}/list.json") as file:
        assert file.read() == b"two"
    half.close()


def test_a_file_that_could_not_be_written_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even with a part of it: the system's write stops where the disk becomes full."""
    files, folder = storage.for_arrow(tmp_path)
    with files.open_output_stream(f"{folder}/list.json") as file:
        file.write(b"whole")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with (
            pytest.raises(OSError, match="too large"),
            files.open_output_stream(f"{folder}/list.json") as file,
        ):
            file.write(bytes(1500))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    files.open_output_stream(f"{folder}/list.json").write(b"never closed")
    gc.collect()
    assert (tmp_path / "list.json").read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["list.json"]
