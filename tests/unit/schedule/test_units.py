"""The units of a schedule, as systemd itself reads them where it is."""

import shutil
import subprocess
from datetime import datetime, time
from pathlib import Path

import pytest

from batchgen.core.timetable import Timetable, parse_days
from batchgen.schedule import units
from batchgen.schedule.entry import Entry


def entry(folder: str, *options: str, days: str = "daily", until: time | None = time(7)) -> Entry:
    return Entry(
        name="list",
        manifest=f"{folder}/list.csv",
        folder=folder,
        timetable=Timetable(time(1, 30), parse_days(days), until),
        by="systemd",
        program=("/bin/echo",),
        since=datetime(2026, 11, 23),
        options=options,
        environment={"XDG_STATE_HOME": folder},
    )


def test_a_service_goes_where_the_list_is_and_may_stop_early() -> None:
    lines = units.service(entry("/home/me")).splitlines()

    assert "WorkingDirectory=/home/me" in lines
    assert 'Environment="XDG_STATE_HOME=/home/me"' in lines
    assert 'ExecStart=:"/bin/echo" "run" "/home/me/list.csv" "-q" "--window" "01:30-07:00"' in lines
    assert "SuccessExitStatus=75" in lines
    assert "SuccessExitStatus" not in units.service(entry("/home/me", until=None))


def test_what_systemd_reads_itself_is_escaped() -> None:
    text = units.service(entry('/a/50% "$HOME"', "--meta", "%h"))

    assert 'WorkingDirectory=/a/50%% "$HOME"\n' in text
    assert '"/a/50%% \\"$HOME\\"/list.csv"' in text
    assert '"--meta" "%%h"' in text


def test_a_timer_makes_up_for_a_missed_start() -> None:
    lines = units.timer(entry("/home/me", days="mon,sun")).splitlines()

    assert "OnCalendar=Mon,Sun *-*-* 01:30:00" in lines
    assert "Persistent=true" in lines
    assert "OnCalendar=*-*-* 01:30:00" in units.timer(entry("/home/me")).splitlines()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
@pytest.mark.parametrize("name", ["plain", "it's", "50% done", "a  b", "$HOME", '"q"', "ä€", "#;"])
def test_systemd_finds_nothing_wrong(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    one = entry(str(folder), "--meta", name, days="mon-fri")
    service, timer = tmp_path / "batchgen-x.service", tmp_path / "batchgen-x.timer"
    service.write_text(units.service(one))
    timer.write_text(units.timer(one))

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(service), str(timer)],
        capture_output=True,
        text=True,
        check=False,
    )

    # Units of the system are looked at too; what is said of them names them.
    assert [line for line in done.stderr.splitlines() if "batchgen-x" in line] == []
