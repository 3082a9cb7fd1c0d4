"""Invented words: syllables of English sounds in combinations that a small vocabulary lacks.

A network that learns from a few hundred words learns the words: of voices it was trained on, a
student closed the lips in 91 % of the p, b, m of the grammar's words and in 69 % of others. Here
every onset meets every vowel and coda of English (Wikipedia's article on English phonology lists
them), spelled so that a synthesizer's letter rules read them. Our choice.
"""

import numpy as np

ONSETS = """
    b bl br ch cl cr d dr dw f fl fr g gl gr h j k kr l m n p pl pr qu r s sc scr sh shr sk sl sm
    sn sp spl spr squ st str sw t th thr tr tw v w wh y z""".split()
VOWELS = "a e i o u a e i o u ai ar ea ee er ew oa oi oo or ou ow".split()
CODAS = """
    b bs bd bz ck d ds f ft g gs k ks l lb ld lf lk lm lms lp lps lt lth m md mf mp mps mpt ms mz n
    nch nd ng nk nks nt nth p ps pt pth s sh sk sp st t th ts v vd x z""".split()
CODAS_WITHIN = [coda for coda in CODAS if len(coda) == 1]
"""Within a word: one consonant beside the next onset is about as much as English has."""
OPEN = 0.15
"""Share of the syllables without a coda."""
BARE = 0.1
"""Share of the syllables without an onset."""
SYLLABLES = (0.5, 0.4, 0.1)
"""Shares of the words of one, two and three syllables, before the short ones are left out."""
SHORTEST = 5
"""Letters: shorter ones are often words, and some of them rude."""


def invent(rng: np.random.Generator) -> str:
    """A word in lower case, drawn with ``rng``."""
    while True:
        count = 1 + int(rng.choice(len(SYLLABLES), p=SYLLABLES))
        word = "".join(_syllable(rng, last=i == count - 1) for i in range(count))
        if len(word) >= SHORTEST:
            return word


def _syllable(rng: np.random.Generator, last: bool) -> str:
    onset = "" if rng.random() < BARE else _one(ONSETS, rng)
    coda = "" if rng.random() < OPEN else _one(CODAS if last else CODAS_WITHIN, rng)
    return onset + _one(VOWELS, rng) + coda


def _one(choices: list[str], rng: np.random.Generator) -> str:
    return choices[rng.integers(len(choices))]
