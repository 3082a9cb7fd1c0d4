"""The grammar, and splits that share no 5-word run."""

import itertools

import numpy as np

from diffusiontalker.corpus.procedural import text


def some(count: int, seed: int = 0) -> list[str]:
    return list(itertools.islice(text.sentences(np.random.default_rng(seed)), count))


def test_runs_by_hand():
    assert text.ngrams("The fox, the OWL ran up.") == {
        ("the", "fox", "the", "owl", "ran"),
        ("fox", "the", "owl", "ran", "up"),
    }
    assert text.ngrams("Did Emma's boat sink?") == {("did", "emma's", "boat", "sink")}
    assert text.ngrams("What a boat, Emma!") == {("what", "a", "boat", "emma")}


def test_sentences_are_filled_in_and_begin_with_a_capital():
    for sentence in some(500):
        assert not set(sentence) & set("{}\n")
        assert "  " not in sentence
        assert sentence[0].isupper()
        assert sentence[-1] in ".?!"


def test_every_word_is_used():
    said = " ".join(some(4000)).lower()
    for kind, words in text.WORDS.items():
        for word in words.split(","):
            assert " ".join(word.split()).lower() in said, (kind, word)


def test_every_sentence_has_a_whole_run():
    assert min(len(sentence.split()) for sentence in some(4000)) >= text.NGRAM


def test_utterances_are_of_one_or_two_sentences_equally_often():
    drawn = itertools.islice(text.utterances(np.random.default_rng(0)), 1000)
    lengths = [len(said) for said in drawn]
    assert set(lengths) == {1, 2}
    assert 450 < lengths.count(2) < 550


def test_no_run_and_no_utterance_stands_in_two_splits():
    counts = [400, 40, 40, 40]
    splits = text.split_utterances(counts, np.random.default_rng(3))
    assert [len(split) for split in splits] == counts
    everything = list(itertools.chain(*splits))
    assert len(set(everything)) == len(everything)
    runs = [set().union(*map(text.ngrams, split)) for split in splits]
    for one, other in itertools.combinations(runs, 2):
        assert not one & other


def test_splits_follow_the_seed():
    def drawn(seed: int) -> list[list[str]]:
        return text.split_utterances([20, 5], np.random.default_rng(seed))

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert text.split_utterances([0, 2], np.random.default_rng(1))[0] == []
