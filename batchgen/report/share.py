"""Chosen rows -> a folder of their own: their files, and a small gallery that needs nothing else.

It can be mailed or put on a web server. What is the person's own business stays behind: costs,
causes of failures, commands, paths of this computer, and what of a URL may be a secret.
`files.sha256` lists what was copied, as `sha256sum` reads it; it also tells a later call what in
the folder is ours.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from batchgen import files
from batchgen.batch_folder import Folder
from batchgen.clock import Clock, to_iso
from batchgen.core.local_files import without_folders
from batchgen.core.states import State
from batchgen.core.text import escape_unprintable, plural, shell_quote
from batchgen.errors import StorageDamaged, UsageError
from batchgen.journal.reader import Reader
from batchgen.media.formats import FOLDERS
from batchgen.media.provenance import without_secrets
from batchgen.media.thumbnails import is_ours
from batchgen.report import gallery, statistics
from batchgen.report.filters import Filter
from batchgen.report.inputs import model_inputs

LIST = "files.sha256"
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url=report/index.html">
<title>Gallery</title>
<p><a href="report/index.html">The gallery</a></p>
</html>
"""
MAX_SHOWN = 5  # files that are named in a message
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_OURS = re.compile(
    rf"{re.escape(LIST)}|index\.html|report/(?:index\.html|gallery\.css|data/(?:batch|rows-\d+)\.js)"
)
# Of a row, beside its state: one of several outputs may be there, and the row failed.
_OWN = ("cost", "price", "source", "error", "error_code", "attempts")
_CHUNK_BYTES = 1 << 20


class Shared(NamedTuple):
    """What was written. page: what to open. rows, files: how many of them are there."""

    page: Path
    rows: int
    files: int


def share(folder: Folder, view: Filter, to: Path, *, thumbnails: bool) -> Shared:
    """Write the files that `view` shows, but for rejected ones, to the folder `to`.

    to: missing, empty, or written by an earlier call; what that copied and is no longer chosen is
        removed.
    Raises UsageError, before anything is written, if `to` has anything else, or nothing is chosen;
    LeadsOutside for a link; StorageDamaged at the end if files of the batch could not be read.
    """
    folder.refuse_others()
    folder.refuse_links()
    files.refuse_linked_folder(to)
    _refuse_each_other(folder.path, to)
    with closing(Reader(folder.journal)) as reader, reader.one_moment():
        is_shown = view.predicate(reader.names_in("input"), reader.names_in("meta"))
        if view.picks is not None:
            view.picks.require_rows(reader.ids())

        def rejected(row: Mapping[str, Any], output: Mapping[str, Any]) -> bool:
            choice = view.choice_of(row, output["n"]) or view.choice_of(row)
            return choice is not None and choice.verdict == "reject"

        def chosen() -> Iterator[tuple[dict[str, Any], dict[str, str | None]]]:
            for row in filter(is_shown, reader.rows()):
                paths = {
                    output["path"]: output["sha256"]
                    for output in view.outputs_of(row)
                    if output["path"] and not rejected(row, output)
                }
                if paths:
                    yield row, paths

        wanted = {path: sha256 for _, paths in chosen() for path, sha256 in paths.items()}
        if not wanted:
            which = f" of {view.description}" if view.description else ""
            raise UsageError(f"No row{which} has a file to copy. Nothing was written.")
        earlier = _found_in(to)
        _make_outer(to)
        _write_list(to, {**earlier, **{path: sha for path, sha in wanted.items() if sha}})
        copied, lost = _copy(folder.path, to, wanted)
        stored = bool(reader.get_meta("media"))
        shown = _write_gallery(folder, reader, view, to, chosen, copied, thumbnails=thumbnails)
    for path in earlier.keys() - copied.keys():
        files.remove_file(to / path, to)
    _write_list(to, copied)
    _let_read(to)
    if lost:
        named = "; ".join(lost[:MAX_SHOWN])
        place = shell_quote(str(folder.path))
        raise StorageDamaged(
            f"{to} has {plural(len(copied), 'file')}; {plural(len(lost), 'more')} could not be"
            f" copied: {named}.",
            f"Fetch them first: batchgen pull {place}"
            if stored
            else f"See what is wrong: batchgen verify {place}",
        )
    return Shared(to / "index.html", shown, len(copied))


def _refuse_each_other(batch: Path, to: Path) -> None:
    """Raise UsageError where one of the folders is in the other, or both are the same."""
    one, other = batch.resolve(), to.resolve()
    if one.is_relative_to(other) or other.is_relative_to(one):
        raise UsageError(
            f"--to {to} and the batch {batch} are in each other. Nothing was written.",
            "Choose a folder beside the batch.",
        )


