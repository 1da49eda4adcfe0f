"""What separates the cells of a table, by the names in its header. Pure.

Spreadsheets separate the cells of a .csv by semicolons where decimals have a comma, or by tabs.
Nothing is guessed from the cells, as Python's csv.Sniffer does: the format's own separator holds
unless it gives no known name in the header and others do. So a file that could be read by its own
separator comes out as ever.
"""

import csv
from collections.abc import Callable, Sequence

# Whether one of these names of a file stands for something: see `ColumnMapping.knows_any`.
KnowsAny = Callable[[Sequence[str]], bool]

# The separators that are looked for, and their names in messages.
SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}


def split_names(header: str, separator: str) -> list[str]:
    """Return the names in a table's first line, if its cells are separated so."""
    try:
        cells = next(csv.reader([header], delimiter=separator), [])
    except csv.Error:
        return []
    return [cell.strip() for cell in cells]


def find_separators(header: str, usual: str, knows_any: KnowsAny) -> list[str]:
    """Return what may separate the cells under this header: `usual`, unless others alone may.

    A name under `usual` that another separator splits into known names, as `prompt;style`, is not
    known itself, even if `--column` names it: its cells are several cells.
    """

    def splits(text: str, separator: str) -> bool:
        return len(names := split_names(text, separator)) > 1 and knows_any(names)

    others = [one for one in SEPARATORS if one != usual and splits(header, one)]
    names = split_names(header, usual)
    plain = [name for name in names if not any(splits(name, other) for other in others)]
    return others if others and not knows_any(plain) else [usual]
