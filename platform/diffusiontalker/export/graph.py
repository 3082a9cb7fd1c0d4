"""The student as one ONNX graph: encoder, personalizer and every sampling step, unrolled."""

import copy
import logging
import warnings
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.diffusion.samplers import ddim_step
from diffusiontalker.model.decoder import GruDecoder
from diffusiontalker.model.talker import Talker
from diffusiontalker.runtime.log_mel import BANDS, PER_FRAME


class StudentGraph(nn.Module):
    """Inputs and outputs of ``student.onnx``; see ``forward``."""

    def __init__(self, talker: Talker, steps: int) -> None:
        super().__init__()
        self.talker = talker.eval()
        self.steps = steps

    def forward(
        self, log_mel: Tensor, noise: Tensor, identity: Tensor, emotion: Tensor, from_voice: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One clip.

        Args:
            log_mel: (1, 2T, 80).
            noise: (1, T, 52), standard normal.
            identity: (1, I) weights over the library; used where ``from_voice[0]`` is 0.
            emotion: (1, E) likewise, ``from_voice[1]``.
            from_voice: (2,) 1 where the most similar entry is to be used instead.

        Returns:
            coefficients (1, T, 52) in 0-1, and the similarities of the voice to every identity
            (1, I) and emotion (1, E), cosines.
        """
        talker = self.talker
        mask = torch.ones_like(noise[..., :1])
        audio = talker.encode(log_mel, mask)
        voice = talker.listen(audio, mask)
        chosen, similarities = [], []
        for heard, library, weights, auto in (
            (voice.identity, talker.personalizer.identities(), identity, from_voice[0]),
            (voice.emotion, talker.personalizer.emotions(), emotion, from_voice[1]),
        ):
            similarity = heard @ library.T
            nearest = (similarity >= similarity.amax(-1, keepdim=True)).to(weights.dtype)
            weights = auto * nearest + (1 - auto) * weights
            chosen.append(nn.functional.normalize(weights @ library, dim=-1))
            similarities.append(similarity)
        condition = talker.condition(audio, chosen[0], chosen[1], mask)
        x = noise
        for t, s in pairwise(talker.schedule.times(self.steps)):
            x_0 = talker.predict(x, t.expand(1), condition)
            x = ddim_step(talker.schedule, x, x_0, t, s)
        return talker.destandardise(x).clamp(0, 1), similarities[0], similarities[1]


class OnnxGru(nn.Module):
    """A GRU (batch first) as ONNX's operator: torch would unroll it for one length of clip."""

    def __init__(self, gru: nn.GRU) -> None:
        super().__init__()
        self.width = gru.hidden_size
        self.layers = [[_zrn(weight)[None] for weight in layer] for layer in gru.all_weights]

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """``x`` (B, T, D) -> (B, T, W); like ``nn.GRU`` but for the last state."""
        h = x.transpose(0, 1)
        for w_input, w_hidden, b_input, b_hidden in self.layers:
            h = torch.onnx.ops.symbolic(
                "GRU",
                (h, w_input, w_hidden, torch.cat([b_input, b_hidden], dim=1)),
                {"hidden_size": self.width, "linear_before_reset": 1},
                dtype=h.dtype,
                shape=(h.shape[0], 1, h.shape[1], self.width),
            ).squeeze(1)
        return h.transpose(0, 1), None


def _zrn(weight: Tensor) -> Tensor:
    """Torch stacks the gates (3W, ...) as reset, update, new; ONNX as update, reset, new."""
    reset, update, new = weight.detach().chunk(3)
    return torch.cat([update, reset, new])


def export_onnx(talker: Talker, steps: int, path: Path) -> None:
    """Write ``student.onnx`` for clips of any length (float32)."""
    decoder = talker.decoder
    if isinstance(decoder, GruDecoder):
        talker = copy.deepcopy(talker)
        talker.decoder.gru = OnnxGru(decoder.gru)
    frames = 64
    inputs = (
        torch.zeros(1, PER_FRAME * frames, BANDS),
        torch.zeros(1, frames, len(CHANNELS)),
        torch.zeros(1, len(talker.config.identities)),
        torch.zeros(1, len(talker.config.emotions)),
        torch.ones(2),
    )
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    frame_axis = torch.export.Dim("frames", min=2, max=1_000_000)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            StudentGraph(talker, steps),
            inputs,
            dynamo=True,
            verbose=False,
            input_names=["log_mel", "noise", "identity", "emotion", "from_voice"],
            output_names=["coefficients", "identity_similarity", "emotion_similarity"],
            dynamic_shapes=({1: PER_FRAME * frame_axis}, {1: frame_axis}, {}, {}, {}),
        )
        assert program is not None
        program.optimize()
        program.save(path, external_data=False)
