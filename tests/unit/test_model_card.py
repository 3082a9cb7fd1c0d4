"""The model card: what was measured, what the model cannot do, and its licence."""

import pytest
from tests import summaries
from tests.summaries import CORPUS

from diffusiontalker.export.model_card import model_card


def test_model_card_says_what_was_measured_and_what_it_cannot_do() -> None:
    corpus = {
        **CORPUS, "minutes": 75.4, "speakers": 16, "emotions": ["neutral", "anger"],
        "clips": {"test_unseen": 14},
    }  # fmt: skip
    rows = [
        summaries.row(
            name, 2, "test_unseen", mbe=mbe, lbe=0.05, energy_score=0.1, speed_upper=0.9,
            closure=0.7, emotion_f1=0.8,
        )
        for name, mbe in (("student-2", 0.1234), ("teacher", 9.0))
    ]  # fmt: skip
    card = model_card(summaries.run(*rows, corpus=corpus), "student-2")
    assert "fewer than 20 clips" in card
    assert (
        "| test_unseen | 14 | 0.123 | 0.050 | 0.100 | 0.700 | – | 0.900 | – | – | – | 0.800 |"
        in card
    )
    assert "9.000" not in card
    assert "in 2 sampling steps" in card
    assert "75 minutes, 16 speakers" in card
    assert "neutral, anger" in card
    assert "synthetic" in card
    assert "blinks" in card
    assert "Apache-2.0" in card
    recorded = summaries.run(*rows, corpus={**corpus, "source": "beat"})
    assert "synthetic" not in model_card(recorded, "student-2")


def test_a_card_names_the_speech_that_had_no_faces() -> None:
    row = summaries.row("student-2", 2)
    assert "pseudo-labels" not in model_card(summaries.run(row), "student-2")
    own = summaries.run(row, corpus={**CORPUS, "pseudo_labelled_minutes": 144.4})
    card = model_card(own, "student-2")
    assert "144 minutes of recordings without faces" in card
    assert "terms of the recordings without faces" in card
    beat = {**CORPUS, "source": "beat", "pseudo_labelled_minutes": 3.0}
    card = model_card(summaries.run(row, corpus=beat), "student-2")
    assert "for research that is not commercial" in card
    assert "terms of the recordings without faces" in card
    card = model_card(own, "student-2")
    assert "Apache-2.0, like the project" not in card
    assert "The training speech is synthetic" not in card


@pytest.mark.parametrize(
    ("source", "chosen", "of_run", "said"),
    [
        ("procedural", None, None, "Apache-2.0, like the project"),
        ("beat", None, None, "Depends on the training data (beat): for research"),
        ("mine.py:Mine", None, None, "Depends on the training data (mine.py:Mine): look up"),
        ("beat", None, "CC-BY-4.0", "CC-BY-4.0"),
        ("beat", "CC0-1.0", "CC-BY-4.0", "CC0-1.0"),
        ("procedural", "CC0-1.0", None, "CC0-1.0"),
    ],
)
def test_a_card_names_the_licence_chosen_or_what_the_data_ask_for(
    source: str, chosen: str | None, of_run: str | None, said: str
) -> None:
    summary = summaries.run(corpus={**CORPUS, "source": source}, licence=of_run)
    licence = model_card(summary, "student-2", chosen).split("## Licence")[1].strip()
    assert licence.startswith(said)
    assert "like the project" not in licence or source == "procedural"
