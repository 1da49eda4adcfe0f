"""The first bytes of a file -> its format. Pure. URL and content-type header are not trusted.

What is no picture, video or sound that batchgen knows is a format of the kind `file`: only its name
follows the URL or the header, and nothing opens it.

Sources: the formats' own specifications (PNG, JFIF, RIFF, ISO/IEC 14496-12 and 23008-12 for `ftyp`,
EBML, Ogg, FLAC, ID3v2, ISO/IEC 11172-3 for MP3 without tags).
"""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

SIGNATURE_BYTES = 1024  # enough to tell all formats apart; a SVG may begin with long comments
FOLDERS = {"image": "images", "video": "videos", "audio": "audio", "file": "files"}  # by kind
MAX_PIXELS = 150_000_000  # of a picture that is decoded, to four bytes each
MAX_PIXELS_OF_A_FILM = 50_000_000  # of a WebP or AVIF, which several buffers of that size decode


@dataclass(frozen=True, slots=True)
class Format:
    """kind: `image`, `video`, `audio`, or `file` for all others.

    pillow: Pillow's name of it; "" if Pillow is not used.
    """

    kind: str
    extension: str
    content_type: str
    pillow: str = ""

    @property
    def max_pixels(self) -> int:
        """Of a picture that is decoded; what that takes is below a gigabyte."""
        return MAX_PIXELS_OF_A_FILM if self.pillow in ("WEBP", "AVIF") else MAX_PIXELS

    @property
    def folder(self) -> str:
        """The first part of the path that the journal keeps of such a file."""
        return FOLDERS[self.kind]


PNG = Format("image", "png", "image/png", "PNG")
JPEG = Format("image", "jpg", "image/jpeg", "JPEG")
WEBP = Format("image", "webp", "image/webp", "WEBP")
GIF = Format("image", "gif", "image/gif", "GIF")
AVIF = Format("image", "avif", "image/avif", "AVIF")
HEIC = Format("image", "heic", "image/heic")
HEIF = Format("image", "heif", "image/heif")
CR3 = Format("image", "cr3", "image/x-canon-cr3")
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
UNKNOWN = Format("file", "bin", "application/octet-stream")  # neither host, URL nor content tell

