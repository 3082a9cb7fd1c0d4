"""The shipped quickstart, shrunk until a test can afford it: the same stages, less of all."""

CONFIG = "configs/quickstart.yaml"
OVERRIDES = (
    "corpus.minutes=2",
    "corpus.speakers=3",
    "corpus.unseen_speakers=1",
    "corpus.eval_clips=7",
    "corpus.expected_draws=4",
    "corpus.clips_per_shard=16",
    "encoder.small.hidden=32",
    "encoder.small.depth=2",
    "encoder.layers=[0, 2]",
    "extraction.actors=1",
    "training.encoder.epochs=1",
    "training.encoder.passes=1",
    "training.workers=1",
    "training.teacher={epochs: 2, passes: 1, batch: 8}",
    "training.first_round={epochs: 1, passes: 1, batch: 8}",
    "training.round={epochs: 1, passes: 1, batch: 8}",
    "model.teacher.context={width: 32, depth: 2}",
    "model.teacher.decoder={kind: tcn, width: 32, depth: 2}",
    "model.shared.encoder_width=32",
    "model.student.context={width: 32, depth: 2}",
    "model.student.decoder={kind: tcn, width: 32, depth: 1}",
    "evaluation.seeds=2",
)
