"""An aligner of one's own in one file: every letter is a phone, all of one length."""

import numpy as np

from diffusiontalker.corpus.alignment.base import Aligner, Alignment
from diffusiontalker.corpus.textgrid import Span
from diffusiontalker.errors import UserError


class Letters(Aligner):
    """The text's words share the recording between a tenth of a second of pause at either end."""

    min_score = -10.0

    def align(self, samples: np.ndarray, text: str | None) -> Alignment:
        words = (text or "").split()
        if not words:
            raise UserError("its text has no words")
        end = len(samples) / 16_000
        times = np.linspace(0.1, end - 0.1, len("".join(words)) + 1).tolist()
        spans, spoken, at = [Span(0.0, 0.1, "")], [], 0
        for word in words:
            spoken.append(Span(times[at], times[at + len(word)], word))
            for letter in word:
                spans.append(Span(times[at], times[at + 1], letter))
                at += 1
        score = -99.0 if "unlike" in words else -1.0
        return Alignment((*spans, Span(times[-1], end, "")), tuple(spoken), score)
