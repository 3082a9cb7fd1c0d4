"""What rooms, microphones and lines do to speech: one pure function per kind.

All take and return mono samples (n,) float32 at 16 kHz, of equal length and aligned in time:
filters have no phase, delays of codecs are removed, and the direct sound of a room arrives at once.
The level may change (``matched_level``).
"""

from io import BytesIO
from typing import Literal

import numpy as np
import soundfile
import soxr

from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.front_end import TRAINING
from diffusiontalker.audio.level import apply_level, speech_level
from diffusiontalker.errors import UserError

Law = Literal["ulaw", "alaw"]
TELEPHONE_RATE = 8000
TELEPHONE_HZ = 300.0, 3400.0
"""The telephone band (ITU-T G.712)."""
SLOPE = 0.05
"""Width of a filter's transition band, as a share of the cut-off frequency."""
OPUS_KBIT = 6.0, 256.0
"""Least and most of a channel that libsndfile's compression level selects."""
MP3_KBIT = 8.0, 160.0
"""Likewise at 16 kHz (MPEG-2 Layer III)."""
MP3_DELAY = 576 + 529
"""Samples by which LAME's encoder and a decoder delay a file that does not state it: at low bit
rates a frame has no room for that."""
LOWEST_NOISE_HZ = 20.0
"""Below it the spectrum of coloured noise is flat, so that its power is that of audible noise."""


def low_pass(samples: np.ndarray, cutoff: float) -> np.ndarray:
    """Without what lies above ``cutoff`` Hz."""
    return filtered(samples, 1 - _ramp(_frequencies(samples), cutoff))


def telephone(samples: np.ndarray, law: Law) -> np.ndarray:
    """A narrow-band telephone line: 300 to 3400 Hz, 8 kHz, 8 bits a sample (ITU-T G.711)."""
    hz, (low, high) = _frequencies(samples), TELEPHONE_HZ
    line = filtered(samples, _ramp(hz, low) * (1 - _ramp(hz, high)))
    line = soxr.resample(line, SAMPLE_RATE, TELEPHONE_RATE)
    file, kind = BytesIO(), {"format": "RAW", "subtype": law.upper()}
    soundfile.write(file, np.clip(line, -1, 1), TELEPHONE_RATE, **kind)
    file.seek(0)
    line, _ = soundfile.read(file, samplerate=TELEPHONE_RATE, channels=1, dtype="float32", **kind)
    return _fitted(soxr.resample(line, TELEPHONE_RATE, SAMPLE_RATE), len(samples))


def opus(samples: np.ndarray, kbit: float) -> np.ndarray:
    """Encoded as Opus (RFC 6716) at 6 to 256 kbit/s, and decoded."""
    least, most = OPUS_KBIT
    return _coded(samples, "OGG", "OPUS", 1 - (kbit - least) / (most - least))


def mp3(samples: np.ndarray, kbit: float) -> np.ndarray:
    """Encoded as MP3 at a constant 8 to 160 kbit/s (the next lower of the standard's), and
    decoded."""
    least, most = MP3_KBIT
    padded = np.pad(samples, (0, 2 * MP3_DELAY))  # the delayed end must still be encoded
    # Half a kbit/s more: the encoder takes the next lower rate of the standard.
    level = 1 - (kbit + 0.5 - least) / (most - least)
    decoded = _coded(padded, "MP3", "MPEG_LAYER_III", level, bitrate_mode="CONSTANT")
    return _fitted(decoded if len(decoded) == len(padded) else decoded[MP3_DELAY:], len(samples))


