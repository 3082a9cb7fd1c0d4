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
    return replace(
        _config(shared, data, teacher.context, teacher.decoder),
        feature_dim=data.manifest.feature_dim,
        encoder_width=shared.encoder_width if teacher.log_mel else 0,
        encoder_depth=shared.encoder_depth if teacher.log_mel else 0,
    )


def student_config(settings: Settings, data: CorpusFolder) -> TalkerConfig:
    """The student's architecture, the same in every round: the first round compresses."""
    shared, student = settings.model.shared, settings.model.student
    return replace(
        _config(shared, data, student.context, student.decoder),
        encoder_width=shared.encoder_width,
        encoder_depth=shared.encoder_depth,
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
