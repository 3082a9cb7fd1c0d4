"""Every location in S3, on a real server: refused, killed, started again, and run on as on disk."""

import pickle
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from pyarrow.fs import FileSelector, FileType
from serve.settings import ServeSettings
from tests import jobs, s3
from tests.refusals import refusal
from tests.served import serving, wav
from tests.students import random_student
from tests.tiny import CONFIG

from diffusiontalker import storage
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import Manifest, open_corpus, verify, write_manifest
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.export import artifact
from diffusiontalker.runtime.artifact import read_config
from diffusiontalker.runtime.student import Student

Environment = pytest.MonkeyPatch


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.Server]:
    with s3.running(tmp_path_factory.mktemp("s3") / "server") as running:
        yield running


@pytest.fixture
def folder(server: s3.Server, monkeypatch: Environment) -> Iterator[Path]:
    """A prefix in a bucket of its own, with the environment set to reach it."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    s3.forget_clients()
    yield storage.location(f"s3://{server.bucket()}/some/prefix")
    s3.forget_clients()


def bucket_of(folder: Path) -> str:
    return str(folder).split("/")[2]


# Files and folders


def test_what_is_written_is_read_listed_and_removed(server: s3.Server, folder: Path) -> None:
    contents = {
        "a.bin": bytes(range(256)),
        "deep/er/b.bin": np.random.default_rng(0).bytes(12_000_000),
        "empty": b"",
        "a b+c%20 #?&ü.txt": "żółć".encode(),
    }
    storage.make_folder(folder)
    for name, content in contents.items():
        storage.write_bytes(folder / name, b"old")
        storage.write_bytes(folder / name, content)
    assert server.objects(bucket_of(folder)) == {f"some/prefix/{k}": v for k, v in contents.items()}
    assert storage.sizes(folder) == {k: len(contents[k]) for k in sorted(contents)}
    for name, content in contents.items():
        assert storage.read_bytes(folder / name) == content
        assert storage.is_file(folder / name)
    assert storage.read_text(folder / "a b+c%20 #?&ü.txt") == "żółć"
    for absent in (folder, folder / "deep", folder / "a.bi", folder / "a.bin" / "x"):
        assert not storage.is_file(absent)
    for _ in range(2):  # nothing there is as well
        storage.remove(folder / "a.bin")
        assert not storage.is_file(folder / "a.bin")
    storage.empty_folder(folder)
    assert server.objects(bucket_of(folder)) == {}
    storage.empty_folder(folder)


def test_a_folder_goes_there_and_back(folder: Path, tmp_path: Path) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    (source / "deep").mkdir(parents=True)
    (source / "a.json").write_text("[1]")
    (source / "deep" / "b.bin").write_bytes(b"\0\1")
    storage.store(source, folder)
    assert storage.sizes(folder) == {"a.json": 3, "deep/b.bin": 2}
    back.mkdir()
    storage.fetch(folder, back)  # the files directly in it
    assert storage.sizes(back) == {"a.json": 3}
    assert storage.read_json(folder / "a.json") == [1]


def test_objects_that_stand_for_folders_are_no_files(server: s3.Server, folder: Path) -> None:
    for key in ("some/prefix/", "some/prefix/sub/"):
        server.client().put_object(Bucket=bucket_of(folder), Key=key, Body=b"")
    message = refusal(lambda: storage.sizes(folder))
    assert message == f"{folder}: no such folder"
    storage.write_bytes(folder / "sub" / "a", b"a")
    assert storage.sizes(folder) == {"sub/a": 1}


def test_what_is_not_there_is_said(folder: Path) -> None:
    path = folder / "no.bin"
    assert refusal(lambda: storage.read_bytes(path)).startswith(f"cannot read {path}: no such file")
    assert refusal(lambda: storage.sizes(folder)) == f"{folder}: no such folder"
    storage.write_bytes(path, bytes(100))
    message = refusal(lambda: storage.read_bytes(path, limit=99))
    assert message.startswith(f"{path}: 100 bytes, but at most 99 are read")
    elsewhere = storage.location(f"s3://{bucket_of(folder)}-other/a")
    for action in (
        lambda: storage.read_bytes(elsewhere),
        lambda: storage.write_bytes(elsewhere, b""),
        lambda: storage.make_folder(elsewhere),
        lambda: storage.sizes(elsewhere),
    ):
        said = refusal(action)
        assert f"has no bucket '{bucket_of(folder)}-other'; make it first" in said


MISTAKES = {
    "wrong-secret": ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "check AWS_ACCESS_KEY_ID"),
    "unknown-key": ({"AWS_ACCESS_KEY_ID": "unknown"}, "check AWS_ACCESS_KEY_ID"),
    "no-credentials": (
        {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None},
        "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    ),
    "half-credentials": ({"AWS_SECRET_ACCESS_KEY": None}, "no credentials"),
    "no-address": ({"AWS_ENDPOINT_URL": "127.0.0.1"}, "is not an address; write it as http://host"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_wrong_credentials_are_said_at_once(
    folder: Path, mistake: str, monkeypatch: Environment
) -> None:
    changes, said = MISTAKES[mistake]
    for name, value in changes.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    # Nothing of the machine's own: no profile of its user, no role of its cloud.
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3.forget_clients()
    path = storage.location(str(folder / "a"))
    started = time.monotonic()
    for action in (
        lambda: storage.make_folder(path),
        lambda: storage.read_bytes(path),
        lambda: storage.write_bytes(path, b"a"),
        lambda: storage.is_file(path),
        lambda: storage.sizes(path),
        lambda: storage.remove(path),
    ):
        message = refusal(action)
        assert str(path) in message
        assert said in message
    assert time.monotonic() - started < 8  # patience is 30 s


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "https://127.0.0.1:{s3}"])
def test_a_wrong_address_is_said_when_patience_ends(
    server: s3.Server, folder: Path, address: str, monkeypatch: Environment
) -> None:
    address = address.format_map(server.ports)
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    monkeypatch.setenv(storage.PATIENCE, "1")
    s3.forget_clients()
    path = storage.location(str(folder / "a"))
    started = time.monotonic()
    message = refusal(lambda: storage.read_bytes(path))
    assert message.startswith(f"cannot read {path}: {address} does not answer")
    assert "check AWS_ENDPOINT_URL" in message
    assert time.monotonic() - started < 10


# A server that goes away


@contextmanager
def outage(server: s3.Server, seconds: float = 2.0) -> Iterator[threading.Event]:
    """Kill the server now and start it again a little later; the event says that it is back."""
    back = threading.Event()

    def restart() -> None:
        time.sleep(seconds)
        server.start()
        back.set()

    server.kill()
    thread = threading.Thread(target=restart)
    thread.start()
    try:
        yield back
    finally:
        thread.join()


def corpus_of(folder: Path, count: int = 6) -> Manifest:
    """A set of small shards."""
    rng = np.random.default_rng(0)
    infos = []
    for number in range(count):
        clips = [
            Clip(
                id=f"{number}-{i}", identity="ada", emotion=None, split="train", text=None,
                audio=rng.uniform(-1, 1, 16_000).astype(np.float32),
                coefficients=rng.random((30, 52), np.float32),
            )
            for i in range(4)
        ]  # fmt: skip
        infos.append(shards.write_shard(folder / f"train-{number:05d}.parquet", clips))
    manifest = Manifest("hand", infos, ["ada"], [])
    write_manifest(folder, manifest)
    return manifest


def test_reading_goes_on_when_the_server_is_back(server: s3.Server, folder: Path) -> None:
    manifest = corpus_of(folder)
    longest = 0.0
    with outage(server) as back:
        last = False
        while not last:
            last = back.is_set()
            for shard in manifest.shards:
                started = time.monotonic()
                by_column = shards.read_table(folder / shard.file, ["id", "coefficients"])
                whole = shards.read_table(folder / shard.file, sha256=shard.sha256)
                assert by_column.equals(whole.select(["id", "coefficients"]))
                longest = max(longest, time.monotonic() - started)
            assert open_corpus(folder) == manifest
    assert longest > 1.0  # or the server was not missed at all


def test_a_read_under_way_is_begun_again(server: s3.Server, folder: Path) -> None:
    content = np.random.default_rng(0).bytes(60_000_000)
    storage.write_bytes(folder / "large", content)
    killer = threading.Timer(0.02, lambda: (server.kill(), time.sleep(1), server.start()))
    started = time.monotonic()
    killer.start()
    for _ in range(3):
        assert storage.read_bytes(folder / "large") == content
    assert time.monotonic() - started > 1.0
    killer.join()


def test_writing_goes_on_when_the_server_is_back(server: s3.Server, folder: Path) -> None:
    written: dict[str, bytes] = {}
    longest = 0.0
    with outage(server) as back:
        last = False
        while not last:
            last = back.is_set()
            name = f"{len(written):05d}"
            started = time.monotonic()
            storage.write_bytes(folder / name, name.encode() * 1000)
            longest = max(longest, time.monotonic() - started)
            written[f"some/prefix/{name}"] = name.encode() * 1000
    assert longest > 1.0
    found = server.objects(bucket_of(folder))
    assert {key: found.get(key) for key in written} == written


@pytest.mark.parametrize("old", [b"old", None])
def test_what_cannot_be_written_leaves_nothing_half(
    server: s3.Server, folder: Path, old: bytes | None, monkeypatch: Environment
) -> None:
    monkeypatch.setenv(storage.PATIENCE, "1")
    if old is not None:
        storage.write_bytes(folder / "a", old)
    new = bytes(60_000_000)
    killer = threading.Timer(0.02, server.kill)  # in the middle of the upload
    killer.start()
    message = refusal(lambda: storage.write_bytes(folder / "a", new))
    killer.join()
    assert message.startswith(f"cannot write {folder / 'a'}: {server.endpoint} does not answer")
    message = refusal(lambda: storage.read_bytes(folder / "a"))
    assert message.startswith(f"cannot read {folder / 'a'}: {server.endpoint} does not answer")
    server.start()
    expected = {} if old is None else {"some/prefix/a": old}
    assert server.objects(bucket_of(folder)) == expected


def test_ray_trains_files_are_patient_too(
    server: s3.Server, folder: Path, monkeypatch: Environment
) -> None:
    files, root = pickle.loads(pickle.dumps(storage.for_arrow(folder)))
    content = np.random.default_rng(0).bytes(3_000_000)

    def write(name: str) -> None:
        with files.open_output_stream(f"{root}/{name}") as stream:
            for start in range(0, len(content), 1_000_000):
                stream.write(content[start : start + 1_000_000])

    with outage(server, 1.0):
        write("run/a")
    with outage(server, 1.0):
        assert files.open_input_stream(f"{root}/run/a").read() == content
    with outage(server, 1.0):
        found = files.get_file_info(FileSelector(f"{root}/run", recursive=True))
    assert [(info.base_name, info.size) for info in found if info.is_file] == [("a", len(content))]
    files.delete_dir(f"{root}/run")
    assert files.get_file_info(f"{root}/run/a").type == FileType.NotFound
    with pytest.raises(FileNotFoundError):
        files.open_input_stream(f"{root}/no")
    monkeypatch.setenv(storage.PATIENCE, "1")
    server.kill()
    for action in (lambda: write("b"), lambda: files.get_file_info(f"{root}/b")):
        said = refusal(action)
        assert said.startswith(f"cannot use {folder}: {server.endpoint} does not answer")
    server.start()
    assert server.objects(bucket_of(folder)) == {}


# Corpora


def test_a_corpus_in_s3_is_opened_and_read_by_columns(folder: Path, tmp_path: Path) -> None:
    manifest = corpus_of(folder, 2)
    (tmp_path / "local").mkdir()
    assert corpus_of(tmp_path / "local", 2) == manifest
    assert open_corpus(folder) == manifest
    for shard in manifest.shards:
        local = shards.read_table(tmp_path / "local" / shard.file)
        assert shards.read_table(folder / shard.file).equals(local)
        assert shards.read_table(folder / shard.file, ["id", "frames"]).equals(
            local.select(["id", "frames"])
        )
        assert shards.describe(folder / shard.file) == shard
    seen: list[int] = []
    verify(folder, manifest, lambda done, total: seen.append(done))
    assert seen == [1, 2]


def test_a_changed_object_is_found(server: s3.Server, folder: Path) -> None:
    manifest = corpus_of(folder, 2)
    shard = manifest.shards[1]
    path = folder / shard.file
    client, key = server.client(), f"some/prefix/{shard.file}"
    content = bytearray(storage.read_bytes(path))
    content[len(content) // 2] ^= 1
    client.put_object(Bucket=bucket_of(folder), Key=key, Body=bytes(content))
    open_corpus(folder)  # its size is right
    for action in (
        lambda: shards.read_table(path, ["id"], shard.sha256),
        lambda: verify(folder, manifest, lambda *_: None),
    ):
        assert refusal(action).startswith(f"{path}: the shard is corrupt")
    for cut in (content[:-1], b"", b"PAR1"):
        client.put_object(Bucket=bucket_of(folder), Key=key, Body=bytes(cut))
        message = refusal(lambda: open_corpus(folder))
        assert f"{path}: {len(cut)} bytes, but the manifest says {shard.bytes}" in message
        assert refusal(lambda: shards.read_table(path)).startswith(f"{path}: the shard is corrupt")
    storage.remove(path)
    assert refusal(lambda: open_corpus(folder)).startswith(f"{path}: the shard is missing")
    storage.remove(folder / "manifest.json")
    assert "holds no manifest.json" in refusal(lambda: open_corpus(folder))


# Artifacts


def test_an_artifact_in_s3_is_the_one_on_disk(folder: Path, tmp_path: Path) -> None:
    storage.write_bytes(folder / "student" / ".stale.tmp", b"old")
    there, local = random_student(folder / "student"), tmp_path / "student"
    local.mkdir()
    storage.fetch(there, local)
    assert {path.name for path in local.iterdir()} == set(read_config(there).files)
    assert artifact.size_mb(there) == artifact.size_mb(local)
    speech = np.random.default_rng(0).normal(0, 0.1, 16_000)
    faces = [Student(place).animate(speech, 16_000) for place in (local, str(there))]
    assert np.array_equal(faces[0].coefficients, faces[1].coefficients)
    for name in ("README.md", "config.yaml"):
        storage.remove(there / name)
        assert refusal(lambda: Student(there)).startswith(f"{there}: the artifact lacks ")
    assert refusal(lambda: Student(folder / "no")) == f"{folder / 'no'}: no such artifact folder"


def test_a_student_and_saved_voices_in_s3_are_served(folder: Path) -> None:
    student = random_student(folder / "student")
    settings = ServeSettings.model_validate(
        {"model": str(student), "identities": str(folder / "saved"), "page": False}
    )
    with serving(settings) as client:
        assert client.post("/v1/identities?name=anna", content=wav(4.0)).status_code == 201
        assert client.get("/v1/identities").json()["saved"] == ["anna"]
        assert client.post("/v1/animate?identity=anna", content=wav(1.0)).status_code == 200
        assert client.delete("/v1/identities/anna").status_code == 204
        assert client.get("/v1/identities").json()["saved"] == []


# Jobs


@pytest.mark.parametrize(
    ("bucket", "environment", "said"),
    [
        (None, {"AWS_SECRET_ACCESS_KEY": "wrong"}, "check AWS_ACCESS_KEY_ID"),
        ("no-such-bucket", {}, "has no bucket 'no-such-bucket'"),
        (None, {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "does not answer"),
    ],
)
def test_a_run_that_cannot_be_written_ends_in_seconds(
    folder: Path, bucket: str | None, environment: dict[str, str], said: str
) -> None:
    output = f"s3://{bucket or bucket_of(folder)}/run"
    started = time.monotonic()
    environment = {**environment, storage.PATIENCE: "600"}
    done = jobs.run("distill", "--config", CONFIG, f"output={output}", **environment)
    assert time.monotonic() - started < 30  # patience is 600 s
    line = jobs.mistake(done)
    assert [done.stdout, done.stderr] == ["", f"{line}\n"]
    assert line.startswith(f"error: cannot write {output}: ")
    assert said in line
