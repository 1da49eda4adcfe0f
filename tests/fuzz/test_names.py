"""Any text as a row's id or prompt: a file of that name stands in its folder, and nowhere else."""

import shlex
import unicodedata
from itertools import islice
from pathlib import Path

from fuzzing import fuzz
from hypothesis import example, given
from hypothesis import strategies as st

from batchgen.core.identity import fold_name, readable_id, safe_name, slug
from batchgen.media.local_folder import candidate_stems

PIECES = st.sampled_from(
    [
        *("..", "/", "\\", ":", "~", "-", ".", " ", "\0", "\n", "\x1b[31m", "%00", "$(id)", "`"),
        *("CON", "nul.txt", "COM1", "LPT9", "aux", "\u202e", "\ufeff", "\u2028", "\ud800"),
        *("e\u0301", "é", "ﬁ", "İ", "ß", "ẞ", "\u0344", "각", "\u1112\u1161\u11ab", "a" * 90),
        *("\U000e0001", "\U0001f469\u200d\U0001f680", "'"),
    ]
)
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=30).map("".join)


@fuzz
@given(TEXTS)
@example("../../etc/passwd")
@example("각" * 60)
def test_a_name_is_one_file_of_its_folder(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "images"
    folder.mkdir(exist_ok=True)
    name = safe_name(text)
    stems = [*islice(candidate_stems(name, 12, "0123456789abcdef"), 12)]

    for stem in (stems[0], stems[-1]):
        path = folder / f"{stem}.png.damaged-10"  # the longest that is made of it
        path.write_bytes(b"x")
        assert [found.name for found in folder.iterdir()] == [path.name]
        path.unlink()
    assert [*tmp_path.iterdir()] == [folder]
    assert len({fold_name(stem) for stem in stems}) == len(stems)


@fuzz
@given(TEXTS)
def test_a_name_can_be_typed_and_shown(text: str) -> None:
    name = safe_name(text)

    assert safe_name(name) == name
    assert name.isprintable()
    assert not any(unicodedata.bidirectional(c) in ("RLO", "LRO", "RLE", "LRE") for c in name)
    assert name[0] not in "-.~"
    assert shlex.split(shlex.quote(name)) == [name]


@fuzz
@given(st.integers(0, 10**9), TEXTS)
def test_a_row_without_an_id_has_one_that_is_a_name_as_it_stands(position: int, text: str) -> None:
    id = readable_id(position, {"prompt": text})

    assert safe_name(id) == id
    assert len(slug(text)) <= 40


@fuzz
@given(TEXTS, TEXTS)
def test_names_that_a_file_system_may_not_tell_apart_are_equal_when_folded(
    one: str, other: str
) -> None:
    names = safe_name(one), safe_name(other)
    forms = [
        {f(unicodedata.normalize(form, name)) for form in ("NFC", "NFD") for f in (str.lower, str)}
        for name in names
    ]

    if forms[0] & forms[1]:
        assert fold_name(names[0]) == fold_name(names[1])
