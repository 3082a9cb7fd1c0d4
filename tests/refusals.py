"""What tests of mistakes share."""

from collections.abc import Callable

import pytest

from diffusiontalker.errors import UserError


def refusal(action: Callable[[], object]) -> str:
    """The message with which ``action`` is refused: one line."""
    with pytest.raises(UserError) as error:
        action()
    assert "\n" not in str(error.value)
    return str(error.value)
