"""The first bytes of a file -> what it is. Pure. Neither the URL nor the headers are believed.

Sources: the formats' own specifications (PNG, JFIF, RIFF, ISO/IEC 14496-12 for `ftyp`, EBML, Ogg,
FLAC, ID3v2).
"""

from dataclasses import dataclass

SIGNATURE_BYTES = 64  # bytes, to tell any of them
MAX_PIXELS = 150_000_000  # of a picture that is decoded; more would take half a gigabyte


@dataclass(frozen=True, slots=True)
class Format:
    """kind: `image`, `video` or `audio`. pillow: the name under which Pillow decodes it, or ""."""

    kind: str
    extension: str
    content_type: str
    pillow: str = ""

    @property
    def folder(self) -> str:
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
    """Return the format of a file that begins with `head`, 64 bytes of it; None if unknown."""
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
