"""Smaller weights: half precision on disk, or 8-bit integers, and a judge of what that costs."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.waveform import as_waveform
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.errors import UserError
from diffusiontalker.objectives import metrics
from diffusiontalker.runtime.stream import Stream
from diffusiontalker.runtime.stream_batch import Streams
from diffusiontalker.runtime.student import Student, chunks
from diffusiontalker.runtime.voice import AUTO

SMALL = 64
"""Numbers in a tensor up to which it stays in single precision: constants of the schedule."""
THINNED, PIECE = 4, SAMPLE_RATE // 2
"""Of the frames of a stream, which change little from one to the next, one in so many calibrates;
and samples that are pushed at once."""
SEEDS = 4
"""Faces of every clip on which the judge averages."""
Voice = tuple[str, str]
"""Names of an identity and an emotion."""


def half(path: Path) -> None:
    """Store the weights of a graph in half precision. They are widened when it is loaded: it
    computes in single precision, as fast as before."""
    model = onnx.load(path)
    casts, kept = [], []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size <= SMALL:
            kept.append(tensor)
            continue
        if np.abs(values).max() > np.finfo(np.float16).max:
            raise UserError(f"{path.name}: a weight is too large for half precision; use fp32")
        name = f"{tensor.name}.half"
        kept.append(numpy_helper.from_array(values.astype(np.float16), name))
        casts.append(helper.make_node("Cast", [name], [tensor.name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    onnx.save(model, path)


def int8(folder: Path, clips: Sequence[Clip]) -> None:
    """Make the layers of encoder and decoder in ``folder`` 8-bit, with ranges as these clips
    give them; what is left is stored in half precision.

    Raises:
        UserError: no clips to calibrate with.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    if not clips:
        raise UserError("int8: no validation clips to calibrate with; use fp16")
    student = Student(folder)

    def given(graph: str) -> Iterator[dict[str, np.ndarray]]:
        return _frames(student, clips) if graph == "frame" else _inputs(student, clips, graph)

    with TemporaryDirectory(prefix="int8-") as name:
        for graph in ("encoder", "decoder", *(["frame"] if student.look_ahead is not None else [])):
            path, prepared = folder / f"{graph}.onnx", Path(name) / f"{graph}.onnx"
            quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared), str(path), _Reader(given(graph)),
                quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True,
                op_types_to_quantize=["MatMul"],
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul"]},
            )  # fmt: skip
    for graph in student.config.graphs:
        half(folder / graph)


def _inputs(student: Student, clips: Sequence[Clip], graph: str) -> Iterator[dict[str, np.ndarray]]:
    """What ``encoder`` or ``decoder`` is given while clips are animated, chunk by chunk."""
    rng = np.random.default_rng(0)
    for clip in clips:
        state = student.new_state()
        modulation = student.modulate(
            *(
                library.entries[rng.integers(len(library.entries), size=1)]
                for library in student.libraries
            )
        )
        samples = as_waveform(clip.audio, SAMPLE_RATE, clip.id)
        for log_mel in chunks(samples, student.look_ahead, student.front_end):
            heard, moved = state
            features, _ = student.listen(log_mel, state)
            if graph == "encoder":
                yield {"log_mel": log_mel[None], "state": heard}
                continue
            noise = rng.standard_normal((len(features), len(CHANNELS)), np.float32)
            student.move(features, noise, modulation, state)
            yield {
                "audio": features[None],
                "noise": noise[None],
                "modulation": modulation,
                "state": moved,
            }


def _frames(student: Student, clips: Sequence[Clip]) -> Iterator[dict[str, np.ndarray]]:
    """What ``frame`` is given while the clips are streamed together: one frame in ``THINNED``."""
    seen: list[dict[str, np.ndarray]] = []

    class Watched(Student):
        def frame(self, log_mel: Any, noise: Any, modulation: Any, past: Any) -> Any:
            seen.append({"log_mel": log_mel, "noise": noise, "modulation": modulation, **past})
            return super().frame(log_mel, noise, modulation, past)

    for _ in _pushed(_streams(Watched(student.folder), clips), clips):
        yield from seen[::THINNED]
        seen.clear()


