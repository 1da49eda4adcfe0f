"""Files that are no text: what they are, and how to get a list out of them. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FileKind:
    """name: with its article. remedy: a sentence for messages.

    suffixes: of file names, with the dot. magic: the first bytes, which no text begins with.
    """

    name: str
    remedy: str
    suffixes: tuple[str, ...] = ()
    magic: tuple[bytes, ...] = ()


_SAVE = "Save it as CSV UTF-8, and run that."
_EXCEL = "In Excel: Save As, “CSV UTF-8 (Comma delimited)”; then run that file."
_EXPORT = "Write its rows as CSV or JSON Lines, and run that."
_COPY = "Save the prompts as plain text (UTF-8), one in each line, and run that."
_UNPACK = "Unpack it, and run the list that is in it."

KINDS = (
    FileKind("an Excel workbook", _EXCEL, (".xlsx", ".xlsm", ".xlsb", ".xltx")),
    FileKind("an old Excel workbook", _EXCEL, (".xls",), (bytes.fromhex("d0cf11e0a1b11ae1"),)),
    FileKind("an OpenDocument spreadsheet", _SAVE, (".ods", ".fods")),
    FileKind("a Numbers spreadsheet", "In Numbers: Export To, CSV; then run that.", (".numbers",)),
    FileKind("a link to a Google sheet", "Download the sheet as CSV, and run that.", (".gsheet",)),
    FileKind("a Parquet file", _EXPORT, (".parquet",), (b"PAR1\x15",)),
    FileKind("an Arrow file", _EXPORT, (".arrow", ".feather"), (b"ARROW1\0",)),
    FileKind("an Avro file", _EXPORT, (".avro",), (b"Obj\x01",)),
    FileKind("a Python pickle", _EXPORT, (".pkl", ".pickle")),
    FileKind(
        "an SQLite database", _EXPORT, (".db", ".sqlite", ".sqlite3"), (b"SQLite format 3\0",)
    ),
    FileKind("a document", _COPY, (".docx", ".doc", ".odt", ".rtf", ".pages"), (b"{\\rtf1\\",)),
    FileKind("a PDF", _COPY, (".pdf",), (b"%PDF-1.", b"%PDF-2.")),
    FileKind("a web page", _COPY, (".html", ".htm")),
    FileKind("an XML file", _EXPORT, (".xml",)),
    FileKind("a compressed file", _UNPACK, (".gz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".tar")),
    FileKind("a compressed file", _UNPACK, (), (b"\x1f\x8b", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")),
    FileKind("an archive", _UNPACK, (".zip",)),
    FileKind(
        "a ZIP archive, as workbooks of Excel, LibreOffice and Numbers are", _SAVE, (), (b"PK\3\4",)
    ),
)
KIND_OF_SUFFIX = {suffix: kind for kind in KINDS for suffix in kind.suffixes}


def kind_of_bytes(head: bytes) -> FileKind | None:
    """Return the kind of a file that is no text, by its first bytes; None where it may be one."""
    return next((kind for kind in KINDS if head.startswith(kind.magic)), None)
