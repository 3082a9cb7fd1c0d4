"""The settings of ``jobs/prepare.py``: a data set into shards."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from diffusiontalker.config.section import Section, Seed, Share


class SourceSettings(Section):
    """Where recordings come from."""

    kind: str
    """beat, 3d-etf, vocaset, folder, speech, procedural, or a class of your own as
    path/to/file.py:Class."""
    root: str = ""
    """Folder or s3:// prefix of the data set, as published; the procedural one has none."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Further options of the kind; see ``docs/data.md``."""


class SplitSettings(Section):
    """Which speakers and takes are held out."""

    rule: Literal["take", "published"] = "take"
    """take: a take, and all takes of its group, lie in one split. published: v1's split by clip,
    in which parts of one take stand on both sides; for comparison with its figures alone."""
    val: Share = 0.08
    """Share of the takes (or clips) of seen speakers, if the data set has no split of its own."""
    test: Share = 0.08
    """Share that becomes test_seen, likewise."""
    unseen_speakers: Share | tuple[str, ...] = 0.1
    """Speakers that become test_unseen: a share of them, or their names; none where the rule is
    published."""
    seed: Seed = 0

    @model_validator(mode="after")
    def _leaves_some(self) -> "SplitSettings":
        if self.val + self.test >= 1:
            raise ValueError(f"val and test leave nothing to train on: {self.val} + {self.test}")
        return self

    @model_validator(mode="after")
    def _published_sees_everyone(self) -> "SplitSettings":
        given = "unseen_speakers" in self.model_fields_set and self.unseen_speakers
        if self.rule == "published" and given:
            raise ValueError(
                f"rule published splits by clip and holds out no speaker, but unseen_speakers is "
                f"{self.unseen_speakers}; set split.unseen_speakers=0, or rule take"
            )
        return self


class DataSettings(Section):
    """All settings of ``jobs/prepare.py``: a data set into shards."""

    source: SourceSettings
    output: str
    """Folder or s3:// prefix of the shards."""
    clip_seconds: Annotated[float, Field(ge=1, le=60)] = 10.0
    """Length of a clip (v1: 10); the rest of a take becomes a shorter one."""
    min_clip_seconds: Annotated[float, Field(ge=0.5)] = 1.0
    """A shorter rest is left out."""
    max_mismatch_seconds: Annotated[float, Field(ge=0)] = 0.5
    """Largest difference in length of audio and coefficients; the longer is cut."""
    max_mismatch_share: Share = 0.15
    """Largest difference as a share of the longer: 25 fps taken for 30 differ by a sixth."""
    out_of_range: Literal["refuse", "clip"] = "refuse"
    """What to do with a take with coefficients below -0.5 or above 1.5. Smaller excesses are always
    clipped to 0 to 1; clip does so with all."""
    max_quarantined: Share = 0.1
    """Share of the takes that may be malformed before the whole job counts as failed."""
    keep_lifeless: bool = False
    """Keep takes with silent audio or a motionless face; else they are quarantined, since their
    motion is unrelated to their audio."""
    shard_minutes: Annotated[float, Field(gt=0)] = 8.0
    """Minutes of speech that a shard aims for; a longer take has a shard of its own."""
    split: SplitSettings = SplitSettings()

    @model_validator(mode="after")
    def _clips_are_kept(self) -> "DataSettings":
        if self.min_clip_seconds > self.clip_seconds:
            raise ValueError(
                f"min_clip_seconds {self.min_clip_seconds:g} is above clip_seconds "
                f"{self.clip_seconds:g}: no clip would be kept"
            )
        return self
