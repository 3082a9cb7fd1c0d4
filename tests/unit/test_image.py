"""The Dockerfile and compose.yaml against the checkout: there is no Docker in the tests."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.tools import absent

from diffusiontalker import __version__

ROOT = Path(__file__).parents[2]
LINES = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text()).splitlines()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())


def instructions(name: str) -> list[str]:
    return [line.removeprefix(name).strip() for line in LINES if line.startswith(f"{name} ")]


def test_hadolint_finds_nothing() -> None:
    program = Path(sys.executable).with_name("hadolint")
    found = str(program) if program.is_file() else shutil.which("hadolint")
    if found is None:
        absent("no hadolint")
    done = subprocess.run([found, str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def sent(path: str) -> bool:
    """Whether .dockerignore lets a path into the build."""
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    assert patterns[0] == "*"
    return f"!{path.partition('/')[0]}" in patterns and path not in patterns


def test_what_is_copied_exists_and_is_sent() -> None:
    stages = {line.split(" AS ")[1] for line in instructions("FROM") if " AS " in line}
    copied = []
    for line in instructions("COPY"):
        *sources, _ = (word for word in line.split() if not word.startswith("--from"))
        if "--from" in line:
            assert re.search(r"--from=(\S+)", line)[1] in stages  # type: ignore[index]
            continue
        copied += sources
    assert {"platform", "jobs", "serve", "configs", "web"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists(), source
        assert sent(source), source
    assert not sent("web/node_modules")


def test_entry_points_exist() -> None:
    (command,) = instructions("CMD")
    assert command == '["serve", "run", "configs/serve/local.yaml"]'
    assert (ROOT / "configs" / "serve" / "local.yaml").is_file()
    (health,) = instructions("HEALTHCHECK")
    local = yaml.safe_load((ROOT / "configs" / "serve" / "local.yaml").read_text())
    host, port = local["http_options"]["host"], local["http_options"]["port"]
    assert f"http://{host}:{port}/readyz" in health
    assert instructions("EXPOSE") == [str(port)]


def test_it_runs_as_a_user_with_a_number() -> None:
    (user,) = instructions("USER")
    assert user.isdigit()
    assert int(user) > 0
    assert LINES.index(f"USER {user}") > max(
        number for number, line in enumerate(LINES) if line.startswith(("RUN", "COPY"))
    )


def test_its_environment_is_that_of_make_serve() -> None:
    *_, environment = instructions("ENV")
    found = dict(pair.split("=", 1) for pair in environment.split())
    exported = re.findall(r"^serve: export (\w+) := (\S+)", (ROOT / "Makefile").read_text(), re.M)
    own = dict(exported) | {"RAY_USAGE_STATS_ENABLED": "0"}
    # Of the development server alone: ctrl-C then takes 5 s.
    del own["RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"]
    assert own.items() <= found.items()


def test_both_devices_can_be_built() -> None:
    text = "\n".join(LINES)
    assert "ARG DEVICE=cpu" in LINES
    assert set(re.findall(r'"\$DEVICE" = (\w+)', text)) == {"cpu", "cuda"}
    pins = (ROOT / "constraints.txt").read_text()
    for name in ("torch", "onnxruntime", "redis"):
        assert re.search(rf"^{name}==", pins, re.MULTILINE)


def test_compose_serves_behind_the_proxy_alone() -> None:
    services = COMPOSE["services"]
    student, proxy = services["student"], services["proxy"]
    assert student["network_mode"] == "service:proxy"
    assert "ports" not in student
    assert student["image"] == f"diffusiontalker:{__version__}"
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        for volume in service["volumes"]:
            source, _, _ = volume.partition(":")
            assert source in COMPOSE["volumes"] or (ROOT / source).is_file(), volume
    file = next(v for v in proxy["volumes"] if "Caddyfile" in v).split(":")[0]
    text = (ROOT / file).read_text()
    local = yaml.safe_load((ROOT / "configs" / "serve" / "local.yaml").read_text())
    assert f"reverse_proxy {local['http_options']['host']}:{local['http_options']['port']}" in text
    assert set(re.findall(r"\{\$(\w+)", text)) == set(proxy["environment"])


@pytest.mark.parametrize("place", ["/tmp", "/home/talker"])
def test_ray_may_write_where_the_root_is_read_only(place) -> None:
    student = COMPOSE["services"]["student"]
    assert place in {entry.split(":")[0] for entry in student["tmpfs"]}
    assert student["shm_size"]