_STARTS = {
    b"\x89PNG\r\n\x1a\n": PNG,
    b"\xff\xd8\xff": JPEG,
    b"GIF87a": GIF,
    b"GIF89a": GIF,
    b"OggS": OGG,
    b"fLaC": FLAC,
    b"ID3": MP3,
}
_RIFF = {b"WEBP": WEBP, b"WAVE": WAV, b"AVI ": AVI}
_BRANDS = {b"avif": AVIF, b"avis": AVIF, b"crx ": CR3, b"M4A ": M4A, b"M4B ": M4A, b"qt  ": MOV}
_BRANDS |= dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), HEIC
)
_CONTAINER_BRANDS = {b"mif1", b"mif2", b"msf1", b"miaf"}  # the others say what is in it
# A QuickTime file of before 2001 begins with one of these, and has no `ftyp`.
_QUICKTIME_BOXES = {b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"}

# Other files, by their first bytes. Text and what text can be mistaken for is `_text_format`'s.
_OTHER_STARTS = {
    b"II*\0": "tif", b"MM\0*": "tif", b"BM": "bmp", b"\0\0\1\0": "ico", b"8BPS": "psd",
    b"v/1\x01": "exr", b"#?RADIANCE": "hdr", b"\xff\x0a": "jxl", b"\0\0\0\x0cJXL ": "jxl",
    b"\0\0\0\x0cjP  ": "jp2", b"glTF": "glb", b"Kaydara FBX Binary": "fbx", b"PXR-USDC": "usdc",
    b"#usda": "usda", b"ply\n": "ply", b"ply\r": "ply", b"BLENDER": "blend",
    b"%PDF-": "pdf", b"PK\3\4": "zip", b"\x1f\x8b": "gz", b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "rar", b"\x93NUMPY": "npy", b"FLV\1": "flv", b"\0\0\1\xba": "mpg",
    b"0&\xb2u\x8ef\xcf\x11": "wmv", b"caff": "caf", b"MThd": "mid", b"#!AMR": "amr",
    b"FORM": "aiff", b".snd": "au", b"wOF2": "woff2", b"\0asm": "wasm",
}  # fmt: skip
_TEXT_STARTS = (b"#usda", b"ply\n", b"ply\r", b"%PDF-", b"#?RADIANCE")  # of these, what can be text
# Each of these can be a file with a more telling name: an archive, or a form of the same container.
_REFINED = {
    "zip": {"usdz", "3mf", "docx", "xlsx", "pptx", "odt", "epub", "npz", "cbz", "kmz", "pt", "ora"},
    "gz": {"tgz", "svgz", "ksplat", "spz", "nii"},
    "wmv": {"wma", "asf"},
    "tif": {"tiff", "dng", "nef", "arw", "cr2"},
    "mpg": {"mpeg", "vob"},
}
_JSON = {"json", "jsonl", "ndjson", "geojson", "gltf", "lottie", "webmanifest", "ipynb", "map"}
_HTML = {"html", "htm", "xhtml", "svg"}
_PLAIN = {"txt", "md", "csv", "tsv", "srt", "vtt", "lrc", "ass", "log"}
# Desktops run such a file when it is opened, and web servers when it is asked for, so no file gets
# the name of one from a URL.
_RUNNABLE = {
    "app", "appimage", "applescript", "bash", "bat", "cmd", "com", "command", "cpl", "csh",
    "desktop", "exe", "fileloc", "fish", "hta", "inetloc", "jar", "jnlp", "js", "jse", "ksh", "lnk",
    "mjs", "msi", "pif", "pl", "ps1", "ps1xml", "psm1", "py", "pyc", "pyw", "rb", "reg", "run",
    "scf", "scpt", "scr", "sh", "terminal", "tool", "url", "vb", "vbe", "vbs", "webloc", "workflow",
    "wsf", "wsh", "zsh",
    "asa", "ashx", "asmx", "asp", "aspx", "cer", "cfc", "cfm", "cgi", "fcgi", "htaccess", "jsp",
    "jspx", "lua", "phar", "php", "php3", "php4", "php5", "php7", "php8", "phps", "pht", "phtml",
    "shtml", "stm",
}  # fmt: skip
_KNOWN_FORMATS = (
    PNG, JPEG, WEBP, GIF, AVIF, HEIC, HEIF, CR3, MP4, MOV, WEBM, MKV, AVI, M4A, WAV, MP3, OGG, FLAC,
)  # fmt: skip
# Those that batchgen saves as pictures, and no others: Pillow hands some to other programs.
PILLOW_FORMATS = [format.pillow for format in _KNOWN_FORMATS if format.pillow]
_SHOWN = {f.extension: f.kind for f in _KNOWN_FORMATS if f not in (HEIC, HEIF, CR3)}
_KINDS = {f.extension: f.kind for f in _KNOWN_FORMATS}
_KINDS |= dict.fromkeys(("jpeg", "jfif", "bmp", "tif", "tiff", "svg", "jxl"), "image")
# A file that begins otherwise is none of these, whatever its URL says.
_TOLD_BY_START = {format.extension for format in _KNOWN_FORMATS}
_TOLD_BY_START |= {"jpeg", "m4v", *_OTHER_STARTS.values(), *set().union(*_REFINED.values())}
_TYPES = {  # where it is not known, the journal has "application/octet-stream"
    "svg": "image/svg+xml", "tif": "image/tiff", "tiff": "image/tiff", "bmp": "image/bmp",
    "jxl": "image/jxl", "jp2": "image/jp2", "psd": "image/vnd.adobe.photoshop",
    "glb": "model/gltf-binary", "gltf": "model/gltf+json", "obj": "model/obj", "stl": "model/stl",
    "aac": "audio/aac", "aiff": "audio/aiff", "mid": "audio/midi", "ts": "video/mp2t",
    "pdf": "application/pdf", "zip": "application/zip", "gz": "application/gzip",
    "json": "application/json", "xml": "application/xml", "html": "text/html", "txt": "text/plain",
}  # fmt: skip
_EXTENSION = re.compile(r"[A-Za-z0-9]{1,12}")
_TYPE_NAME = re.compile(r"(?:audio|font|image|model|video)/(?:x-)?([a-z0-9]{1,12})(?:;|$)")
_TEXT_MARKS = b" \t\r\n\f\xef\xbb\xbf"  # white space, and the mark with which UTF-8 may begin


def kind_of_extension(extension: str) -> str:
    """Return `image`, `video` or `audio`; "" where an extension does not tell, or of another."""
    return _KINDS.get(extension, "")


def shown_kind(path: str) -> str:
    """Return the kind of a saved file, by its name; `file` if browsers may not show such a file.

    path: as the journal has it.
    """
    return _SHOWN.get(path.rpartition(".")[2], "file")


def format_of(head: bytes) -> Format | None:
    """Return the format of a file that begins with `head`, at least SIGNATURE_BYTES.

    None if it is no picture, video or sound of a format that batchgen knows.
    """
    for start, found in _STARTS.items():
        if head.startswith(start):
            return found
    if head.startswith((b"RIFF", b"RF64")):
        return _RIFF.get(head[8:12])
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return WEBM if b"webm" in head[:64] else MKV
    if mp3_frame_bytes(head[:4]):
        return MP3
    return _iso_format(head)


def _iso_format(head: bytes) -> Format | None:
    """Return the format of a file of boxes, by its brands; None if it is no such file."""
    if _is_text(head):  # "The free …": a box is never so large that its size is letters
        return None
    at = 0
    while head[at + 4 : at + 8] in _QUICKTIME_BOXES:  # a file type may follow free space
        size = int.from_bytes(head[at : at + 4], "big")
        if size < 8 or head[at + 4 : at + 8] == b"moov" or at + size + 8 > len(head):
            return MOV
        at += size
    if head[at + 4 : at + 8] != b"ftyp":
        return MOV if at else None
    stop = at + int.from_bytes(head[at : at + 4], "big")
    major, others = head[at + 8 : at + 12], head[at + 16 : stop]
    if major in _CONTAINER_BRANDS:
        brands = [_BRANDS.get(others[n : n + 4]) for n in range(0, len(others), 4)]
        return next((found for found in (AVIF, HEIC) if found in brands), HEIF)
    return _BRANDS.get(major, MP4)


_MP3_KBITS = {  # by whether it is MPEG-1; the index is in the header
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MP3_HZ = (44100, 48000, 32000)  # MPEG-1; half for MPEG-2, a quarter for MPEG-2.5


def mp3_frame_bytes(header: bytes) -> int | None:
    """Return the size of the MP3 frame that begins with these four bytes; None if none does.

    A frame of "free" bit rate is none, since its header does not tell its size.
    """
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, rate, hertz = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or rate in (0, 15) or hertz == 3:
        return None
    is_first = version == 3
    padding = header[2] >> 1 & 1
    samples = _mp3_samples(version)
    return samples // 8 * _MP3_KBITS[is_first][rate] * 1000 // _mp3_hertz(version, hertz) + padding


def mp3_frame_seconds(header: bytes) -> float:
    """Return how long a frame plays for which `mp3_frame_bytes` returned a size."""
    version, hertz = header[1] >> 3 & 3, header[2] >> 2 & 3
    return _mp3_samples(version) / _mp3_hertz(version, hertz)


def _mp3_samples(version: int) -> int:
    return 1152 if version == 3 else 576


def _mp3_hertz(version: int, hertz: int) -> int:
    return _MP3_HZ[hertz] >> {3: 0, 2: 1, 0: 2}[version]


# -- other files ---------------------------------------------------------------------------------


def other_format(head: bytes, content_type: str, extension: str) -> Format | None:
    """Return how a file is kept that has no format of `format_of`; None if it is a host's error.

    content_type: the header. extension: `url_extension` of its URL. HTML, JSON and an empty body
    are what hosts answer instead of a file, so they are files only where the URL names them.
    """
    if _is_text(head):
        name = _text_name(head, content_type.partition(";")[0].strip().lower(), extension)
        return None if name is None else _file(name)
    name = next((name for start, name in _OTHER_STARTS.items() if head.startswith(start)), None)
    if name is None and head[:2] in (b"\xff\xf1", b"\xff\xf9"):
        name = "aac"
    if name is None and len(head) > 188 and head[0] == head[188] == 0x47:
        name = "ts"
    if name is None and head[257:262] == b"ustar":
        name = "tar"
    if name is not None:
        return _file(extension if extension in _REFINED.get(name, ()) else name)
    of_type = _TYPE_NAME.match(content_type.lower())
    names = (extension, of_type[1] if of_type else "")
    taken = _TOLD_BY_START | _RUNNABLE | {""}
    name = next((name for name in names if name not in taken), None)
    return UNKNOWN if name is None else _file(name)


def url_extension(url: str) -> str:
    """Return the extension of the file that a URL names, in small letters; "" if it has none."""
    try:
        path = urlsplit(url).path
    except ValueError:
        return ""
    stem, dot, extension = path.rpartition("/")[2].rpartition(".")
    return extension.lower() if stem and dot and _EXTENSION.fullmatch(extension) else ""


def _is_text(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # a character that the end of `head` cuts is none amiss
            return False
    return not any(byte < 32 and byte not in b"\t\r\n\f\x1b" for byte in head)


def _text_name(head: bytes, content_type: str, extension: str) -> str | None:
    """Return the extension of a text; None if it is a host's error."""
    text = head.lstrip(_TEXT_MARKS).lower()
    if not text:
        return extension if extension in _PLAIN else None
    if text.startswith((b"<?xml", b"<!--", b"<svg", b"<!doctype svg")) and b"<svg" in text:
        return "svg"
    if content_type == "text/html" or text.startswith((b"<!doctype html", b"<html", b"<head")):
        return extension if extension in _HTML - {"svg"} else None
    if text.startswith((b"{", b"[")):
        return extension if extension in _JSON else None
    if text.startswith(b"<?xml") and b"<error" in text:
        return None
    for start in _TEXT_STARTS:
        if head.startswith(start):
            return _OTHER_STARTS[start]
    if extension in _TOLD_BY_START:
        return None  # words instead of a picture
    if extension and extension not in _RUNNABLE | _HTML | _JSON:
        return extension
    return "xml" if text.startswith(b"<?xml") else "txt"


def _file(extension: str) -> Format:
    return Format("file", extension, _TYPES.get(extension, UNKNOWN.content_type))
