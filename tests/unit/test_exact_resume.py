"""A run that is stopped at any step and resumed has the same weights to the bit; two workers are in
``test_training_workers``."""

from pathlib import Path

import pytest
import torch
from tests.unit.resume import EPOCHS, STEPS, Stopped, every_resume_agrees, train

from diffusiontalker.training import random_state


def test_a_run_resumes_at_any_step(tmp_path: Path) -> None:
    assert every_resume_agrees(tmp_path, 0) == EPOCHS * STEPS


def test_a_run_resumes_between_accumulated_steps(tmp_path: Path) -> None:
    """Whole steps are of four batches and of two; the best weights are kept."""
    assert every_resume_agrees(tmp_path, 0, accumulate=4, select="best") == EPOCHS * 2


def test_states_of_another_device_are_not_restored() -> None:
    """A run that was begun on a CPU may go on with a GPU, within an epoch, too."""
    generator = torch.Generator().manual_seed(1)
    states = random_state.of_all_workers(generator)
    torch.rand(1, generator=generator)
    random_state.restore(states | {"0.cuda": torch.zeros(16)}, 0, generator)
    assert not torch.equal(generator.get_state(), states["0.own"])
    random_state.restore(states, 0, generator)
    assert torch.equal(generator.get_state(), states["0.own"])


def test_another_number_of_steps_goes_on_at_the_same_share(tmp_path: Path) -> None:
    """As with another number of workers."""
    with pytest.raises(Stopped):
        train(tmp_path / "part", stop=3)
    _, state = train(tmp_path / "rest", resume=tmp_path / "part" / "0-2", steps=2 * STEPS)
    assert state.step == 3 + STEPS + 2 * STEPS
    rates = [point["learning_rate"] for point in state.history if "learning_rate" in point]
    assert sorted(rates[1:], reverse=True) == rates[1:]
