"""Where media are kept: what a person says, what the journal says, and whom that is believed."""

import pytest

from batchgen.errors import UsageError
from batchgen.storage.place import Said, settle_place, wanted_place

PLACE, OTHER = "s3://bucket/list", "s3://bucket/other"


def said(
    wanted: str | None, kept: str | None, *, typed: bool = True, known: bool = False
) -> tuple[str | None, str]:
    remembered = frozenset({kept}) if known and kept else frozenset()
    return settle_place(Said(wanted, typed, kept, remembered), "out/list")


def test_an_option_is_taken_as_it_is_and_all_else_gets_a_folder_for_each_batch() -> None:
    for rehearsal in (False, True):
        assert wanted_place(PLACE, "spring", typed=True, rehearsal=rehearsal) == PLACE
        assert wanted_place(None, "spring", typed=False, rehearsal=rehearsal) is None
    assert wanted_place(PLACE, "spring", typed=False, rehearsal=False) == f"{PLACE}/spring"
    assert wanted_place(PLACE, "spring", typed=False, rehearsal=True) is None


@pytest.mark.parametrize("wanted", [None, PLACE])
def test_a_new_batch_takes_what_the_person_wants(wanted: str | None) -> None:
    assert said(wanted, None) == (wanted, "")


def test_a_batch_keeps_what_its_first_run_said() -> None:
    assert said(PLACE, PLACE) == (PLACE, "")
    assert said(None, PLACE, known=True) == (PLACE, "")
    assert said(None, "") == (None, "")


@pytest.mark.parametrize(("kept", "where"), [(PLACE, PLACE), ("", "the folder itself")])
def test_another_place_is_refused_on_the_command_line_and_told_elsewhere(
    kept: str, where: str
) -> None:
    with pytest.raises(UsageError, match=f"out/list keeps its media in {where}"):
        said(OTHER, kept, known=True)
    place, notice = said(OTHER, kept, typed=False, known=True)
    assert (place or "") == kept
    assert notice == f"Media stay in {where}, as this batch began; {OTHER} is for new ones."


@pytest.mark.parametrize("wanted", [None, OTHER])
def test_a_place_that_nobody_but_the_journal_knows_is_not_used(wanted: str | None) -> None:
    with pytest.raises(UsageError) as refused:
        said(wanted, PLACE, typed=False)
    assert refused.value.remedy.endswith(f"say so once to run, verify or pull: --media {PLACE}")
