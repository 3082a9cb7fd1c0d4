"""What is looked at before Ray starts: a mistake here is said in a second, not after an hour."""

from diffusiontalker import storage
from diffusiontalker.config import Settings
from diffusiontalker.corpus.manifest import open_corpus


def check(settings: Settings, measured: bool = True) -> None:
    """Whether the output can be written and the user's corpus has the splits that a run needs.

    Args:
        settings: of the run.
        measured: the run ends with measuring, which needs a test split.

    Raises:
        UserError: the first of these that is not so.
    """
    storage.make_folder(storage.location(settings.output))
    if settings.corpus.path is None:
        return
    manifest = open_corpus(storage.location(settings.corpus.path))
    for split in ("train", "val"):
        manifest.of(split)
    if measured:
        manifest.test_splits()