def _found_in(to: Path) -> dict[str, str]:
    """Return the files that an earlier call copied to `to` and that are there, with their hashes.

    Raises UsageError if anything else is there.
    """
    if not os.path.lexists(to):
        return {}
    if not to.is_dir():
        raise UsageError(f"--to {to} is not a folder. Nothing was written.")
    listed = _listed(to)
    there: dict[str, str] = {}
    foreign = []
    for where, folders, names in os.walk(to):
        links = [name for name in folders if Path(where, name).is_symlink()]
        for name in (*links, *names):
            path = Path(where, name)
            known = path.relative_to(to).as_posix()
            if listed is None or not files.is_regular_file(path):
                foreign.append(known)
            elif known in listed and _sha256(path) == listed[known]:
                there[known] = listed[known]
            elif not _OURS.fullmatch(known) and not is_ours(known.removeprefix("report/")):
                foreign.append(known)
    if foreign:
        shown = ", ".join(map(escape_unprintable, sorted(foreign)[:MAX_SHOWN]))
        rest = f" and {len(foreign) - MAX_SHOWN} more" if len(foreign) > MAX_SHOWN else ""
        raise UsageError(
            f"--to {to} has files that batchgen did not put there: {shown}{rest}. Nothing was"
            " written.",
            "Choose a folder that is not there yet.",
        )
    return there


def _listed(to: Path) -> dict[str, str] | None:
    """Return the hashes of the list in `to`, by path; None where there is no such list."""
    path = to / LIST
    if not files.is_regular_file(path):
        return None
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return {found[2]: found[1] for line in lines if (found := _LINE.fullmatch(line))}


def _make_outer(to: Path) -> None:
    to.mkdir(parents=True, exist_ok=True)
    for name in ("report", *FOLDERS.values()):
        files.refuse_linked_folder(to / name)


def _write_list(to: Path, copied: Mapping[str, str]) -> None:
    with files.write_whole(to / LIST, inside=to) as file:
        file.writelines(f"{sha}  {path}\n" for path, sha in sorted(copied.items()))


def _copy(batch: Path, to: Path, paths: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Copy files of the batch; return the hash of each, and in words what could not be read."""
    copied, lost = {}, []
    for path in paths:
        try:
            source = files.open_regular(batch / path, follow=False)
        except OSError as error:
            lost.append(f"{path}: {error.strerror or error}")
            continue
        files.make_folder((to / path).parent, to)
        digest = hashlib.sha256()
        with source, files.write_whole_bytes(to / path, inside=to) as file:
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
                file.write(chunk)
        copied[path] = digest.hexdigest()
    return copied, lost


def _sha256(path: Path) -> str:
    with files.open_regular(path, follow=False) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_gallery(
    folder: Folder,
    reader: Reader,
    view: Filter,
    to: Path,
    chosen: Callable[[], Iterator[tuple[dict[str, Any], dict[str, str | None]]]],
    copied: Mapping[str, str],
    *,
    thumbnails: bool,
) -> int:
    """Write the gallery to `to`; return how many rows it shows."""

    def rows() -> Iterator[dict[str, Any]]:
        for row, paths in chosen():
            if not copied.keys().isdisjoint(paths):
                theirs = dict.fromkeys(_OWN) | {"state": State.SAVED}
                texts = {"input": without_folders(row["input"]), "meta": row["meta"]}
                yield row | theirs | {n: without_secrets(one) for n, one in texts.items()}

    models: dict[str, int] = {}
    for row in rows():
        models[row["model"]] = models.get(row["model"], 0) + 1
    count = sum(models.values())
    schemas = model_inputs(folder.schemas, models)
    facts = {
        "batch": folder.path.resolve().name,
        "batch_id": statistics.batch_id(reader),
        "manifest": None,
        "written_at": statistics.changed_at(reader) or to_iso(Clock().now()),
        "rehearsal": reader.is_rehearsal(),
        "schemas": {m: one | {"file": None, "inline": None} for m, one in schemas.items()},
        "workflows": None,
        "command": None,
        "narrowed": None,
        "shared": True,
    }
    numbers = {
        "rows": count,
        "counts": {state: count if state == State.SAVED else 0 for state in State},
        "causes": [],
    }
    content = gallery.GalleryContent(to, facts, numbers, reader, view, thumbnails, paths=copied)
    shown: int = gallery.write_gallery(content, rows())["rows"]
    if thumbnails:
        gallery.make_thumbnails(to / "report")
    with files.write_whole(to / "index.html", inside=to) as file:
        file.write(PAGE)
    return shown


def _let_read(to: Path) -> None:
    """Give what was written the modes that the person's umask gives, so that a server reads it."""
    mask = os.umask(0o077)
    os.umask(mask)
    for where, _, names in os.walk(to):
        Path(where).chmod(0o777 & ~mask)
        for name in names:
            if files.is_regular_file(Path(where, name)):
                Path(where, name).chmod(0o666 & ~mask)
