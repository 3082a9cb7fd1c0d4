"""Rules and dashboards: their metrics are exported, their expressions hold, their alerts fire."""

import json
import re
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from serve.metrics import Metrics
from tests.tools import tool

from diffusiontalker.pipeline import metrics as training

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "k8s" / "components" / "monitoring"
SUFFIXES = {"Counter": ("_total",), "Gauge": ("",), "Histogram": ("_bucket", "_sum", "_count")}
RULES = yaml.safe_load((FOLDER / "rules.yaml").read_text())["spec"]
DASHBOARDS = [json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))]


def expressions() -> list[str]:
    rules = [rule["expr"] for group in RULES["groups"] for rule in group["rules"]]
    targets = [
        target["expr"]
        for board in DASHBOARDS for panel in board["panels"] for target in panel["targets"]
    ]  # fmt: skip
    return rules + targets


def names(text: str) -> set[str]:
    return set(re.findall(r"\bray_\w+(?=[{\[ )]|$)", re.sub(r'"[^"]*"', '""', text)))


@cache
def ours() -> set[str]:
    """What the server and the training stages export, under Prometheus's names."""
    serving = {
        f"ray_{instrument._name}{suffix}"
        for instrument in vars(Metrics()).values()
        for suffix in SUFFIXES[type(instrument).__name__]
    }
    return serving | {f"ray_{training.PREFIX}{name}" for name in training.GAUGES}


@cache
def of_ray() -> str:
    """The sources of Ray in which its own metrics are named; HTTP's are named by protocol."""
    spec = find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent
    folders = (root / "serve" / "_private", root / "train" / "v2" / "_internal" / "metrics")
    files = [path for folder in folders for path in folder.glob("*.py")]
    return "\n".join(path.read_text() for path in files).replace("{protocol_name}", "http")


def is_exported(name: str) -> bool:
    if name.startswith("ray_diffusiontalker_"):
        return name in ours()
    own = re.sub(r"_(total|bucket|sum|count)$", "", name.removeprefix("ray_"))
    return f'"{own}"' in of_ray()


def test_every_metric_that_is_asked_for_is_exported() -> None:
    asked = set().union(*map(names, expressions()))
    assert len(asked) > 15
    assert {name for name in asked if not is_exported(name)} == set()


@pytest.mark.parametrize(
    "name", ["ray_diffusiontalker_stage_seconds", "ray_serve_no_such_metric_total",
             "ray_diffusiontalker_frames", "ray_diffusiontalker_training_looss"],
)  # fmt: skip
def test_a_metric_that_is_not_exported_is_noticed(name) -> None:
    assert not is_exported(name)


def test_recorded_series_are_those_that_are_used() -> None:
    recorded = {rule["record"] for group in RULES["groups"] for rule in group["rules"]
                if "record" in rule}  # fmt: skip
    used = set(re.findall(r"\bstudent:\w+:\w+", " ".join(expressions())))
    assert used == recorded


def test_dashboards_have_an_identity_and_panels_of_their_own() -> None:
    assert len({board["uid"] for board in DASHBOARDS}) == 2
    for board in DASHBOARDS:
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        assert all(panel["title"] and panel["targets"] for panel in board["panels"])


def test_alerts_fire_when_they_must(tmp_path) -> None:
    """Prometheus's own test of rules, on made-up series."""
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES))
    (tmp_path / "tests.yaml").write_text((Path(__file__).parent / "alerts.yaml").read_text())
    promtool = tool("promtool")
    for command in (["check", "rules", "rules.yaml"], ["test", "rules", "tests.yaml"]):
        done = subprocess.run([promtool, *command], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested() -> None:
    tests = yaml.safe_load((Path(__file__).parent / "alerts.yaml").read_text())["tests"]
    tested = {case["alertname"] for test in tests for case in test.get("alert_rule_test", ())
              if case["exp_alerts"]}  # fmt: skip
    alerts = {rule["alert"] for group in RULES["groups"] for rule in group["rules"]
              if "alert" in rule}  # fmt: skip
    assert tested == alerts


def test_a_stage_reports_its_progress_and_its_last_checkpoint(monkeypatch) -> None:
    said: dict[str, float] = {}

    class Recorded:
        def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
            self.name = name

        def set(self, value: float, tags: dict[str, str]) -> None:
            assert tags == {"run": "runs/a", "stage": "teacher"}
            said[self.name.removeprefix(training.PREFIX)] = value

    monkeypatch.setattr(training, "Gauge", Recorded)
    training._gauge.cache_clear()
    stage = training.StageMetrics("runs/a", "teacher")
    stage.begin()
    stage.update(0.5)
    assert "checkpoint_time_seconds" not in said  # it may be a stage that does not train
    begun = stage.epoch_ended
    stage.add_point({"step": 10, "loss": 0.25, "gradient_norm": 1.0, "unknown": 1})
    assert said["checkpoint_time_seconds"] == begun
    stage.add_point({"step": 20, "val_loss": float("nan"), "skipped": 1})
    assert said["checkpoint_time_seconds"] > begun
    assert said["val_loss"] != said["val_loss"]
    stage.end()
    assert said["running"] == 0
    assert said.keys() <= training.GAUGES.keys()
    training._gauge.cache_clear()
