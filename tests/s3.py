"""A real S3 server on free loopback ports, which tests may kill and start again."""

import json
import os
import random
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import botocore.session
import s3fs
from botocore.config import Config

from diffusiontalker.storage import PATIENCE

KEY, SECRET = "testkey", "testsecret1"
IDENTITY = {
    "name": "test",
    "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
}
PARTS = ("s3", "master", "volume", "filer", "admin")
OFF = (
    "-master.telemetry=false", "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0",
    "-s3.port.lance=0", "-s3.autoCreateBucket=false",
)  # fmt: skip


class Server:
    """SeaweedFS with all its data in one folder; the same ports and data after a restart."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "data").mkdir(parents=True)
        (folder / "s3.json").write_text(json.dumps({"identities": [IDENTITY]}))
        self.ports = free_ports()
        self.endpoint = f"http://127.0.0.1:{self.ports['s3']}"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use the server."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            PATIENCE: "30",
        }

    def start(self) -> None:
        """Start and wait until an object can be written and read."""
        self.launch()
        deadline = time.monotonic() + 60
        while True:
            try:
                self.client().put_object(Bucket=self.bucket(), Key="probe", Body=b"probe")
                return
            except Exception:
                assert self.process is not None
                assert self.process.poll() is None, (self.folder / "log.txt").read_text()[-2000:]
                assert time.monotonic() < deadline, "the S3 server does not get ready"
                time.sleep(0.1)

    def launch(self) -> None:
        """Start without waiting."""
        weed = Path(sys.executable).with_name("weed")
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [weed, "mini", f"-dir={self.folder / 'data'}", "-ip=127.0.0.1",
                 "-ip.bind=127.0.0.1", f"-s3.config={self.folder / 's3.json'}", *OFF,
                 *(f"-{part}.port={port}" for part, port in self.ports.items())],
                cwd=self.folder, stdout=log, stderr=log,
                env={k: v for k, v in os.environ.items() if not k.startswith("AWS_")},
            )  # fmt: skip

    def kill(self) -> None:
        """As a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def client(self) -> Any:
        """A client that has nothing to do with the code under test."""
        return botocore.session.Session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.endpoint,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            config=Config(connect_timeout=2, read_timeout=10, retries={"max_attempts": 1}),
        )

    def bucket(self) -> str:
        """Make a bucket of a new name; returns the name."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return name

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """Keys below a prefix."""
        found = self.client().list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
        return [item["Key"] for item in found]

    def objects(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        """Keys and contents below a prefix."""
        client, keys = self.client(), self.keys(bucket, prefix)
        return {k: client.get_object(Bucket=bucket, Key=k)["Body"].read() for k in keys}


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """A server for the length of a test or of a module of tests."""
    server = Server(folder)
    try:
        server.start()
        forget_clients()
        yield server
    finally:
        server.kill()
        forget_clients()


def forget_clients() -> None:
    """Let this process read addresses and credentials from the environment anew."""
    s3fs.S3FileSystem.clear_instance_cache()


def free_ports() -> dict[str, int]:
    """A port for each part of the server; each needs the one 10000 above for gRPC too."""
    ports: dict[str, int] = {}
    draw = random.SystemRandom()
    while len(ports) < len(PARTS):
        port = draw.randrange(20_000, 32_000)
        if port not in ports.values() and free(port) and free(port + 10_000):
            ports[PARTS[len(ports)]] = port
    return ports


def free(port: int) -> bool:
    """Whether nobody listens on a loopback port."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
