"""Assignment of takes to splits, by hashes of names: adding a take moves no other, and every worker
gets the same result."""

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

    In order of precedence: unseen speakers, by the settings or by the split of one of their takes;
    the take's own split; shares of the rest, where takes of one group stay together.

    Args:
        takes: all takes of a source.
        settings: shares or names.
        final: the takes' own splits also determine the unseen speakers; a share of them is then
            ignored.

    Raises:
        UserError: an unseen speaker that does not occur, or has a take in another split.
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
    ordered = sorted(open_groups, key=lambda group: _hash_to_unit(settings.seed, group))
    count = len(ordered)
    # A small set still gets one group in each, as long as most remain for training.
    test = max(round(settings.test * count), int(settings.test > 0 and count >= 3))
    val = max(round(settings.val * count), int(settings.val > 0 and count >= 2))
    for rank, group in enumerate(ordered):
        split = TEST_SEEN if rank < test else VAL if rank < test + val else TRAIN
        out.update({take.id: split for take in open_groups[group]})
    return out


def by_clip(clip: str, settings: SplitSettings) -> str:
    """The split of one clip by its id alone, as in v1: parts of one take end up in several
    splits."""
    value = _hash_to_unit(settings.seed, clip)
    if value < settings.test:
        return TEST_SEEN
    return VAL if value < settings.test + settings.val else TRAIN


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
    ordered = sorted(known, key=lambda name: _hash_to_unit(settings.seed, name))
    return set(ordered[: round(wanted * len(known))])


def _hash_to_unit(seed: int, name: str) -> float:
    """A hash of the name, uniform in [0, 1)."""
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
