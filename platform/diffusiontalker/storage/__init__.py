"""Where files live: local folders and ``s3://`` alike, whole files, retries, clear errors.

A location is a ``pathlib.Path``, or for ``s3://`` an object with the same methods (universal
pathlib over s3fs). Credentials come from the environment as every AWS tool reads them
(``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, a profile, a role of the machine), and
``AWS_ENDPOINT_URL`` names any other server that speaks S3. What touches S3 is imported only when
such a location is used.
"""

from diffusiontalker.storage.arrow import for_arrow
from diffusiontalker.storage.faults import NO_ANSWER, explained, may_pass
from diffusiontalker.storage.folders import (
    empty_folder,
    fetch,
    files,
    make_folder,
    objects,
    remove_folder,
    sizes,
    store,
)
from diffusiontalker.storage.locations import is_bucket, is_remote, location
from diffusiontalker.storage.read_write import (
    is_file,
    open_input,
    read_bytes,
    read_json,
    read_text,
    remove,
    write_bytes,
    write_json,
)
from diffusiontalker.storage.retries import PATIENCE

__all__ = [
    "NO_ANSWER",
    "PATIENCE",
    "empty_folder",
    "explained",
    "fetch",
    "files",
    "for_arrow",
    "is_bucket",
    "is_file",
    "is_remote",
    "location",
    "make_folder",
    "may_pass",
    "objects",
    "open_input",
    "read_bytes",
    "read_json",
    "read_text",
    "remove",
    "remove_folder",
    "sizes",
    "store",
    "write_bytes",
    "write_json",
]
