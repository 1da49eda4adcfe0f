"""What the journal keeps of files."""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A saved output. path: relative to the batch folder. bytes, sha256: of the file there.

    delivered_sha256: of what the host sent, if the file got its provenance since; otherwise None.
    width, height: pixels; duration: seconds; None where they are not known.
    note: why the file is not known to be whole; None where it is.
    """

    path: str
    kind: str
    bytes: int
    sha256: str
    delivered_sha256: str | None
    content_type: str
    width: int | None
    height: int | None
    duration: float | None = None
    note: str | None = None


class SavedFile(NamedTuple):
    """A file that the journal says is saved, and its row. Hashes, note: those of `StoredFile`."""

    key: str
    n: int
    id: str
    model: str
    input: str
    request_id: str | None
    submitted_at: str | None
    url: str
    path: str
    sha256: str
    delivered_sha256: str | None
    note: str | None
