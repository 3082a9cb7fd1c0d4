"""A recording in, an animation out, with a distilled student: no GPU, no cluster."""

from diffusiontalker.__main__ import main

if __name__ == "__main__":
    main("python jobs/animate.py")
