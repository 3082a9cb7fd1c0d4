"""The architectures of teacher and student, from settings and a corpus."""

from dataclasses import replace

from diffusiontalker.audio.log_mel import look_ahead
from diffusiontalker.config import (
    ContextSettings,
    DecoderSettings,
    Settings,
    SharedModelSettings,
)
from diffusiontalker.corpus.manifest import CorpusFolder
from diffusiontalker.model.talker import TalkerConfig

NOBODY = "unknown"
"""The only entry of a library whose labels no clip has."""


def teacher_config(settings: Settings, data: CorpusFolder) -> TalkerConfig:
    """The teacher's architecture. Only the frozen features depend on later audio: all else
    is as causal as the student, which can so be initialised from the teacher."""
    shared, teacher = settings.model.shared, settings.model.teacher
    own = _config(shared, data, teacher.context, teacher.decoder)
    return _on_features(own, settings, data)


def student_config(settings: Settings, data: CorpusFolder) -> TalkerConfig:
    """The student's architecture, the same in every round: the first round compresses."""
    shared, student = settings.model.shared, settings.model.student
    own = _config(shared, data, student.context, student.decoder)
    if student.frozen_features:
        return _on_features(own, settings, data)
    return replace(own, encoder_width=shared.encoder_width, encoder_depth=shared.encoder_depth)


def _on_features(own: TalkerConfig, settings: Settings, data: CorpusFolder) -> TalkerConfig:
    """An architecture whose input is the frozen encoder's features, and log-mel if the teacher's
    is."""
    shared, log_mel = settings.model.shared, settings.model.teacher.log_mel
    return replace(
        own,
        feature_dim=data.manifest.feature_dim,
        encoder_width=shared.encoder_width if log_mel else 0,
        encoder_depth=shared.encoder_depth if log_mel else 0,
    )


def _config(
    shared: SharedModelSettings,
    data: CorpusFolder,
    context: ContextSettings,
    decoder: DecoderSettings,
) -> TalkerConfig:
    """What teacher and student share. Where no clip has an identity (emotion), that half of the
    personalizer is switched off, over a library of one entry."""
    identities, emotions = data.manifest.identities, data.manifest.emotions
    own, ms = shared.personalizer, shared.look_ahead_ms
    return TalkerConfig(
        identities=tuple(identities) or (NOBODY,),
        emotions=tuple(emotions) or (NOBODY,),
        audio_dim=shared.audio_dim,
        context=context,
        decoder=decoder,
        personalizer=own.model_copy(
            update={
                "use_identity": own.use_identity and bool(identities),
                "use_emotion": own.use_emotion and bool(emotions),
            }
        ),
        schedule=shared.schedule,
        look_ahead=None if ms is None else look_ahead(ms),
        lip_seal=shared.lip_seal,
    )