def _streams(
    student: Student, clips: Sequence[Clip], voices: Sequence[Voice] | None = None
) -> list[Stream]:
    """A stream for each clip, of one company. Without ``voices`` they are followed."""
    company = Streams(student)
    pinned = voices or [(AUTO, AUTO)] * len(clips)
    return [
        Stream(company, identity=identity, emotion=emotion, where=clip.id)
        for clip, (identity, emotion) in zip(clips, pinned, strict=True)
    ]


def _pushed(
    streams: Sequence[Stream], clips: Sequence[Clip]
) -> Iterator[list[tuple[int, np.ndarray]]]:
    """Clips through their streams, push by push of all: each one's number and frames."""
    company = streams[0].company
    pieces = [np.array_split(clip.audio, max(len(clip.audio) // PIECE, 1)) for clip in clips]
    for at in range(max(map(len, pieces))):
        going = [number for number, some in enumerate(pieces) if at < len(some)]
        for number in going:
            streams[number].take(pieces[number][at])
        yield list(zip(going, company.advance([streams[n] for n in going]), strict=True))
    yield [(number, stream.close()) for number, stream in enumerate(streams)]


class _Reader:
    """An iterator as ONNX Runtime's quantizer wants it."""

    def __init__(self, inputs: Iterator[dict[str, np.ndarray]]) -> None:
        self.inputs = inputs

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next inputs; None at the end."""
        return next(self.inputs, None)


def voices(student: Student, clips: Sequence[Clip]) -> list[Voice]:
    """The identity and the emotion that an artifact hears in each clip."""
    heard = (student.perform(clip.audio, SAMPLE_RATE, where=clip.id) for clip in clips)
    return [(one.identity or AUTO, one.emotion or AUTO) for one in heard]


def followed(student: Student, clips: Sequence[Clip]) -> list[Voice]:
    """What it hears in each clip as a stream, at its end: another graph hears there. Empty of a
    student that has no streams."""
    if student.look_ahead is None:
        return []
    streams = _streams(student, clips)
    for _ in _pushed(streams, clips):
        pass
    return [(stream.identity or AUTO, stream.emotion or AUTO) for stream in streams]


def hears(student: Student, clips: Sequence[Clip]) -> list[tuple[Voice, Voice]]:
    """What it hears in each clip as a recording, and as a stream if it has any."""
    whole = voices(student, clips)
    return list(zip(whole, followed(student, clips) or whole, strict=True))


def judge(student: Student, clips: Sequence[Clip], heard: Sequence[Voice]) -> dict[str, float]:
    """LBE and energy score of an artifact on clips of these voices, and LBE of streams of them.

    The same seeds every time: differences between artifacts are those of their weights. And the
    same voices: two emotions may be equally near, and then the last bit decides on another face.
    """
    rows: list[dict[str, Any]] = []
    for clip, (identity, emotion) in zip(clips, heard, strict=True):
        faces = np.stack(
            [
                student.animate(
                    clip.audio, SAMPLE_RATE, identity, emotion, seed, clip.id
                ).coefficients
                for seed in range(SEEDS)
            ]
        )
        frames = min(faces.shape[1], len(clip.coefficients))
        faces, truth = faces[:, :frames], clip.coefficients[:frames]
        rows.append(
            {
                "lbe": fmean(metrics.lbe(face, truth) for face in faces),
                "energy_score": metrics.energy_score(faces, truth),
            }
        )
    found = {key: fmean(row[key] for row in rows) for key in rows[0]}
    if student.look_ahead is not None:
        parts: list[list[np.ndarray]] = [[] for _ in clips]
        for pushed in _pushed(_streams(student, clips, heard), clips):
            for number, face in pushed:
                parts[number].append(face)
        streams = zip(map(np.concatenate, parts), clips, strict=True)
        found["streamed_lbe"] = fmean(
            metrics.lbe(face[: len(clip.coefficients)], clip.coefficients[: len(face)])
            for face, clip in streams
        )
    return found


def growth(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """By what share each error grew."""
    return {key: after[key] / before[key] - 1 for key in before}
