"""The grammar, and splits that share no 5-word run."""

import itertools

import numpy as np

from diffusiontalker.corpus.procedural import invented_words, speech, text


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


def test_invented_words_have_every_onset_and_coda_and_are_hardly_repeated():
    rng = np.random.default_rng(0)
    words = [invented_words.invent(rng) for _ in range(5000)]
    assert len(set(words)) > 4500
    assert all(word.isalpha() and word.islower() for word in words)
    for onset in invented_words.ONSETS:
        assert any(word.startswith(onset) for word in words), onset
    for coda in invented_words.CODAS:
        assert any(word.endswith(coda) for word in words), coda


def test_a_share_of_the_words_is_invented_and_none_changes_nothing():
    own = {word for sentence in some(4000) for word in text.ngrams(sentence) for word in word}

    def foreign(share: float) -> float:
        drawn = itertools.islice(text.sentences(np.random.default_rng(1), share), 500)
        lists = [[w.strip(".,!?").lower() for w in sentence.split()] for sentence in drawn]
        return float(np.mean([sum(w not in own for w in words) for words in lists]))

    assert foreign(0.0) < 0.05
    assert 0.8 < foreign(0.5) / (foreign(1.0) / 2) < 1.2
    drawn = itertools.islice(text.sentences(np.random.default_rng(0), 0.0), 50)
    assert list(drawn) == some(50)


def test_invented_words_are_pronounced_in_whole():
    """By eSpeak, whose phonemes all synthesizers take: letters of their own would be a spelling."""
    rng = np.random.default_rng(2)
    for _ in range(50):
        word = invented_words.invent(rng)
        spoken = speech.transcribe(word, "en-us")
        assert len(spoken) == 1, word
        assert len(spoken[0]) <= len(word) + 1, (word, spoken)
