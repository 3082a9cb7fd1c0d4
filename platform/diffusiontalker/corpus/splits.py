"""Who and what is held out. Decided by hashes of names, so that a take added later moves no other
and every worker comes to the same result."""

import difflib
import hashlib
from collections.abc import Sequence

from diffusiontalker.config import SplitSettings
from diffusiontalker.corpus.manifest import SPLITS
from diffusiontalker.corpus.sources.base import Take
from diffusiontalker.errors import UserError

TRAIN, VAL, TEST_SEEN, TEST_UNSEEN = SPLITS


def by_take(takes: Sequence[Take], settings: SplitSettings, final: bool) -> dict[str, str]:
    """The split of every take, by its id.

    In this order: speakers set aside as unseen, by the settings or by the split of one of their
    takes; the take's own split; and shares of what is left, where takes of one group stay together.

    Args:
        takes: all takes of a source.
        settings: shares or names.
        final: the takes' own splits also say who is unseen; then a share sets nobody aside.

    Raises:
        UserError: a speaker that is to be unseen is not there, or has a take that is to be seen.
    """
    unseen = _unseen(takes, settings, final) | _held_out(takes)
    out: dict[str, str] = {}
    open_groups: dict[str, list[Take]] = {}
    for take in takes:
        if take.identity in unseen:
            out[take.id] = TEST_UNSEEN
        elif take.split is not None:
            out[take.id] = take.split
        else:
            open_groups.setdefault(take.group or take.id, []).append(take)
    ordered = sorted(open_groups, key=lambda group: _draw(settings.seed, group))
    count = len(ordered)
    # A small set still gets one group of each, as long as most remain for training.
    test = max(round(settings.test * count), int(settings.test > 0 and count >= 3))
    val = max(round(settings.val * count), int(settings.val > 0 and count >= 2))
    for rank, group in enumerate(ordered):
        split = TEST_SEEN if rank < test else VAL if rank < test + val else TRAIN
        out.update({take.id: split for take in open_groups[group]})
    return out


def by_clip(clip: str, settings: SplitSettings) -> str:
    """The split of one clip by its id alone: v1's way, which puts parts of one take on both
    sides."""
    drawn = _draw(settings.seed, clip)
    if drawn < settings.test:
        return TEST_SEEN
    return VAL if drawn < settings.test + settings.val else TRAIN


def _held_out(takes: Sequence[Take]) -> set[str]:
    """Speakers of takes whose own split is ``test_unseen``."""
    found = {take.identity for take in takes if take.split == TEST_UNSEEN} - {None}
    for take in takes:
        if take.identity in found and take.split not in (None, TEST_UNSEEN):
            raise UserError(
                f"{take.id}: its split is {take.split}, but another take of {take.identity} is "
                f"{TEST_UNSEEN}: an unseen speaker is seen nowhere; give all of them that split"
            )
    return {name for name in found if name is not None}


def _unseen(takes: Sequence[Take], settings: SplitSettings, final: bool) -> set[str]:
    known = {take.identity for take in takes if take.identity is not None}
    wanted = settings.unseen_speakers
    if isinstance(wanted, tuple):
        for name in wanted:
            if name not in known:
                near = difflib.get_close_matches(name, sorted(known), n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"{len(known)} others are"
                raise UserError(f"split.unseen_speakers: {name!r} is not in the set; {hint}")
        return set(wanted)
    if final:
        return set()
    ordered = sorted(known, key=lambda name: _draw(settings.seed, name))
    return set(ordered[: round(wanted * len(known))])


def _draw(seed: int, name: str) -> float:
    """A number in [0, 1) that follows from the name."""
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
