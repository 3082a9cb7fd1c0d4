"""Whether an alignment can be trusted. All limits are our choice."""

from diffusiontalker.corpus.alignment.base import Alignment

MIN_RATE, MAX_RATE = 4.0, 25.0
"""Phones a second of speech; people speak 8 to 15."""
MAX_PHONE = 1.2
"""Seconds of the longest phone."""
SHORT, MAX_SHORT = 0.031, 0.4
"""Seconds of the shortest phones that an aligner can place, and the most that may be so short: text
that is not spoken is squeezed into them."""


def fault(alignment: Alignment, min_score: float | None) -> str | None:
    """Why an alignment is not trusted, in a few words; None: it is."""
    spoken = [phone.end - phone.start for phone in alignment.phones if phone.label]
    if not spoken:
        return "no speech was found in it"
    if min_score is not None and alignment.score is not None and alignment.score < min_score:
        return (
            f"its text hardly fits its sound (score {alignment.score:.1f}, at least "
            f"{min_score:g} is needed: source.options.min_score)"
        )
    rate = len(spoken) / sum(spoken)
    if not MIN_RATE <= rate <= MAX_RATE:
        return f"{rate:.1f} phones a second: its text is not what is spoken"
    if max(spoken) > MAX_PHONE:
        return f"a phone of {max(spoken):.1f} s: its text is not what is spoken"
    short = sum(seconds < SHORT for seconds in spoken) / len(spoken)
    if short > MAX_SHORT:
        return f"{short:.0%} of its phones are as short as can be: its text is not what is spoken"
    return None
