"""The description of the HTTP interface, and whether the interface does what it says."""

import pytest
import schemathesis
from hypothesis import given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests import served
from tests.served import serving
from tests.students import random_student

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    folder = random_student(tmp_path_factory.mktemp("served") / "student")
    limits = {"requests_per_minute": 10**6, "bytes": 100_000, "seconds": 2}
    with serving(served.settings(folder, limits=limits)) as client:
        yield client.app


@pytest.fixture(scope="module")
def described(api):
    return schemathesis.openapi.from_asgi("/openapi.json", api)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/animate"), ("POST", "/v1/identities"), ("GET", "/v1/identities"),
        ("DELETE", "/v1/identities/{name}"), ("GET", "/v1/emotions"), ("GET", "/v1/models"),
        ("GET", "/v1/blendshapes"), ("GET", "/healthz"), ("GET", "/readyz"),
    ],
)  # fmt: skip
def test_whatever_is_sent_the_answer_is_one_that_is_described(described, method, path) -> None:
    @given(case=described[path][method].as_strategy())
    @settings(max_examples=100, deadline=None, derandomize=True)
    def check(case) -> None:
        case.call_and_validate(checks=list(CHECKS))

    check()


def test_everything_that_can_be_asked_is_described(api) -> None:
    told = api.openapi()
    assert set(told["paths"]) == {
        "/v1/animate", "/v1/models", "/v1/emotions", "/v1/identities", "/v1/identities/{name}",
        "/v1/blendshapes", "/healthz", "/readyz", "/metrics",
    }  # fmt: skip
    animate = told["paths"]["/v1/animate"]["post"]
    named = {parameter["name"]: parameter for parameter in animate["parameters"]}
    assert set(named) == {
        "model", "steps", "identity", "emotion", "seed", "fps", "smooth_ms", "mirror", "format",
    }  # fmt: skip
    assert all(parameter["description"] for parameter in named.values())
    assert set(animate["requestBody"]["content"]) >= {"multipart/form-data", "audio/*"}
    for status, answer in animate["responses"].items():
        if status != "200":
            assert list(answer["content"]) == ["application/problem+json"]
    assert "/v1/stream" in told["info"]["description"]