def room_response(rt60: float, direct_db: float, rng: np.random.Generator) -> np.ndarray:
    """The impulse response of a room: the direct sound, and Polack's diffuse tail behind it (1988:
    white noise that decays exponentially).

    Args:
        rt60: reverberation time in seconds, in which the tail falls by 60 dB.
        direct_db: direct-to-reverberant energy ratio in dB.
        rng: draws the tail.
    """
    seconds = np.arange(1, round(rt60 * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.normal(size=len(seconds)) * 10 ** (-3 * seconds / rt60)
    tail *= 10 ** (-direct_db / 20) / np.sqrt(np.square(tail).sum())
    return np.concatenate([[1.0], tail])


def convolved(samples: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Samples through an impulse response (m,), whose first sample is the direct sound."""
    size = 1 << (len(samples) + len(response)).bit_length()  # a quick transform
    spectrum = np.fft.rfft(samples, size) * np.fft.rfft(response, size)
    return np.fft.irfft(spectrum, size)[: len(samples)].astype(np.float32)


def coloured_noise(count: int, exponent: float, rng: np.random.Generator) -> np.ndarray:
    """Noise (count,) whose power falls with frequency to the ``exponent``: 0 white, 1 pink,
    2 brown."""
    white = rng.normal(size=count).astype(np.float32)
    return filtered(white, np.maximum(_frequencies(white), LOWEST_NOISE_HZ) ** (-exponent / 2))


def with_noise(samples: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Speech and noise (n,), whose power is ``snr_db`` dB below the speech's: pauses do not count
    (``level.speech_level``)."""
    noise = noise - noise.mean()
    power = float(np.square(noise).mean())
    if power == 0:
        return samples
    _, gain = speech_level(samples)
    wanted = 10 ** ((TRAINING.level_db - snr_db) / 10) / gain**2
    return (samples + noise * np.sqrt(wanted / power)).astype(np.float32)


def clipped(samples: np.ndarray, decibels: float) -> np.ndarray:
    """Clipped so many dB below the peak, as by an input that is overdriven."""
    limit = float(np.abs(samples).max()) * 10 ** (-decibels / 20)
    return np.clip(samples, -limit, limit)


def equalised(samples: np.ndarray, hz: np.ndarray, decibels: np.ndarray) -> np.ndarray:
    """Through a microphone with gains of so many dB at the frequencies ``hz``, which rise; between
    them the gain is linear over octaves, outside it stays."""
    own = np.log2(np.maximum(_frequencies(samples), 1.0))
    return filtered(samples, 10 ** (np.interp(own, np.log2(hz), decibels) / 20))


def matched_level(samples: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """Samples without DC, at the level of the speech in ``clean``, within ±1."""
    mean, gain = speech_level(samples)
    return apply_level(samples, mean, gain / speech_level(clean)[1])


def filtered(samples: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """Samples whose spectrum (``_frequencies``) is multiplied by real gains: no phase, no delay."""
    size = _transform_size(samples)
    spectrum = np.fft.rfft(samples, size) * gains
    return np.fft.irfft(spectrum, size)[: len(samples)].astype(np.float32)


def _transform_size(samples: np.ndarray) -> int:
    """Points of a quick transform with room for a filter's response: it is cyclic."""
    return 1 << (len(samples) + SAMPLE_RATE // 10).bit_length()


def _frequencies(samples: np.ndarray) -> np.ndarray:
    return np.fft.rfftfreq(_transform_size(samples), 1 / SAMPLE_RATE)


def _ramp(hz: np.ndarray, cutoff: float) -> np.ndarray:
    """0 below the cut-off, 1 above, a half at it; half a cosine in the transition band."""
    position = np.clip((hz - cutoff) / (SLOPE * cutoff), -0.5, 0.5)
    return (1 + np.sin(np.pi * position)) / 2


def _coded(
    samples: np.ndarray, container: str, subtype: str, level: float, **mode: str
) -> np.ndarray:
    """Encoded and decoded by libsndfile with a compression level of 0 to 1. Raises UserError."""
    file = BytesIO()
    try:
        soundfile.write(
            file, np.clip(samples, -1, 1), SAMPLE_RATE, format=container, subtype=subtype,
            compression_level=min(max(level, 0.0), 1.0), **mode,
        )  # fmt: skip
    except soundfile.LibsndfileError as error:
        raise UserError(
            f"libsndfile {soundfile.__libsndfile_version__} cannot encode {subtype} "
            f"({error.error_string}); pip's soundfile brings one that can, or leave such lines "
            "out: augmentation.degradation.kinds.opus=0 and mp3=0"
        ) from error
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32")
    return decoded if subtype.startswith("MPEG") else _fitted(decoded, len(samples))


def _fitted(samples: np.ndarray, count: int) -> np.ndarray:
    """Cut to ``count`` samples, or padded with zeros."""
    return np.pad(samples[:count], (0, max(count - len(samples), 0)))
