"""A data set's files: links to other disks, in circles and to nothing, and what else lies there."""

import os
from pathlib import Path

import pytest
from tests.refusals import refusal

from diffusiontalker.corpus import data_folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """``ann/1.wav``, and a folder outside with ``2.wav``."""
    (tmp_path / "set" / "ann").mkdir(parents=True)
    (tmp_path / "disk" / "deep").mkdir(parents=True)
    (tmp_path / "set" / "ann" / "1.wav").write_text("one")
    (tmp_path / "disk" / "deep" / "2.wav").write_text("2")
    return tmp_path / "set"


def found(root: Path) -> tuple[dict[str, int], dict[str, str]]:
    """Sizes by name, and what was left out."""
    seen = data_folder.list_files(root)
    return {name: file.bytes for name, file in seen.files.items()}, dict(seen.left_out)


def test_links_lead_to_other_disks(root: Path) -> None:
    (root / "bob").symlink_to(root.parent / "disk")
    (root / "3.wav").symlink_to(root.parent / "disk" / "deep" / "2.wav")
    assert found(root) == ({"3.wav": 1, "ann/1.wav": 3, "bob/deep/2.wav": 1}, {})


def test_the_root_may_be_a_link(root: Path) -> None:
    (root.parent / "link").symlink_to(root)
    assert found(root.parent / "link") == ({"ann/1.wav": 3}, {})


def test_a_link_to_nothing_is_named_with_the_mend(root: Path) -> None:
    (root / "lost.wav").symlink_to(".dvc/cache/ab/cdef")
    (root / "gone").symlink_to(root / "away", target_is_directory=True)
    files, left_out = found(root)
    assert files == {"ann/1.wav": 3}
    assert "a link to .dvc/cache/ab/cdef, which is not there; fetch it" in left_out["lost.wav"]
    assert left_out.keys() == {"lost.wav", "gone"}


def test_no_walk_is_endless(root: Path) -> None:
    (root / "ann" / "up").symlink_to(root)
    (root / "ann" / "here").symlink_to(root / "ann")
    (root / "all").symlink_to("/")
    (root / "knot").symlink_to(root / "knot")
    files, left_out = found(root)
    assert files == {"ann/1.wav": 3}
    assert left_out == {
        "ann/up": "a link to a folder that holds this data set: not followed",
        "ann/here": "the same folder as ann",
        "all": "a link to a folder that holds this data set: not followed",
        "knot": "a link that leads in a circle",
    }


def test_a_folder_counts_once_and_under_its_plainest_name(root: Path) -> None:
    (root / ".store" / "x").mkdir(parents=True)
    (root / ".store" / "x" / "4.wav").write_text("four")
    (root / "data").symlink_to(root / ".store" / "x")
    (root / "Again").symlink_to(root / "ann")
    files, left_out = found(root)
    assert files == {"ann/1.wav": 3, "data/4.wav": 4}
    assert left_out == {".store/x": "the same folder as data", "Again": "the same folder as ann"}


def test_what_is_no_file_is_not_opened(root: Path) -> None:
    os.mkfifo(root / "pipe.wav")
    (root / "zeros.wav").symlink_to("/dev/zero")
    assert found(root)[1] == dict.fromkeys(("pipe.wav", "zeros.wav"), "neither a file nor a folder")


def test_a_name_that_no_table_can_hold_is_left_out(root: Path) -> None:
    for name in (b"caf\xe9.wav", b"fol\xe9"):
        os.mkdir(os.fsencode(root) + b"/" + name)
    files, left_out = found(root)
    assert files == {"ann/1.wav": 3}
    assert left_out.keys() == {"caf?.wav", "fol?"}


def test_another_content_has_another_stamp(root: Path) -> None:
    path = root / "ann" / "1.wav"
    before = data_folder.list_files(root).files["ann/1.wav"]
    assert data_folder.list_files(root).files["ann/1.wav"] == data_folder.file_info(path) == before
    path.write_text("two")
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert data_folder.list_files(root).files["ann/1.wav"] != before
    assert data_folder.file_info(path).bytes == 3


def test_no_folder(root: Path) -> None:
    for path in (root / "none", root / "ann" / "1.wav"):
        assert refusal(lambda path=path: data_folder.list_files(path)) == f"{path}: no such folder"
