"""What determines the result of each stage, as a short hash that names the stage's folder.

A key is made of whole sections of the settings, so a new setting is part of a key from the start;
what does not change results is in no key (``config.NO_RESULT``). A key
holds the version of the code, too. Versions are raised by hand rather than hashed from the sources,
or every renamed variable would train everything anew after an upgrade; ``tests/stage_sources.py``
sees that nobody forgets. Corpus and features are named where they are made
(``corpus.procedural.generation``, ``features.stage``).
"""

import hashlib
from collections.abc import Mapping, Sequence

from diffusiontalker import storage
from diffusiontalker.config import Section, Settings, TrainingSettings, fingerprint, round_settings

VERSIONS = {
    "encoder": 2,
    "teacher": 6,
    "pseudo_labels": 2,
    "round": 8,
    "scratch": 1,
    "rival": 2,
    "evaluation": 8,
}
"""Raise a stage's when the same settings and data give another result: old ones are left alone
then, and so are those of the stages after it."""
DONE = "stage.json"
"""The last file of a stage: its folder is complete, and never made again."""
Content = Sequence[str | None]
"""What identifies a corpus: the content of its shards, and of its features."""


def encoder_key(s: Settings, corpus: Content) -> str:
    """Of the small encoder that is trained on the corpus."""
    return _key("encoder", s.encoder.small, _shared(s.training), s.training.encoder, corpus)


def teacher_key(s: Settings, corpus: Content) -> str:
    """Of the teacher."""
    return _key(
        "teacher", s.model.shared, s.model.teacher, s.losses.teacher, s.augmentation.lost_bands,
        _shared(s.training), s.training.teacher, corpus,
    )  # fmt: skip


def pseudo_labels_key(
    s: Settings, teacher: str, features: str | None, recordings: Mapping[str, str]
) -> str:
    """Of the faces that a teacher draws for recordings.

    Args:
        s: the settings; where the recordings lie does not matter.
        teacher: the key of the teacher.
        features: what the features of the corpus are made of.
        recordings: names of the recordings, with what changes when their content does.
    """
    own = s.pseudo_labels.model_copy(update={"recordings": None})
    diffusion = s.diffusion.steps, s.diffusion.sampler
    return _key("pseudo_labels", teacher, features, own, diffusion, recordings)


def round_key(s: Settings, steps: int, teacher: str, corpus: Content) -> str:
    """Of the student of ``steps`` steps; ``teacher`` is the key of the model it is distilled
    from."""
    return _key(
        "round", steps, teacher, s.model.shared, s.model.student, s.losses.student,
        s.augmentation.lost_bands, s.augmentation.vocal_tract, _shared(s.training),
        round_settings(s, steps), corpus,
    )  # fmt: skip


def scratch_key(s: Settings, steps: int, corpus: Content) -> str:
    """Of the student's network trained without a teacher for ``steps`` steps."""
    return _key(
        "scratch", steps, s.model.shared, s.model.student, s.losses.teacher,
        s.augmentation.lost_bands, _shared(s.training), s.training.teacher, corpus,
    )  # fmt: skip


def rival_key(s: Settings, name: str, width: int | None, corpus: Content) -> str:
    """Of a rival; ``width`` of its network."""
    own = (s.model.shared, s.model.student) if name == "regression" else ()
    return _key("rival", name, width, *own, _shared(s.training), s.training.teacher, corpus)


def evaluation_key(s: Settings, models: Sequence[str], corpus: Content) -> str:
    """Of the metrics of models, which are given by their keys."""
    return _key("evaluation", models, s.evaluation, s.diffusion, rig_hash(s), corpus)


def look_ahead_key(s: Settings, corpus: Content) -> str:
    """Of the comparison of look-aheads: all that determines its figures but for the look-ahead."""
    shared = s.model.shared.model_copy(update={"look_ahead_ms": None})
    labelled = s.pseudo_labels if s.pseudo_labels.recordings is not None else None
    own = s.model_copy(update={"model": s.model.model_copy(update={"shared": shared})})
    rounds = [round_key(own, steps, "", corpus) for steps in s.diffusion.rounds]
    models = [teacher_key(own, corpus), *rounds]
    if labelled is not None:  # by their place: to list them takes a while, and may fail
        models.append(fingerprint(labelled))
    return evaluation_key(own, models, corpus)


def data_key(s: Settings) -> str:
    """Of the corpus and its features, as far as settings determine them."""
    trained = encoder_key(s, []) if s.encoder.name is None else None
    return fingerprint(s.corpus, s.encoder, s.augmentation.degradation, trained)


def rig_hash(s: Settings) -> str | None:
    """The content of the user's rig, which may change under its name."""
    rig = s.evaluation.rig
    return hashlib.sha256(storage.read_bytes(storage.location(rig))).hexdigest() if rig else None


def _key(stage: str, *parts: object) -> str:
    return fingerprint(stage, VERSIONS[stage], *parts)


def _shared(training: TrainingSettings) -> dict[str, object]:
    """What all training stages share: the values of the section, without the sections in it. The
    number of workers changes the time that training takes."""
    own = {key: value for key, value in training if not isinstance(value, Section)}
    del own["workers"]
    return own
