"""What a server is told, in the files that are shipped."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from ray.serve.schema import ServeDeploySchema
from serve.settings import ServeSettings

FILES = sorted((Path(__file__).parents[2] / "configs" / "serve").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_shipped_file_is_read_by_ray_and_by_us(path: Path) -> None:
    told = ServeDeploySchema.model_validate(yaml.safe_load(path.read_text()))
    assert told.http_options.host == "127.0.0.1"
    (application,) = told.applications
    settings = ServeSettings.model_validate(application.args)
    assert application.import_path == "serve.app:build"
    assert told.http_options.request_timeout_s >= settings.limits.stream_seconds


def test_origins_are_as_browsers_write_them() -> None:
    settings = ServeSettings(model="m", cors_origins=("https://studio.example/",))
    assert settings.cors_origins == ("https://studio.example",)


@pytest.mark.parametrize("given", [{}, {"model": "a", "models": {"b": "c"}}])
def test_one_student_or_several_by_name(given: dict) -> None:
    with pytest.raises(ValidationError, match="and not both"):
        ServeSettings.model_validate(given)
