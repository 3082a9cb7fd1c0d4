"""The model card of an artifact, its README."""

from diffusiontalker.arkit import FPS
from diffusiontalker.objectives.metrics import ENOUGH
from diffusiontalker.summary.run import Corpus, RunSummary

PROCEDURAL = "procedural"
"""The corpus whose speech and faces the project makes itself."""
RESEARCH = "for research that is not commercial, by the licence that comes with it"
TERMS = {
    "beat": RESEARCH,
    "3d-etf": f"{RESEARCH}; RAVDESS and HDTF, of which it is made, have licences of their own",
    "vocaset": RESEARCH,
}
"""Terms of the data sets that we know, by the kind of source; docs/data.md."""


def model_card(summary: RunSummary, name: str, licence: str | None = None) -> str:
    """The card of the student ``name``: what it is, its training data, its metrics, its limits,
    and its ``licence``; None: the run's, or what the data ask for."""
    corpus = summary.corpus
    rows = [row for row in summary.rows if row.name == name]
    lines = [
        "# A DiffusionTalker student",
        "",
        f"Speech in, 52 ARKit blendshape coefficients at {FPS} frames per second out, in "
        f"{rows[0].steps if rows else '?'} sampling steps. Distilled from a diffusion teacher.",
        "",
        "## Data",
        "",
        f"Source: {corpus.source}. {corpus.minutes:.0f} minutes, "
        f"{corpus.speakers} speakers in training; emotions: {', '.join(corpus.emotions)}.",
        *_pseudo_labelled(corpus),
        "",
        "## Measured on the test splits",
        "",
        "| split | clips | MBE | LBE | energy score | closure | rounding AUC | speed, upper | "
        "acceleration, upper | blinks a minute | identity F1 | emotion F1 |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        clips = summary.clips_of(row)
        metrics = (
            row.mbe, row.lbe, row.energy_score, row.closure, row.rounding_auc, row.speed_upper,
            row.acceleration_upper, row.blinks_per_minute, row.identity_f1, row.emotion_f1,
        )  # fmt: skip
        cells = [row.split, "–" if clips is None else str(clips)]
        cells += ["–" if value is None else f"{value:.3f}" for value in metrics]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "MBE and LBE are mean distances in coefficient space over all and over the lip channels; "
        "closure is the share of p, b, m in which the lips meet; speed and acceleration are those "
        "of the upper face over the recordings' (docs/metrics.md). "
        f"A metric of fewer than {ENOUGH} clips says little.",
        "",
        "## Limits",
        "",
        "- The identity is chosen from the speakers of the training set; an unknown voice gets the "
        "face of the one it is most like.",
        "- What speech does not determine, such as brows, gaze and blinks, is drawn at random: "
        "another seed gives another performance.",
    ]
    if corpus.source == PROCEDURAL:
        alone = corpus.pseudo_labelled_minutes is None
        speech = (
            "The training speech is synthetic and its faces"
            if alone
            else "All training speech with faces is synthetic, and these faces"
        )
        lines.append(
            f"- {speech} follow rules, so the face shows "
            "what is spoken and not how a certain person moves. How well it serves people's voices "
            "is measured by `jobs/benchmark.py human`."
        )
    lines += ["", "## Licence", "", licence or summary.licence or _licence(corpus), ""]
    return "\n".join(lines)


def _pseudo_labelled(corpus: Corpus) -> list[str]:
    """What students learned from beside the corpus."""
    if corpus.pseudo_labelled_minutes is None:
        return []
    minutes = corpus.pseudo_labelled_minutes
    return [
        f"Students were also trained on {minutes:.0f} minutes of recordings without faces, with "
        "faces that the teacher drew for them (pseudo-labels)."
    ]


def _licence(corpus: Corpus) -> str:
    """What is known of the licence of a model that was trained on a corpus."""
    parts = []
    if corpus.source != PROCEDURAL:
        asked = TERMS.get(corpus.source, "look up the terms of its authors")
        parts.append(f"the training data ({corpus.source}): {asked}")
    if corpus.pseudo_labelled_minutes is not None:
        parts.append("the terms of the recordings without faces, which are not known here")
    if not parts:
        return "Apache-2.0, like the project that made both it and its training data."
    return (
        f"Depends on {'; and on '.join(parts)}. The code that made the model is Apache-2.0, which "
        "says nothing of the model itself."
    )
