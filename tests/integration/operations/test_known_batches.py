"""The user's memory of which list has which batch, as a file that several runs write."""

import json
import multiprocessing
from itertools import chain
from pathlib import Path

from batchgen.operations.known_batches import MOST_KEPT, KnownBatches, ListPath


def remember(folder: Path, names: list[str], at: str = "2026-11-26T01:00:00Z") -> None:
    known = KnownBatches(folder)
    for name in names:
        known.remember(f"/lists/{name}.csv", Path("/out") / name, rehearsal=False, at=at)


def folders(folder: Path, manifest: str) -> list[str]:
    wanted = ListPath.of(manifest)
    assert wanted is not None
    return [batch.folder for batch in KnownBatches(folder).of(wanted)]


def test_runs_that_write_at_once_keep_each_others_entries(tmp_path: Path) -> None:
    names = [[f"{run}-{n}" for n in range(10)] for run in range(4)]
    runs = [multiprocessing.Process(target=remember, args=(tmp_path, some)) for some in names]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)

    kept = json.loads((tmp_path / "batches.json").read_text())
    assert sorted(Path(entry["folder"]).name for entry in kept) == sorted(chain(*names))


def test_the_last_run_comes_first_and_a_folder_is_kept_once(tmp_path: Path) -> None:
    known = KnownBatches(tmp_path)
    for hour, name in enumerate(("one", "two", "one")):
        at = f"2026-11-26T0{hour}:00:00Z"
        known.remember("/lists/a.csv", Path("/out") / name, rehearsal=False, at=at)

    assert folders(tmp_path, "/lists/a.csv") == ["/out/one", "/out/two"]


def test_the_oldest_entries_make_room(tmp_path: Path) -> None:
    old = {"resolved": "", "folder": "/out", "host": "h", "rehearsal": False}
    entries = [old | {"written": f"/{n}", "at": f"2025-{n:05}"} for n in range(MOST_KEPT)]
    (tmp_path / "batches.json").write_text(json.dumps(entries))
    remember(tmp_path, ["new"])

    assert len(json.loads((tmp_path / "batches.json").read_text())) == MOST_KEPT
    assert folders(tmp_path, "/0") == []
    assert folders(tmp_path, "/1") == ["/out"]
    assert folders(tmp_path, "/lists/new.csv") == ["/out/new"]


def test_a_list_is_known_by_the_path_as_written_and_by_its_target(tmp_path: Path) -> None:
    (tmp_path / "day.csv").write_text("")
    (tmp_path / "latest.csv").symlink_to("day.csv")
    state = tmp_path / "state"
    known = KnownBatches(state)
    known.remember(str(tmp_path / "latest.csv"), Path("/out"), rehearsal=False, at="2026")

    for name in ("latest.csv", "day.csv", "../" + tmp_path.name + "/day.csv"):
        assert folders(state, str(tmp_path / name)) == ["/out"]
    assert folders(state, str(tmp_path / "other.csv")) == []


def test_a_list_without_a_name_of_its_own_is_kept_for_what_it_costs_alone(tmp_path: Path) -> None:
    known = KnownBatches(tmp_path)
    for manifest in ("-", "/dev/stdin", "/dev/fd/63"):
        known.remember(manifest, Path("/out"), rehearsal=False, at="2026")

    assert known.paid_here() == [Path("/out")]
    assert folders(tmp_path, str(Path.cwd())) == []


def test_batches_of_this_computer_that_are_no_rehearsals_have_cost_something(
    tmp_path: Path,
) -> None:
    known = KnownBatches(tmp_path)
    known.remember("/a.csv", Path("/a"), rehearsal=False, at="2026")
    known.remember("/b.csv", Path("/b"), rehearsal=True, at="2026")
    known.remember("/c.csv", Path("/a"), rehearsal=False, at="2027")

    assert known.paid_here() == [Path("/a")]
