"""Pseudo-labels: speech without faces, on which the teacher teaches its students."""

from typing import Annotated

from pydantic import Field

from diffusiontalker.config.section import Section, Seed


class PseudoLabelSettings(Section):
    """Recordings without faces, in whatever language: for each the teacher's own face is drawn once
    and takes the place of a recorded one in every round (ours; self-training on untranscribed
    speech, arXiv 1909.09116, between networks of two sizes). A student then learns from real
    voices, rooms and microphones what its small encoder does not learn from a synthesizer."""

    recordings: str | None = None
    """Folder or s3:// prefix of recordings; every folder in it is a speaker. None: no
    pseudo-labels."""
    emotion: str | None = "neutral"
    """The emotion of all of them. None: the one that the teacher recognises, which on real voices
    is worth little when the teacher knows synthetic ones alone."""
    clip_seconds: Annotated[float, Field(ge=2, le=30)] = 8.0
    """Length of the clips: long recordings are cut where they are quiet, short ones of a speaker
    joined, with pauses."""
    seed: Seed = 0
    """Of faces, pauses, and which recordings are joined."""
