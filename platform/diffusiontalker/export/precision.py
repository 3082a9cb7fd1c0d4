"""Smaller weights: half precision on disk, or 8-bit integers, and what that costs on validation."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.waveform import as_waveform
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.errors import UserError
from diffusiontalker.objectives import metrics
from diffusiontalker.runtime.conditioning import AUTO
from diffusiontalker.runtime.graphs import Graphs
from diffusiontalker.runtime.noise import Noise
from diffusiontalker.runtime.offline import log_mel_chunks
from diffusiontalker.runtime.stream import Stream, push_together
from diffusiontalker.runtime.stream_batch.batch import StreamBatch
from diffusiontalker.runtime.student import Student

SMALL = 64
"""Numbers in a tensor up to which it stays in single precision: constants of the schedule."""
CALIBRATION_STRIDE = 4
"""One frame in so many of a stream is used for calibration: neighbours differ little."""
PUSH = SAMPLE_RATE // 2
"""Samples that are pushed at once."""
SEEDS = 4
"""Animations of every clip over which the errors are averaged."""
VoiceNames = tuple[str, str]
"""Names of an identity and an emotion, or ``AUTO``."""


def fp16(path: Path) -> None:
    """Store the weights of a graph in half precision. A ``Cast`` widens them when it is loaded: it
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
    """Quantise the matrix products of encoder, decoder and frame in ``folder`` to 8 bits, with
    ranges calibrated on these clips; all other weights are stored in half precision.

    Raises:
        UserError: no clips to calibrate with.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    if not clips:
        raise UserError("int8: no validation clips to calibrate with; use fp16")
    student = Student(folder)

    def inputs(graph: str) -> Iterator[dict[str, np.ndarray]]:
        if graph == "frame":
            return _frame_inputs(student, clips)
        return _chunk_inputs(student, clips, graph)

    with TemporaryDirectory(prefix="int8-") as name:
        for graph in ("encoder", "decoder", *(["frame"] if student.look_ahead is not None else [])):
            path, prepared = folder / f"{graph}.onnx", Path(name) / f"{graph}.onnx"
            quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared), str(path), _CalibrationReader(inputs(graph)),
                quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True,
                op_types_to_quantize=["MatMul"],
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul"]},
            )  # fmt: skip
    for graph in student.config.graphs:
        fp16(folder / graph)


def _chunk_inputs(
    student: Student, clips: Sequence[Clip], graph: str
) -> Iterator[dict[str, np.ndarray]]:
    """Inputs of ``encoder`` or ``decoder`` while clips are animated, chunk by chunk."""
    rng, graphs = np.random.default_rng(0), student.graphs
    for number, clip in enumerate(clips):
        draw = Noise(number, graphs.config.noise)
        state = graphs.new_state()
        modulation = graphs.modulate(
            *(
                library.entries[rng.integers(len(library.entries), size=1)]
                for library in student.libraries
            )
        )
        samples = as_waveform(clip.audio, SAMPLE_RATE, clip.id)
        for log_mel in log_mel_chunks(samples, student.look_ahead, student.config.front_end):
            encoder, decoder = state.encoder, state.decoder
            features, _ = graphs.encode(log_mel, state)
            if graph == "encoder":
                yield {"log_mel": log_mel[None], "state": encoder}
                continue
            noise = draw(len(features))
            graphs.decode(features, noise, modulation, state)
            yield {
                "audio": features[None],
                "noise": noise[None],
                "modulation": modulation,
                "state": decoder,
            }


def _frame_inputs(student: Student, clips: Sequence[Clip]) -> Iterator[dict[str, np.ndarray]]:
    """Inputs of ``frame`` while the clips are streamed together: one in ``CALIBRATION_STRIDE``."""
    recorded: list[dict[str, np.ndarray]] = []

    class RecordingGraphs(Graphs):
        def frame(self, log_mel: Any, noise: Any, modulation: Any, history: Any) -> Any:
            inputs = {"log_mel": log_mel, "noise": noise, "modulation": modulation, **history}
            recorded.append(inputs)
            return super().frame(log_mel, noise, modulation, history)

    batch = StreamBatch(RecordingGraphs(student.folder, student.config))
    for _ in _stream_together(_streams(batch, clips), clips):
        yield from recorded[::CALIBRATION_STRIDE]
        recorded.clear()


def _streams(
    batch: StreamBatch, clips: Sequence[Clip], voices: Sequence[VoiceNames] | None = None
) -> list[Stream]:
    """A stream for each clip, of these voices; without ``voices`` they are tracked."""
    pinned = voices or [(AUTO, AUTO)] * len(clips)
    return [
        Stream(batch, identity=identity, emotion=emotion, where=clip.id)
        for clip, (identity, emotion) in zip(clips, pinned, strict=True)
    ]


def _stream_together(
    streams: Sequence[Stream], clips: Sequence[Clip]
) -> Iterator[list[tuple[int, np.ndarray]]]:
    """Push clips through their streams: for each push of all, number and frames of each clip."""
    pieces = [np.array_split(clip.audio, max(len(clip.audio) // PUSH, 1)) for clip in clips]
    for at in range(max(map(len, pieces))):
        numbers = [number for number, some in enumerate(pieces) if at < len(some)]
        pushed = push_together(
            [streams[number] for number in numbers], [pieces[number][at] for number in numbers]
        )
        yield [(number, _frames(made)) for number, made in zip(numbers, pushed, strict=True)]
    yield [(number, stream.close()) for number, stream in enumerate(streams)]


def _frames(pushed: np.ndarray | UserError) -> np.ndarray:
    if isinstance(pushed, UserError):
        raise pushed
    return pushed


class _CalibrationReader:
    """An iterator with the interface of ONNX Runtime's ``CalibrationDataReader``."""

    def __init__(self, inputs: Iterator[dict[str, np.ndarray]]) -> None:
        self.inputs = inputs

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next inputs; None at the end."""
        return next(self.inputs, None)


def recognised_voices(student: Student, clips: Sequence[Clip]) -> list[VoiceNames]:
    """The identity and the emotion that an artifact recognises in each clip."""
    found = (student.animate_chunks(clip.audio, SAMPLE_RATE, where=clip.id) for clip in clips)
    return [(one.identity or AUTO, one.emotion or AUTO) for one in found]


def tracked_voices(student: Student, clips: Sequence[Clip]) -> list[VoiceNames]:
    """What it recognises at the end of each clip as a stream, by another graph. Empty for a student
    that has no streams."""
    if student.look_ahead is None:
        return []
    streams = _streams(student.streams(), clips)
    for _ in _stream_together(streams, clips):
        pass
    return [(stream.identity or AUTO, stream.emotion or AUTO) for stream in streams]


def all_voices(student: Student, clips: Sequence[Clip]) -> list[tuple[VoiceNames, VoiceNames]]:
    """What it recognises in each clip as a recording, and as a stream if it has any."""
    offline = recognised_voices(student, clips)
    return list(zip(offline, tracked_voices(student, clips) or offline, strict=True))


def validation_errors(
    student: Student, clips: Sequence[Clip], voices: Sequence[VoiceNames]
) -> dict[str, float]:
    """LBE and energy score of an artifact on clips of these voices, and LBE of streams of them.

    Seeds and voices are the same for every artifact, so that differences are those of the weights:
    where two emotions are equally near, the last bit would decide between two animations.
    """
    rows: list[dict[str, Any]] = []
    for clip, (identity, emotion) in zip(clips, voices, strict=True):
        samples = np.stack(
            [
                student.animate(
                    clip.audio, SAMPLE_RATE, identity, emotion, seed, clip.id
                ).coefficients
                for seed in range(SEEDS)
            ]
        )
        frames = min(samples.shape[1], len(clip.coefficients))
        samples, truth = samples[:, :frames], clip.coefficients[:frames]
        rows.append(
            {
                "lbe": fmean(metrics.lbe(sample, truth) for sample in samples),
                "energy_score": metrics.energy_score(samples, truth),
            }
        )
    errors = {key: fmean(row[key] for row in rows) for key in rows[0]}
    if student.look_ahead is not None:
        parts: list[list[np.ndarray]] = [[] for _ in clips]
        streams = _streams(student.streams(), clips, voices)
        for pushed in _stream_together(streams, clips):
            for number, frame in pushed:
                parts[number].append(frame)
        errors["streamed_lbe"] = fmean(
            metrics.lbe(made[: len(clip.coefficients)], clip.coefficients[: len(made)])
            for made, clip in zip(map(np.concatenate, parts), clips, strict=True)
        )
    return errors


def growth(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Relative growth of each error."""
    return {key: after[key] / before[key] - 1 for key in before}
