"""The artifact: a folder with configuration, weights, graph and model card, and nothing pickled."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import save_file

from diffusiontalker import __version__, audio, storage
from diffusiontalker.arkit import CHANNELS, FPS
from diffusiontalker.errors import UserError
from diffusiontalker.export.graph import StudentGraph, export_onnx
from diffusiontalker.model.talker import Talker
from diffusiontalker.runtime.log_mel import BANDS, PER_FRAME
from diffusiontalker.runtime.student import FILES, FORMAT_VERSION, Student

TOLERANCE = 1e-3
"""Largest difference of a coefficient between the graph and PyTorch that an export may have."""


def export(talker: Talker, steps: int, folder: Path, card: str) -> None:
    """Make an artifact, check it against PyTorch, and only then put it in its place.

    Args:
        talker: a student.
        steps: sampling steps, unrolled into the graph.
        folder: local or in S3; emptied first. While the files are written, one is missing, and
            ``Student`` says so.
        card: text of the model card.

    Raises:
        UserError: the folder cannot be written, or the graph does not agree with the model.
    """
    if talker.config.feature_dim is not None:
        raise UserError("only a student can be exported: a teacher needs its frozen encoder")
    config = {
        "format_version": FORMAT_VERSION,
        "release": __version__,
        "steps": steps,
        "fps": FPS,
        "sample_rate": audio.SAMPLE_RATE,
        "channels": list(CHANNELS),
        "identities": list(talker.config.identities),
        "emotions": list(talker.config.emotions),
        "model": talker.config.to_dict(),
    }
    with TemporaryDirectory(prefix="artifact-") as name:
        made = Path(name)
        (made / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        save_file(talker.deployed(), made / "model.safetensors")
        export_onnx(talker, steps, made / "student.onnx")
        (made / "README.md").write_text(card)
        check(made, talker, steps)
        storage.empty_folder(folder)
        storage.store(made, folder)


def check(folder: Path, talker: Talker, steps: int, frames: int = 90) -> float:
    """Largest difference between the artifact and the PyTorch student on random input.

    Raises:
        UserError: it is above ``TOLERANCE``.
    """
    rng = np.random.default_rng(0)
    shapes = {
        "log_mel": (1, PER_FRAME * frames, BANDS),
        "noise": (1, frames, len(CHANNELS)),
        "identity": (1, len(talker.config.identities)),
        "emotion": (1, len(talker.config.emotions)),
    }
    inputs = {k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()}
    inputs["from_voice"] = np.ones(2, np.float32)
    ours = Student(folder).session.run(["coefficients"], inputs)[0]
    with torch.inference_mode():
        theirs = StudentGraph(talker, steps)(*[torch.from_numpy(v) for v in inputs.values()])[0]
    difference = float(np.abs(ours - theirs.numpy()).max())
    if difference > TOLERANCE:
        raise UserError(
            f"{folder}: the exported graph differs from the model by {difference:.2g}, "
            f"more than {TOLERANCE}"
        )
    return difference


def size_mb(folder: Path) -> float:
    """Megabytes (1e6 bytes) of everything an artifact ships."""
    found = storage.sizes(folder)
    return sum(found[name] for name in FILES) / 1e6


def model_card(summary: dict[str, Any], name: str) -> str:
    """The artifact's README: what it is, on what it was trained, how it does, what it cannot do."""
    corpus = summary["corpus"]
    rows = [row for row in summary["rows"] if row["name"] == name]
    lines = [
        "# A DiffusionTalker student",
        "",
        f"Speech in, 52 ARKit blendshape coefficients at {FPS} frames per second out, in "
        f"{rows[0]['steps'] if rows else '?'} sampling steps. Distilled from a diffusion teacher.",
        "",
        "## Data",
        "",
        f"Source: {corpus['source']}. {corpus['minutes']:.0f} minutes, "
        f"{corpus['speakers']} speakers in training; emotions: {', '.join(corpus['emotions'])}.",
        "",
        "## Measured on the test splits",
        "",
        "| split | MBE | LBE | energy score | spread, upper face | identity F1 | emotion F1 |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        keys = ("mbe", "lbe", "energy_score", "spread_upper", "identity_f1", "emotion_f1")
        values = ["–" if row[key] is None else f"{row[key]:.3f}" for key in keys]
        lines.append(f"| {row['split']} | {' | '.join(values)} |")
    lines += [
        "",
        "MBE and LBE are mean distances in coefficient space over all and over the lip channels.",
        "",
        "## Limits",
        "",
        "- Identity is chosen from the speakers of the training set; an unknown voice gets the "
        "face of the one it is most like.",
    ]
    if corpus["source"] == "procedural":
        lines.append(
            "- The training speech is synthetic and its faces follow rules. The model shows that "
            "the method works; it is not meant for production on human speech."
        )
    lines += ["", "## Licence", "", "Apache-2.0, like the project that made it.", ""]
    return "\n".join(lines)
