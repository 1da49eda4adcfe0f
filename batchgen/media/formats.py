"""The first bytes of a file -> its format. Pure. URL and content-type header are not trusted.

Sources: the formats' own specifications (PNG, JFIF, RIFF, ISO/IEC 14496-12 for `ftyp`, EBML, Ogg,
FLAC, ID3v2).
"""

from dataclasses import dataclass

SIGNATURE_BYTES = 64  # enough to tell all formats apart
MAX_PIXELS = 150_000_000  # of a picture that is decoded; it takes half a gigabyte of memory


@dataclass(frozen=True, slots=True)
class Format:
    """kind: `image`, `video` or `audio`. pillow: Pillow's name of it; "" if Pillow is not used."""

    kind: str
    extension: str
    content_type: str
    pillow: str = ""

    @property
    def folder(self) -> str:
        """The first part of the path that the journal keeps of such a file."""
        return {"image": "images", "video": "videos", "audio": "audio"}[self.kind]


PNG = Format("image", "png", "image/png", "PNG")
JPEG = Format("image", "jpg", "image/jpeg", "JPEG")
WEBP = Format("image", "webp", "image/webp", "WEBP")
GIF = Format("image", "gif", "image/gif", "GIF")
AVIF = Format("image", "avif", "image/avif", "AVIF")
MP4 = Format("video", "mp4", "video/mp4")
MOV = Format("video", "mov", "video/quicktime")
WEBM = Format("video", "webm", "video/webm")
MKV = Format("video", "mkv", "video/x-matroska")
AVI = Format("video", "avi", "video/x-msvideo")
M4A = Format("audio", "m4a", "audio/mp4")
WAV = Format("audio", "wav", "audio/wav")
MP3 = Format("audio", "mp3", "audio/mpeg")
OGG = Format("audio", "ogg", "audio/ogg")
FLAC = Format("audio", "flac", "audio/flac")

_STARTS = {
    b"\x89PNG\r\n\x1a\n": PNG,
    b"\xff\xd8\xff": JPEG,
    b"GIF87a": GIF,
    b"GIF89a": GIF,
    b"OggS": OGG,
    b"fLaC": FLAC,
    b"ID3": MP3,
    b"\xff\xfb": MP3,
    b"\xff\xf3": MP3,
    b"\xff\xf2": MP3,
}
_RIFF = {b"WEBP": WEBP, b"WAVE": WAV, b"AVI ": AVI}
_BRANDS = {b"avif": AVIF, b"avis": AVIF, b"M4A ": M4A, b"M4B ": M4A, b"qt  ": MOV}


def format_of(head: bytes) -> Format | None:
    """Return the format of a file that begins with `head`, at least 64 bytes; None if unknown."""
    for start, found in _STARTS.items():
        if head.startswith(start):
            return found
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], MP4)
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return WEBM if b"webm" in head[:SIGNATURE_BYTES] else MKV
    return None
