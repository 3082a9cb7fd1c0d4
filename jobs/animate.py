"""A recording in, an animation out, with a distilled student: no GPU, no cluster."""

from typing import Annotated

import typer

from diffusiontalker import audio, cli
from diffusiontalker.animation import writers
from diffusiontalker.runtime.student import AUTO, Student


def animate(
    recording: Annotated[
        str, typer.Argument(help="wav, flac, ogg or mp3; any rate, 0.2 s to 1 h.")
    ],
    model: Annotated[str, typer.Option(help="An artifact, such as runs/quickstart/student.")],
    out: Annotated[str, typer.Option(help="Ends in .csv (Live Link Face), .json, .glb or .npz.")],
    identity: Annotated[str, typer.Option(help="A speaker of the model, or auto.")] = AUTO,
    emotion: Annotated[str, typer.Option(help="An emotion of the model, or auto.")] = AUTO,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another performance.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
) -> None:
    """Animate a recording: 52 ARKit blendshape coefficients, 30 frames per second.

    Recording, model and out are local paths or s3:// addresses.
    """
    writers.check_suffix(out)
    student = Student(model, threads)
    samples, rate = audio.load(recording)
    face = student.animate(samples, rate, identity, emotion, seed, where=recording)
    writers.write(out, face.coefficients, face.fps)
    frames = len(face.coefficients)
    print(f"{out}: {frames} frames, {frames / face.fps:.1f} s, {face.identity}, {face.emotion}")


if __name__ == "__main__":
    cli.main(animate)
