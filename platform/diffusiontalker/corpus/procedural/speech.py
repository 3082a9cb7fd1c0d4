"""Speech synthesis with exact phoneme times, by eSpeak NG through ctypes.

``espeakng-loader`` provides the shared library (GPL-3, loaded at run time, an optional dependency).
The library has global state, so each process synthesizes one utterance at a time. Its oscillators
keep their phases between utterances and cannot be reset; loading it again (under a millisecond)
does. It uses two random generators: its own, seeded with the time, and the C library's, which other
threads of the process use as well. Both are seeded here, and reproducible speech is synthesized in
a separate process, ``Synthesizer``.
"""

import _ctypes
import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from diffusiontalker.errors import UserError, needs_extra

_SYNCHRONOUS = 2
_PHONEME_EVENTS_IPA = 1 | 2
_UTF8 = 1
_SEPARATOR = "_"
_IPA_SEPARATED = 2 | ord(_SEPARATOR) << 8
_END, _PHONEME = 0, 7
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True)
class Phone:
    """One phoneme: IPA with stress marks ("" is a pause), start and end in seconds."""

    ipa: str
    start: float
    end: float


@dataclass(frozen=True)
class Prosody:
    """eSpeak's dials: words a minute, then volume, pitch and pitch range on 0-100. Kokoro takes the
    same, half as strong: 100 double the voice's own pitch or range, which is at 50."""

    rate: float = 165.0
    volume: float = 100.0
    pitch: float = 50.0
    range: float = 50.0


class _Engine:
    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise needs_extra("the procedural corpus", "platform") from error
        self.lib = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
        self.sample_rate = self.lib.espeak_Initialize(_SYNCHRONOUS, 0, data, _PHONEME_EVENTS_IPA)
        if self.sample_rate <= 0:
            raise UserError(f"eSpeak NG did not start with the data in {data.decode()}")
        self.lib.espeak_ng_SetRandSeed(0)  # for breath; initialization seeds it with the time
        ctypes.CDLL(None).srand(0)  # for creak
        self._pcm: list[np.ndarray] = []
        self._phonemes: list[tuple[int, str]] = []
        self._callback = _CALLBACK(self._collect)  # a reference: the library holds a bare pointer
        self.lib.espeak_SetSynthCallback(self._callback)
        self.lib.espeak_TextToPhonemes.restype = ctypes.c_char_p

    def _collect(self, wav, count, events) -> int:  # type: ignore[no-untyped-def]
        if wav and count > 0:
            self._pcm.append(np.ctypeslib.as_array(wav, (count,)).copy())
        i = 0
        while events[i].type != _END:
            if events[i].type == _PHONEME:
                self._phonemes.append((events[i].sample, events[i].id.decode("utf-8", "ignore")))
            i += 1
        return 0

    def set_voice(self, voice: str) -> None:
        if self.lib.espeak_SetVoiceByName(voice.encode()) != 0:
            raise UserError(f"eSpeak NG has no voice {voice!r}")

    def transcribe(self, text: str, voice: str) -> list[list[str]]:
        self.set_voice(voice)
        raw = ctypes.create_string_buffer(text.encode())
        rest = ctypes.c_void_p(ctypes.addressof(raw))
        words = []
        while rest.value:  # advanced by a clause a call; null at the end
            clause = self.lib.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _IPA_SEPARATED)
            words += clause.decode("utf-8", "ignore").split()
        return [list(filter(None, word.split(_SEPARATOR))) for word in words]

    def speak(self, text: str, voice: str, prosody: Prosody) -> tuple[np.ndarray, list[Phone]]:
        self.set_voice(voice)
        for dial, value in (
            (_RATE, prosody.rate),
            (_VOLUME, prosody.volume),
            (_PITCH, prosody.pitch),
            (_RANGE, prosody.range),
        ):
            self.lib.espeak_SetParameter(dial, round(value), 0)
        self._pcm, self._phonemes = [], []
        raw = text.encode()
        self.lib.espeak_Synth(raw, len(raw) + 1, 0, 0, 0, _UTF8, None, None)
        if not any(ipa for _, ipa in self._phonemes):
            raise UserError(f"eSpeak NG made no sound for {text!r}")
        samples = np.concatenate(self._pcm).astype(np.float32) / 32768.0
        ends = [sample for sample, _ in self._phonemes[1:]] + [len(samples)]
        phones = [
            Phone(ipa, sample / self.sample_rate, end / self.sample_rate)
            for (sample, ipa), end in zip(self._phonemes, ends, strict=True)
            if end > sample
        ]
        return samples, phones


@contextmanager
def _engine() -> Iterator[_Engine]:
    engine = _Engine()
    try:
        yield engine
    finally:
        engine.lib.espeak_Terminate()
        _ctypes.dlclose(engine.lib._handle)


def speak(text: str, voice: str, prosody: Prosody) -> tuple[np.ndarray, int, list[Phone]]:
    """Synthesize ``text``.

    Returns:
        Samples (n,) float32 in [-1, 1], their rate in Hz, and the phonemes in order of time.

    Raises:
        UserError: no such voice, no speech for the text, or the library is not installed.
    """
    with _engine() as engine:
        samples, phones = engine.speak(text, voice, prosody)
        return samples, engine.sample_rate, phones


def transcribe(text: str, voice: str) -> list[list[str]]:
    """The phonemes of each word of ``text``, as the IPA of ``Phone``; punctuation is left out, and
    eSpeak joins some short words.

    Raises:
        UserError: no such voice, or the library is not installed.
    """
    with _engine() as engine:
        return engine.transcribe(text, voice)


class Synthesizer:
    """``speak`` in a child process without other threads, which makes it reproducible. Use as a
    context manager."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            # A worker's ``sys.path`` may differ from that of a fresh process.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip

    def __enter__(self) -> "Synthesizer":
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.communicate()

    def __call__(
        self, text: str, voice: str, prosody: Prosody
    ) -> tuple[np.ndarray, int, list[Phone]]:
        """As ``speak``. Raises UserError as that does."""
        requests, responses = self._child.stdin, self._child.stdout
        assert requests is not None
        assert responses is not None
        requests.write(json.dumps([text, voice, asdict(prosody)]).encode() + b"\n")
        requests.flush()
        line = responses.readline()
        if not line:
            raise UserError(f"eSpeak NG broke off at {text!r}; run the same again")
        header: dict[str, Any] = json.loads(line)
        if "error" in header:
            raise UserError(header["error"])
        samples = np.frombuffer(responses.read(header["bytes"]), np.float32)
        return samples, header["rate"], [Phone(*phone) for phone in header["phones"]]


def _child_loop() -> None:
    """The child process of ``Synthesizer``: a JSON line per request; a JSON line and float32
    samples per response."""
    for line in sys.stdin.buffer:
        text, voice, prosody = json.loads(line)
        header: dict[str, Any]
        content = b""
        try:
            samples, rate, phones = speak(text, voice, Prosody(**prosody))
            content = samples.tobytes()
            rows = [[phone.ipa, phone.start, phone.end] for phone in phones]
            header = {"rate": rate, "bytes": len(content), "phones": rows}
        except UserError as error:
            header = {"error": str(error)}
        sys.stdout.buffer.write(json.dumps(header).encode() + b"\n" + content)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _child_loop()
