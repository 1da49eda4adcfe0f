"""Where the media of a batch are kept: said at its first run, and the same from then on. Pure.

A batch folder may come from anybody, and so may what its journal says of a place. It holds only
where the person names the same place, or has run this batch with it on this computer before.
"""

from dataclasses import dataclass

from batchgen.core.text import shell_quote
from batchgen.errors import UsageError

KEPT = "media"  # the name under which `set_meta` keeps the place; "" is the batch folder itself


@dataclass(frozen=True, slots=True)
class Said:
    """What is said of the place. Each place is as `parse_media_place` returns it.

    wanted: by the person; None where nothing is. typed: on the command line of this run.
    kept: by the journal; "" is the batch folder, None where no run has said it yet.
    remembered: of earlier runs of this person in this folder, on this computer.
    """

    wanted: str | None
    typed: bool
    kept: str | None
    remembered: frozenset[str] = frozenset()


def wanted_place(
    place: str | None, folder_name: str, *, typed: bool, rehearsal: bool
) -> str | None:
    """Return the place that the person wants for a batch; None is the batch folder.

    What is said for all lists is where each batch gets a folder of its own, as it does in `out/`,
    and is not meant for rehearsals.
    """
    if place is None or typed:
        return place
    return None if rehearsal else f"{place}/{folder_name}"


def settle_place(said: Said, folder: str) -> tuple[str | None, str]:
    """Return where the media of a batch are kept, None for its folder, and what to tell; "" for
    nothing.

    folder: the batch's, for messages. Raises UsageError where the person names another place, or
    nobody but the journal knows it.
    """
    if said.kept is None:
        return said.wanted, ""
    kept = said.kept or None
    if said.wanted == kept:
        return kept, ""
    where = kept or "the folder itself"
    if said.wanted is not None and said.typed:
        how = f"give --media {shell_quote(kept)}" if kept else "leave out --media"
        raise UsageError(
            f"{folder} keeps its media in {where}, as its first run said, and not in"
            f" {said.wanted}. Nothing was sent.",
            f"To go on there, {how}.\nTo begin a batch elsewhere, add --out and another folder.",
        )
    if kept is not None and kept not in said.remembered:
        raise UsageError(
            f"The journal of {folder} says that its media are kept in {kept}. Nothing else here"
            " says so, and a folder may come from anybody. Nothing was sent.",
            "If that is your place, say so once to run, verify or pull:"
            f" --media {shell_quote(kept)}",
        )
    if said.wanted is None:
        return kept, ""
    return kept, f"Media stay in {where}, as this batch began; {said.wanted} is for new ones."
