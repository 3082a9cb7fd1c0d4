"""Sources by their kind: options, paths, links, and classes of the user's own."""

from pathlib import Path

import pytest
from tests.sets import KIND
from tests.unit.ingest_sets import items, settings, source_of, write_own_set

from diffusiontalker import config
from diffusiontalker.corpus import ingest
from diffusiontalker.corpus.ingest.take_reader import read_take
from diffusiontalker.corpus.sources import open_source, with_absolute_paths
from diffusiontalker.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_own_set(tmp_path)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("nonsense", "known are beat, 3d-etf, vocaset, folder"),
        ("no.such.module:Thing", "cannot be imported"),
        ("/no/such/file.py:Thing", "cannot be imported"),
        (KIND + "s", "cannot be imported"),
        (KIND.replace("Pairs", "Options"), "is not a Source"),
    ],
)
def test_a_kind_of_source_that_is_not_there(root: Path, kind: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        open_source(settings(root, f"source.kind={kind}").source)


def test_options_are_checked_by_the_source(root: Path) -> None:
    with pytest.raises(
        UserError, match=r"source.options: unknown setting 'fsp'; did you mean 'fps'"
    ):
        open_source(settings(root, "source.options.fsp=25").source)
    with pytest.raises(UserError, match=r"source\.root is needed"):
        open_source(settings(root, "source.root=''").source)


@pytest.mark.parametrize("name", ["../secret.wav", "/etc/passwd", "a/../../b", "a\\..\\..\\b"])
def test_names_lead_nowhere_else(root: Path, name: str) -> None:
    with pytest.raises(UserError, match="leads out of"):
        source_of(root).path(name)


def test_links_are_followed_and_those_to_nothing_are_listed(root: Path) -> None:
    away = root.parent / "disk"
    (root / "ann").rename(away)
    (root / "ann").symlink_to(away)
    (root / "bob/anger/0.wav").unlink()
    (root / "bob/anger/0.wav").symlink_to(root / "lost.wav")
    (root / "bob/anger/0.npy").unlink()
    found = ingest.inspect(settings(root), root.parent / "out")
    assert len(found.listing.takes) == 23
    assert [name for name, _ in found.listing.skipped] == ["notes.txt", "bob/anger/0.wav"]
    assert all(read_take(source_of(root), i, settings(root))[0] for i in items(root))


def test_a_source_of_nothing_but_dead_links_says_so(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for name in ("one.wav", "one.csv"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "cache" / name)
    chosen = settings(tmp_path / "set", "source.kind=folder")
    with pytest.raises(UserError, match=r"no take; .*one\.csv: a link to .*, which is not there"):
        ingest.inspect(chosen, tmp_path / "out")


def test_workers_in_other_folders_get_absolute_paths(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    given = config.SourceSettings(kind="vocaset", root="set", options={"rig": "r.npz", "fps": 30})
    assert with_absolute_paths(given).model_dump() == {
        "kind": "vocaset",
        "root": str(tmp_path / "set"),
        "options": {"rig": str(tmp_path / "r.npz"), "fps": 30},
    }
    (tmp_path / "own.py").write_text(Path(KIND.partition(":")[0]).read_text())
    own = config.SourceSettings(kind="own.py:Pairs", root="s3://bucket/x")
    assert with_absolute_paths(own).kind == f"{tmp_path}/own.py:Pairs"
    assert with_absolute_paths(own).root == "s3://bucket/x"
