"""Nodes of Ray that are lost, started as k8s/ says. It takes minutes: `make rehearsal` runs it."""

import json
import subprocess
import sys

import pytest
from tests.jobs import ROOT
from tests.manifests import kubectl
from tests.tiny import OVERRIDES
from tests.tools import absent, tool


@pytest.mark.rehearsal
@pytest.mark.timeout(3600)
def test_nothing_is_lost_and_nothing_is_done_again(tmp_path) -> None:
    for program in ("ip", "unshare", "redis-server"):
        tool(program)
    kubectl()
    if subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode and (
        subprocess.run(["unshare", "--user", "--net", "true"], capture_output=True).returncode
    ):
        absent("this machine allows no namespaces")
    out = tmp_path / "report.json"
    command = [sys.executable, "-m", "k8s.rehearsal", "--out", str(out), *OVERRIDES,
               "resources.gpu=false", "diffusion={steps: 4, rounds: [2]}",
               "evaluation.teacher_steps=[4]"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT)
    report = json.loads(out.read_text())
    assert report["faults"] == []
    assert done.returncode == 0
    assert report["finished_before_the_head_died"]
    assert report["attempts"] >= 2
    asked = {
        "ray_diffusiontalker_frames_total",
        "ray_serve_num_http_requests_total",
        "ray_diffusiontalker_training_progress",
        "ray_diffusiontalker_training_val_loss",
    }
    assert asked <= set(report["metrics"])
