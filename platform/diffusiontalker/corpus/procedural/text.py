"""Sentences for the procedural corpus: a small grammar, and splits that share no word 5-gram.

Its words cover the phonemes of English, with many bilabials and labiodentals, because viewers
notice lip closures first. They are few: a share of them can be invented instead.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from diffusiontalker.corpus.procedural.invented_words import invent

NGRAM = 5
"""Words in an n-gram; no two splits share an n-gram of this length."""

WORDS: dict[str, str] = {
    "name": """
        Emma, Peter, Vivian, Thomas, Philip, Maya, Oliver, Zoe, George, Bonnie, Hugh, Charlotte,
        Boris, Ruth, Walter, Fiona, Miguel, Beth, Joyce, Simon, Paula, Victor, Amy, Shawn""",
    "person": """
        the baker, my neighbour, our teacher, the old captain, a young doctor, the bus driver,
        her brother, his father, the whole family, the mayor, a famous painter, the farmer,
        their boss, the night watchman, every child, somebody, the judge, a village priest,
        my cousin, the crew, the poor widow, that journalist, both players, the shy violinist""",
    "animal": """
        the puppy, a wolf, the brown fox, five sheep, the parrot, a beaver, the whale, two mice,
        the goose, an owl, the bumblebee, a giraffe, the frogs, my pony""",
    "adjective": """
        beautiful, purple, heavy, quiet, broken, shiny, huge, empty, modern, rough, yellow,
        foolish, warm, bitter, smooth, thick, joyful, vague, narrow, wooden, cheap, brave, awful,
        silver, hollow, damp, bright, muddy, fragile, velvet""",
    "thing": """
        umbrella, bicycle, book, piano, coffee cup, map, window, garden fence, boat, mirror,
        telephone, blanket, violin, hammer, package, envelope, bridge, lamp, apple pie, football,
        newspaper, camera, toothbrush, vase, wheel, cushion, ship, jacket, church bell, puzzle,
        thermometer, photograph, pumpkin, oven, box of matches, pair of gloves""",
    "place": """
        in the kitchen, by the river, near the harbour, behind the church, under the bridge,
        at the market, on the roof, above the valley, across the field, at the airport,
        beside the fire, in a small village, on the beach, outside the theatre, at my house,
        between two mountains, along the path, in the middle of the forest, upstairs,
        over the hill""",
    "time": """
        yesterday morning, before breakfast, on Friday, every summer, last night,
        at half past five, in the evening, once a month, during the storm, after the meeting,
        this weekend, in July, a few minutes ago, just before dawn, for the very first time,
        twenty years later, at noon""",
    "past": """
        bought, found, dropped, painted, borrowed, forgot, carried, fixed, moved, washed, pushed,
        lifted, gave away, threw, hid, wrapped, measured, chose, shook, sold, remembered, opened,
        described, broke, covered, admired""",
    "move": """
        walked, ran, jumped, travelled, disappeared, waited, fell asleep, vanished, swam,
        climbed, marched, floated, wandered, stopped, laughed, whispered, shouted, moved""",
    "adverb": """
        slowly, very carefully, happily, without a word, as usual, suddenly, much too fast,
        with both hands, rather quietly, by mistake, finally, at once, almost perfectly, never,
        on purpose, for hours""",
    "verb": """
        believe, follow, change, remember, avoid, improve, finish, explain, watch, save, help,
        choose, prove, imagine, move, measure, join, push, forgive, visit""",
    "state": """
        a wonderful idea, far too expensive, not what we hoped for, the best part of the job,
        a complete surprise, over before it began, worth every penny, as smooth as glass,
        none of my business, a bit of a problem, exactly the same, hopelessly lost,
        much bigger than before, a matter of patience, beyond belief, perfectly obvious""",
}
"""Choices for each kind of word, separated by commas."""
PATTERNS = (
    "{person} {past} the {adjective} {thing} {time}.",
    "{name} {past} a {adjective} {thing} {place}.",
    "{animal} {move} {adverb} {place}.",
    "{time}, {person} {move} {place}.",
    "why would {person} {verb} the {thing}?",
    "did {name} ever {verb} the {adjective} {thing}?",
    "please {verb} the {thing} {place}, {name}!",
    "I think the {adjective} {thing} {place} is {state}.",
    "{name} and {name} {move} {place} {time}.",
    "the {thing} that {person} {past} was {adjective} and {adjective}.",
    "they said {animal} {move} {place}, which was {state}.",
    "we {verb} {person} {adverb}, and that is {state}.",
    "what a {adjective} {thing}, {name}!",
    "if you {verb} the {thing}, {person} might {verb} the {thing} {adverb}.",
    "it was {state} when {name} {past} the {thing}.",
    "nobody {past} {name}'s {adjective} {thing} {adverb}.",
)
INVENTED = {
    "name": "{}",
    "person": "the {}",
    "animal": "the {}s",
    "adjective": "{}",
    "thing": "{}",
    "past": "{}ed",
    "move": "{}ed",
    "verb": "{}",
}
"""Kinds of words that can be invented, and what stands around one."""
_CHOICES = {kind: [" ".join(w.split()) for w in words.split(",")] for kind, words in WORDS.items()}


def ngrams(text: str) -> set[tuple[str, ...]]:
    """All word 5-grams of a text, in lower case without punctuation.

    A text of fewer words is its own single n-gram.
    """
    words = [w.strip(".,!?").lower() for w in text.split()]
    if len(words) <= NGRAM:
        return {tuple(words)}
    return {tuple(words[i : i + NGRAM]) for i in range(len(words) - NGRAM + 1)}


def sentences(rng: np.random.Generator, invented: float = 0.0) -> Iterator[str]:
    """Endless sentences of the grammar, drawn with ``rng``; a share ``invented`` of the nouns,
    verbs and adjectives are ``invented_words``."""
    while True:
        text = PATTERNS[rng.integers(len(PATTERNS))]
        while "{" in text:
            start, end = text.index("{"), text.index("}")
            text = text[:start] + _choose(text[start + 1 : end], rng, invented) + text[end + 1 :]
        yield text[0].upper() + text[1:]


def _choose(kind: str, rng: np.random.Generator, invented: float) -> str:
    if invented and kind in INVENTED and rng.random() < invented:
        word = invent(rng)
        return INVENTED[kind].format(word.capitalize() if kind == "name" else word)
    return _CHOICES[kind][rng.integers(len(_CHOICES[kind]))]


def utterances(rng: np.random.Generator, invented: float = 0.0) -> Iterator[list[str]]:
    """Endless utterances of one or two ``sentences``, equally often."""
    source = sentences(rng, invented)
    while True:
        yield [next(source) for _ in range(rng.integers(1, 3))]


def split_utterances(
    counts: Sequence[int], rng: np.random.Generator, invented: float = 0.0
) -> list[list[str]]:
    """Distinct utterances for each split; no two splits share a word 5-gram.

    Args:
        counts: number of utterances in each split.
        rng: source of the choice.
        invented: share of words as for ``sentences``.

    Returns:
        One list of utterances for each count. No sentence occurs twice.
    """
    split_of_ngram: dict[tuple[str, ...], int] = {}
    used: set[str] = set()
    splits: list[list[str]] = [[] for _ in counts]
    # The smallest splits choose first: a large one would soon take every common n-gram.
    for split in sorted(range(len(counts)), key=lambda i: counts[i]):
        for drawn in utterances(rng, invented):
            if len(splits[split]) == counts[split]:
                break
            utterance = " ".join(drawn)
            found = ngrams(utterance)
            if used & set(drawn) or any(split_of_ngram.get(n, split) != split for n in found):
                continue
            used.update(drawn)
            split_of_ngram.update(dict.fromkeys(found, split))
            splits[split].append(utterance)
    return splits
