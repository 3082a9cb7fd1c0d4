"""Pods of Ray on one machine: processes with an address, mounts and a read-only root of their own.

Started with what the manifests say, and with what the operator adds to it (KubeRay 1.7).
"""

import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BRIDGE, NETWORK = "ray0", "10.244.0"
HOST = f"{NETWORK}.1"
"""Where S3, Redis and callers are."""
PORTS = {"gcs-server": 6379, "dashboard": 8265, "metrics": 8080, "serve": 8000}
"""Of KubeRay and Ray, by the names that the manifests give them."""


def isolate() -> None:
    """Start this program again in namespaces of its own, unless it is in them: all that it starts
    ends with it, and ports, mounts and addresses are nobody else's."""
    if os.environ.get("REHEARSAL") == "1":
        return
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *user, "--mount", "--net", "--pid", "--fork", "--kill-child",
               "--mount-proc", sys.executable, *sys.orig_argv[1:]]  # fmt: skip
    os.execvpe(command[0], command, {**os.environ, "REHEARSAL": "1"})


def network(folder: Path) -> None:
    """A bridge, and the names by which pods find what is not theirs."""
    for line in (
        "ip link set lo up",
        f"ip link add {BRIDGE} type bridge",
        f"ip addr add {HOST}/24 dev {BRIDGE}",
        f"ip link set {BRIDGE} up",
    ):
        run(line)
    (folder / "hosts").write_text(f"127.0.0.1 localhost\n{HOST} redis\n")


def run(line: str) -> None:
    """A command that must succeed."""
    subprocess.run(shlex.split(line), check=True, capture_output=True)


@dataclass
class Pod:
    """A node of Ray."""

    name: str
    number: int
    command: str
    environment: dict[str, str]
    mounts: list[str]
    folder: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        """Stays when the pod is started again, as the name of the head's service does."""
        return f"{NETWORK}.{self.number}"

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it, with empty volumes."""
        end = f"veth{self.number}"
        script = self.folder / f"{self.name}.sh"
        script.write_text("\n".join(self._script()))
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
                 "bash", str(script)],
                env=self.environment, cwd=ROOT, stdout=log, stderr=log, start_new_session=True,
                stdin=subprocess.PIPE,
            )  # fmt: skip
        own = f"/proc/{self.process.pid}/ns/net"
        while os.readlink(own) == os.readlink("/proc/self/ns/net"):  # unshare has not begun
            time.sleep(0.01)
        subprocess.run(["ip", "link", "del", end], capture_output=True)  # of a pod that has ended
        run(f"ip link add {end} type veth peer name eth0 netns {self.process.pid}")
        run(f"ip link set {end} master {BRIDGE} up")
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.close()

    def kill(self) -> None:
        """As a node that loses its power: all processes at once, no word to anybody."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)  # and by --kill-child all in its PID namespace
        self.process.wait()

    def _script(self) -> list[str]:
        own = self.folder / f"{self.name}-volumes"
        # A place that this machine lacks (/home/talker) is made in a volume of its parent.
        places = {place: _existing(place) for place in (*self.mounts, "/dev/shm")}
        # What the project needs, if it lies below a folder that the pod has a volume for.
        kept = {str(path) for path in (ROOT, Path(sys.prefix), Path(sys.base_prefix), self.folder)}
        lines = [
            "set -eu", "read -r",
            "ip link set lo up", f"ip addr add {self.address}/24 dev eth0", "ip link set eth0 up",
            f"ip route add default via {HOST}",
            f"mount --bind {self.folder / 'hosts'} /etc/hosts",
            f"mkdir -p {own}", f"mount -t tmpfs none {own}",
        ]  # fmt: skip
        for wanted, place in places.items():
            volume = f"{own}{place}"
            lines += [f"mkdir -p {volume} {own}{wanted}"]
            for path in sorted(kept):
                if Path(path).is_relative_to(place):
                    below = f"{volume}/{Path(path).relative_to(place)}"
                    lines += [f"mkdir -p {below}", f"mount --rbind {path} {below}"]
        lines += ["mount -o remount,bind,ro /"]
        lines += [f"mount --rbind {own}{place} {place}" for place in places.values()]
        return [*lines, f"cd {ROOT}", f"exec {self.command}"]


def _existing(place: str) -> str:
    """The place, or the nearest folder above it that this machine has."""
    return next(str(path) for path in (Path(place), *Path(place).parents) if path.is_dir())


def ray_pods(spec: dict[str, Any], environment: dict[str, str], folder: Path, workers: int,
             group: str = "cpu") -> tuple[Pod, list[Pod]]:  # fmt: skip
    """The head and the workers of one group of a RayCluster's specification."""
    head_spec = spec["headGroupSpec"]
    worker_spec = next(g for g in spec["workerGroupSpecs"] if g["groupName"] == group)
    head_number = 10
    common = environment | {
        "RAY_PORT": str(PORTS["gcs-server"]),
        "RAY_ADDRESS": f"{NETWORK}.{head_number}:{PORTS['gcs-server']}",
        "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
    }
    head_only = {"RAY_ADDRESS": f"127.0.0.1:{PORTS['gcs-server']}"}
    if (options := spec.get("gcsFaultToleranceOptions")) is not None:
        head_only |= {
            "RAY_REDIS_ADDRESS": options["redisAddress"],
            "REDIS_PASSWORD": environment["SECRET_redis_password"],
            "RAY_external_storage_namespace": "rehearsal",
        }
    address = f"--address={common['RAY_ADDRESS']}"
    head = _pod("head", head_number, head_spec, ["--head"], common | head_only, folder)
    others = [
        _pod(f"worker-{n}", head_number + 1 + n, worker_spec, [address], common, folder)
        for n in range(workers)
    ]
    return head, others


def _pod(name: str, number: int, group: dict[str, Any], flags: list[str],
         environment: dict[str, str], folder: Path) -> Pod:  # fmt: skip
    container = group["template"]["spec"]["containers"][0]
    limits = container["resources"]["limits"]
    params = {
        "num-cpus": limits["cpu"],
        "memory": str(int(limits["memory"].removesuffix("Gi")) << 30),
        "object-store-memory": str(256 << 20),  # KubeRay leaves it to Ray; two cores hold no more
        "dashboard-agent-listen-port": "52365",
        "metrics-export-port": str(PORTS["metrics"]),
        "node-ip-address": f"{NETWORK}.{number}",
        **group["rayStartParams"],
    }
    if "--head" in flags:
        params |= {"dashboard-host": "0.0.0.0"}
    if "REDIS_PASSWORD" in environment:
        params |= {"redis-password": "$REDIS_PASSWORD"}
    options = " ".join([*flags, *(f"--{key}={value}" for key, value in params.items())])
    command = f"{sys.executable} -m ray.scripts.scripts start {options} --block"
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    for volume in container.get("env", []):
        if secret := volume.get("valueFrom", {}).get("secretKeyRef"):
            key = f"SECRET_{secret['name']}_{secret['key']}"
            environment = environment | {volume["name"]: environment[key]}
    own = {key: value for key, value in environment.items() if not key.startswith("SECRET_")}
    return Pod(name, number, command, own, mounts, folder)
