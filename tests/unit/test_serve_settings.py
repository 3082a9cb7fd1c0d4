"""Settings of a server: the shipped files, the command line, and `python -m serve.validate`."""

import socket
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from ray.serve.schema import ServeDeploySchema
from serve.models.students import Students
from serve.settings import ServeSettings
from serve.validate import validate
from tests.ports import free_port
from tests.refusals import refusal
from tests.students import random_student

from diffusiontalker.runtime.artifact import SHIPPED, location

FILES = sorted((Path(__file__).parents[2] / "configs" / "serve").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_shipped_file_is_read_by_ray_and_by_us(path: Path) -> None:
    given = ServeDeploySchema.model_validate(yaml.safe_load(path.read_text()))
    assert given.http_options.host == "127.0.0.1"
    (application,) = given.applications
    settings = ServeSettings.model_validate(application.args)
    assert application.import_path == "serve.app:build"
    assert given.http_options.request_timeout_s >= settings.limits.stream_seconds


def test_a_command_line_reaches_every_setting() -> None:
    given = {"model": "m", "limits.seconds": "20", "limits.streams": "3", "replicas.num_cpus": "2"}
    settings = ServeSettings.model_validate(given)
    assert (settings.limits.seconds, settings.limits.streams) == (20, 3)
    assert settings.replicas.num_cpus == 2
    with pytest.raises(ValidationError, match="both given"):
        ServeSettings.model_validate({"model": "m", "limits": 3, "limits.seconds": "20"})
    with pytest.raises(ValidationError, match=r"limits\.second"):
        ServeSettings.model_validate({"model": "m", "limits.second": "20"})


def test_a_replica_asks_for_the_gpu_that_its_provider_uses() -> None:
    cpu = ServeSettings(model="m", replicas={"num_cpus": 2}).replicas
    assert cpu.actor_options() == {"num_cpus": 2}
    cuda = ServeSettings(model="m", replicas={"provider": "cuda", "num_gpus": 0.5}).replicas
    assert cuda.actor_options() == {"num_cpus": 1, "num_gpus": 0.5}


def test_origins_are_as_browsers_write_them() -> None:
    settings = ServeSettings(model="m", cors_origins=("https://studio.example/",))
    assert settings.cors_origins == ("https://studio.example",)


def test_hosts_are_names() -> None:
    given = {
        "model": "m",
        "allowed_hosts": "Studio.example,talk",
        "cors_origins": "http://a,http://b",
    }
    settings = ServeSettings.model_validate(given)  # as a command line gives them
    assert settings.allowed_hosts == ("studio.example", "talk")
    assert settings.cors_origins == ("http://a", "http://b")
    for odd in ("http://studio.example", "studio.example:8000", "*.example", "a b", "a/b"):
        with pytest.raises(ValidationError, match="without scheme or port"):
            ServeSettings(model="m", allowed_hosts=(odd,))


def test_one_student_or_several_by_name() -> None:
    with pytest.raises(ValidationError, match="and not both"):
        ServeSettings(model="a", models={"b": "c"})
    with pytest.raises(ValidationError, match="model is empty"):
        ServeSettings(model="")


def test_the_shipped_student_is_served_where_none_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ServeSettings().folders() == {SHIPPED: SHIPPED}
    assert Students(ServeSettings()).default.folder == location(SHIPPED)
    validate(written(tmp_path, free_port()))
    assert "ships with the package" in capsys.readouterr().out


# validation before it is served


def written(path: Path, port: int, **args: object) -> str:
    application = {"name": "a", "import_path": "serve.app:build", "args": args}
    given = {"http_options": {"host": "127.0.0.1", "port": port}, "applications": [application]}
    (path / "serve.yaml").write_text(yaml.safe_dump(given))
    return str(path / "serve.yaml")


def test_valid_settings_print_the_address(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    validate(written(tmp_path, port, model=str(random_student(tmp_path / "student"))))
    assert f"http://127.0.0.1:{port}" in capsys.readouterr().out


def test_a_mistake_in_the_settings_is_one_line(tmp_path: Path) -> None:
    port, student = free_port(), random_student(tmp_path / "student")
    nothing = written(tmp_path, port, model=str(tmp_path / "none"))
    assert "no student" in refusal(lambda: validate(nothing))
    misspelt = written(tmp_path, port, model=str(student), limit={"seconds": 9})
    assert "limits" in refusal(lambda: validate(misspelt))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        used = written(tmp_path, taken.getsockname()[1], model=str(student))
        assert "http_options.port" in refusal(lambda: validate(used))
    graph = student / "decoder.onnx"
    graph.write_bytes(graph.read_bytes()[:1000])
    cut = written(tmp_path, port, model=str(student))
    assert "decoder.onnx" in refusal(lambda: validate(cut))
    (tmp_path / "serve.yaml").write_text("- no")
    assert "not a configuration file" in refusal(lambda: validate(str(tmp_path / "serve.yaml")))
    assert "not a configuration file" in refusal(lambda: validate(str(tmp_path / "no.yaml")))


def test_a_file_of_an_overlay_is_read_by_ray_and_by_us() -> None:
    files = sorted((Path(__file__).parents[2] / "k8s" / "overlays").glob("*/serve.yaml"))
    assert files
    for path in files:
        given = ServeDeploySchema.model_validate(yaml.safe_load(path.read_text()))
        (application,) = given.applications
        ServeSettings.model_validate(application.args)
