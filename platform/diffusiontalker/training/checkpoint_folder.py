"""The checkpoints of a run without Ray Train's workers, on disk or in S3."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from diffusiontalker import storage
from diffusiontalker.errors import UserError
from diffusiontalker.training.checkpoints import RunState

EPOCH = "epoch-"
"""How the folders of checkpoints without Ray Train begin."""
LAST = "last.json"
"""Names the last checkpoint; written after it, so that a kill leaves the previous one."""


class CheckpointFolder:
    """Keeps the last checkpoint of a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, local: Path, epoch: int, batch: int = 0) -> None:
        """Store the files of ``local`` as the checkpoint after so many epochs, and batches of the
        next, and remove the previous one. Raises UserError."""
        name = _name(epoch, batch)
        storage.store(local, self.folder / name)
        storage.write_json(self.folder / LAST, {"epoch": epoch, "batch": batch})
        folders = {found.partition("/")[0] for found in storage.sizes(self.folder)}
        # Ray Train's checkpoints lie in the same folder, if the run once had workers.
        for other in {found for found in folders if found.startswith(EPOCH)} - {name}:
            storage.remove_folder(self.folder / other)

    @contextmanager
    def last(self) -> Iterator[Path | None]:
        """A local copy of the last checkpoint; None before the first. Raises UserError."""
        path = self.folder / LAST
        if not storage.is_file(path):
            yield None
            return
        named = storage.read_json(path)
        given = named if isinstance(named, dict) else {}
        epoch, batch = given.get("epoch"), given.get("batch", 0)
        if not isinstance(epoch, int) or not isinstance(batch, int):
            raise UserError(f"{path}: names no checkpoint; remove {self.folder} to start again")
        kept = self.folder / _name(epoch, batch)
        with tempfile.TemporaryDirectory(prefix="diffusiontalker-") as local:
            storage.fetch(kept, Path(local))
            try:
                yield Path(local)
            except UserError as error:  # names the temporary copy
                message = str(error).replace(local, str(kept))
                raise UserError(f"{message}; remove {self.folder} to start it again") from error


class CheckpointWriter:
    """Stores checkpoints in a thread while training goes on, one at a time; a context manager,
    which waits for the last one."""

    def __init__(self, folder: CheckpointFolder) -> None:
        self.folder = folder
        self.thread = ThreadPoolExecutor(1, "checkpoint")
        self.running: Future[None] | None = None

    def save(self, state: RunState, write: Callable[[Path], None]) -> None:
        """Write a checkpoint into a local folder, and begin to store it.

        Raises:
            UserError: the previous one could not be stored.
        """
        self.wait()
        local = Path(tempfile.mkdtemp(prefix="diffusiontalker-"))
        try:
            write(local)
        except BaseException:
            shutil.rmtree(local, ignore_errors=True)
            raise
        batch = 0 if state.partial is None else state.partial.batch
        self.running = self.thread.submit(self._store, local, state.epoch, batch)

    def wait(self) -> None:
        """Until the checkpoint is stored. Raises UserError if it cannot be."""
        if self.running is not None:
            running, self.running = self.running, None
            running.result()

    def _store(self, local: Path, epoch: int, batch: int) -> None:
        try:
            self.folder.save(local, epoch, batch)
        finally:
            shutil.rmtree(local, ignore_errors=True)

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.thread.shutdown()
        if error is None:
            self.wait()


def _name(epoch: int, batch: int) -> str:
    return f"{EPOCH}{epoch:04d}" + (f"-{batch:06d}" if batch else "")
