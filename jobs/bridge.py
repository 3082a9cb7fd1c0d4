"""Speech in, a live face out: for Unreal Engine, VRM avatars and others on this machine."""

from diffusiontalker.bridge.__main__ import main

if __name__ == "__main__":
    main("python jobs/bridge.py")
