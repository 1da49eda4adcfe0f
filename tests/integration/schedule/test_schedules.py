"""`schedule` from the command line: a crontab, or a user's systemd, that keeps what it is given."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import certifi
import pytest
from conftest import Command, Write
from databases import Database
from helpers import Outcome, change, many, query, table
from sandbox_client import Control

from batchgen.clock import to_iso
from batchgen.errors import UsageError
from batchgen.schedule import system

OTHERS = b"# mine, \xff\nMAILTO=me\n5 4 * * * true \\%\n"
# Stands in for what lies outside: keeps a file as crontab does, and says what the real one says.
CRONTAB = """#!/bin/sh
case "$1" in
-l) [ -f "$CRONTAB_FILE" ] || { echo "no crontab for me" >&2; exit 1; }; cat "$CRONTAB_FILE" ;;
-) cat > "$CRONTAB_FILE.new" && mv "$CRONTAB_FILE.new" "$CRONTAB_FILE" ;;
esac
"""
SYSTEMCTL = """#!/bin/sh
echo "$@" >> "$SYSTEMCTL_LOG"
"""


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


@pytest.fixture
def crontab(here: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> Path:
    """The file of the user's crontab; there is no systemd."""
    outside = tmp_path_factory.mktemp("outside")
    program(outside / "bin", "crontab", CRONTAB)
    program(outside / "bin", "systemctl", "#!/bin/sh\nexit 1\n")
    monkeypatch.setenv("CRONTAB_FILE", str(outside / "crontab"))
    monkeypatch.setenv("PATH", f"{outside / 'bin'}:{os.environ['PATH']}")
    (outside / "crontab").write_bytes(OTHERS)
    return outside / "crontab"


@pytest.fixture
def systemctl(crontab: Path, monkeypatch) -> Path:
    """What the user's systemd was told."""
    program(crontab.parent / "bin", "systemctl", SYSTEMCTL)
    program(crontab.parent / "bin", "loginctl", "#!/bin/sh\necho no\n")
    monkeypatch.setenv("SYSTEMCTL_LOG", str(crontab.parent / "systemctl.log"))
    return crontab.parent / "systemctl.log"


@pytest.fixture
def install(batchgen: Command, write: Write) -> Callable[..., Outcome]:
    def install_it(*words: object, manifest: str = "list.csv") -> Outcome:
        write(manifest, table(many(2)))
        return batchgen("schedule", "install", manifest, "--at", "01:30", *words)

    return install_it


def clock(hours: float) -> str:
    """A time of day so many hours from now."""
    return f"{datetime.now() + timedelta(hours=hours):%H:%M}"


def test_a_list_is_put_into_the_crontab_and_taken_out_again(
    batchgen: Command, here: Path, crontab: Path, install
) -> None:
    outcome = install("--until", "07:00", "--days", "mon-fri")

    assert (outcome.code, f"{here}/list.csv runs mon-fri at 01:30" in outcome.stdout) == (0, True)
    added = crontab.read_bytes().removeprefix(OTHERS).decode()
    assert added.splitlines()[1].startswith(f"30 1 * * 1,2,3,4,5 cd {here} && ")
    assert "--window 'mon-fri 01:30-07:00'" in added
    assert "a-token" not in added

    assert batchgen("schedule", "remove", "list.csv").code == 0
    assert crontab.read_bytes() == OTHERS
    listed = batchgen("schedule", "list")
    assert (listed.stdout, listed.stderr) == ("", "Nothing is scheduled.\n")


def test_installed_twice_it_stands_there_once(batchgen: Command, crontab: Path, install) -> None:
    install()
    install("--", "--limit", "1")

    text = crontab.read_text(errors="replace")
    assert (text.count("30 1 * * *"), "--limit 1" in text) == (1, True)
    assert len(batchgen("schedule", "list").stdout.splitlines()) == 1


def test_a_dry_run_and_show_change_nothing(batchgen: Command, crontab: Path, install) -> None:
    dry = install("--dry-run")
    assert (crontab.read_bytes(), batchgen("schedule", "list").stdout) == (OTHERS, "")
    install()
    before = crontab.read_bytes()

    shown = batchgen("schedule", "show", "list").stdout

    assert crontab.read_bytes() == before
    assert dry.stdout in shown
    assert all(f"\n{word}: " in shown for word in ("log", "output", "environment", "next start"))


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_a_dry_run_refuses_what_no_schedule_can_hold(crontab: Path, install, words) -> None:
    outcome = install("--by", "cron", *words, manifest="n\nl.csv")

    assert (outcome.code, outcome.stdout) == (2, "")
    assert "which no schedule can hold" in outcome.stderr


def test_the_line_runs_as_cron_would_run_it(
    batchgen: Command, here: Path, crontab: Path, monkeypatch
) -> None:
    folder = here / "it's 50% done"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "list.csv").write_text(table(many(2)))
    words = ["--at", clock(0), "--until", clock(3), "--", "--sandbox", "--out", "there"]
    batchgen("schedule", "install", "list.csv", *words)
    line = crontab.read_bytes().removeprefix(OTHERS).decode().splitlines()[1]
    assert batchgen("schedule", "check").code == 0  # not due yet

    command = line.split(" ", 5)[5].replace("\\%", "%")
    bare = {"HOME": str(here), "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LOGNAME": "me"}
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd="/", env=bare, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert query(folder / "there", "SELECT COUNT(*) FROM requests WHERE state = 'saved'") == [(2,)]
    assert f"log: {folder}/there/batchgen.log" in batchgen("schedule", "show", "list").stdout


@pytest.mark.parametrize("error", ["echo 'you are not allowed' >&2; exit 1", "exit 7"])
def test_a_crontab_that_cannot_be_read_is_not_written(
    batchgen: Command, crontab: Path, install, error: str
) -> None:
    program(crontab.parent / "bin", "crontab", f"#!/bin/sh\ncase $1 in -l) {error};; esac\n")

    outcome = install()

    assert (outcome.code, "Nothing was changed" in outcome.stderr) == (1, True)
    assert batchgen("schedule", "list").stdout == ""


def test_a_crontab_that_refuses_the_lines_leaves_no_schedule(
    batchgen: Command, crontab: Path, install
) -> None:
    refusing = (
        "#!/bin/sh\ncase $1 in -l) cat $CRONTAB_FILE;; *) echo bad minute >&2; exit 1;; esac\n"
    )
    program(crontab.parent / "bin", "crontab", refusing)

    outcome = install()

    assert (outcome.code, "bad minute. Nothing was changed" in outcome.stderr) == (1, True)
    assert batchgen("schedule", "list").stdout == ""


def test_without_a_crontab_there_is_one_afterwards(crontab: Path, install) -> None:
    crontab.unlink()

    assert install().code == 0
    assert crontab.read_text().count("\n") == 3


def test_a_schedule_is_a_timer_where_there_is_a_systemd(
    batchgen: Command, here: Path, crontab: Path, systemctl: Path, install
) -> None:
    outcome = install("--until", "07:00")

    units = Path(os.environ["XDG_CONFIG_HOME"]) / "systemd" / "user"
    assert (outcome.code, "loginctl enable-linger" in outcome.stderr) == (0, True)
    assert "SuccessExitStatus=75" in (units / "batchgen-list.service").read_text()
    assert "enable --now batchgen-list.timer" in systemctl.read_text()
    assert crontab.read_bytes() == OTHERS
    assert batchgen("schedule", "check").code == 0

    install("--by", "cron")  # from one to the other, and never both
    assert [*units.iterdir()] == []
    assert "disable --now batchgen-list.timer" in systemctl.read_text()
    assert crontab.read_bytes() != OTHERS


def test_a_timer_that_is_changed_or_comes_again_makes_up_for_no_start_of_before(
    crontab: Path, systemctl: Path, install
) -> None:
    """It was stamped with its last start, so that systemd ran the list at once, in the daytime."""
    install()
    first = systemctl.read_text().splitlines()
    assert not any("stop" in line for line in first)
    install()
    timer = "batchgen-list.timer"
    fresh = [f"--user clean --what=state {timer}", f"--user enable --now {timer}"]

    assert first[-2:] == fresh
    assert systemctl.read_text().splitlines()[-4:] == [
        f"--user stop {timer}", "--user daemon-reload", *fresh,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--", "--dry-run"], "sends nothing"),
        (["--until", "07:00", "--", "--window", "02:00-03:00"], "the same twice"),
        (["--", "--window", "12:00-13:00"], "outside of its window 12:00-13:00"),
    ],
    ids=["dry run", "two windows", "a window of another time"],
)
def test_a_schedule_by_which_no_night_would_send_anything_is_refused(
    crontab: Path, install, words: list[str], said: str
) -> None:
    outcome = install(*words)

    assert (outcome.code, said in outcome.stderr) == (2, True), outcome
    assert crontab.read_bytes() == OTHERS


def test_a_schedule_may_begin_within_the_window_of_its_runs(crontab: Path, install) -> None:
    assert install("--", "--window", "01:00-03:00").code == 0


def test_check_tells_of_a_line_that_somebody_deleted(
    batchgen: Command, crontab: Path, install
) -> None:
    install()
    crontab.write_bytes(OTHERS)

    outcome = batchgen("schedule", "check")

    assert (outcome.code, "no longer in your crontab" in outcome.stdout) == (1, True)
    assert batchgen("schedule", "remove", "list").code == 0


def test_check_tells_of_a_night_without_a_run(
    batchgen: Command, run: Command, folder: Path, crontab: Path, write: Write
) -> None:
    run(write("list.csv", table(many(1))))
    batchgen("schedule", "install", "list.csv", "--at", clock(-2))
    installed = Path(os.environ["XDG_CONFIG_HOME"]) / "batchgen" / "schedules" / "list.json"
    before = (datetime.now() - timedelta(days=3)).isoformat()
    since = next(line for line in installed.read_text().splitlines() if '"since"' in line)
    installed.write_text(installed.read_text().replace(since, f' "since": "{before}",'))
    for hours, code in ((1.0, 0), (30.0, 1)):
        began = to_iso((datetime.now() - timedelta(hours=hours)).timestamp())
        change(folder, "UPDATE runs SET started_at = ?", began)

        outcome = batchgen("schedule", "check", "list")

        assert (outcome.code, "no run has begun since" in outcome.stdout) == (code, bool(code))


def test_a_run_that_was_refused_is_not_the_night_that_was_due(
    batchgen: Command, run: Command, folder: Path, crontab: Path, write: Write, monkeypatch
) -> None:
    """A monitor stayed green each night, since a run without a token counted as one that began."""
    run(write("list.csv", table(many(1))))
    batchgen("schedule", "install", "list.csv", "--at", clock(-2))
    installed = Path(os.environ["XDG_CONFIG_HOME"]) / "batchgen" / "schedules" / "list.json"
    entry = json.loads(installed.read_text())
    entry["since"] = (datetime.now() - timedelta(days=3)).isoformat()
    installed.write_text(json.dumps(entry))
    change(
        folder,
        "UPDATE runs SET started_at = ?",
        to_iso((datetime.now() - timedelta(hours=30)).timestamp()),
    )
    monkeypatch.delenv("RUNCOMFY_TOKEN")
    refused = run(write("list.csv", table(many(2))))
    outcome = batchgen("schedule", "check")

    assert refused.code == 77, refused
    assert outcome.code == 1
    assert "no run has begun since" in outcome.stdout
    assert "the last one was refused: " in outcome.stdout


def test_a_rehearsal_by_hand_is_not_the_night_that_was_due(
    batchgen: Command, crontab: Path, install
) -> None:
    """It hid a night that did not begin, and its log was shown as that of the schedule."""
    install()
    batchgen("run", "list.csv", "--sandbox", "--out", "rehearsal")

    assert batchgen("schedule", "check").stdout.startswith("list: no run yet, next ")
    assert "\nlog: none yet" in batchgen("schedule", "show", "list").stdout


def test_check_finds_the_runs_of_a_list_whose_journal_is_in_a_database(
    batchgen: Command, run: Command, crontab: Path, write: Write, database: Database
) -> None:
    run(write("list.csv", table(many(1))), "--journal", database.url)
    words = ["--at", clock(-2), "--", "--journal", database.url]
    installed = batchgen("schedule", "install", "list.csv", *words)
    checked = batchgen("schedule", "check")

    assert installed.code == 0, installed
    assert "last run" in checked.stdout, checked


def test_check_without_a_schedule_is_no_success(batchgen: Command, crontab: Path) -> None:
    assert batchgen("schedule", "check").code == 2
    assert batchgen("schedule", "check", "list").code == 2


def test_two_lists_of_one_name_need_two_names(
    batchgen: Command, here: Path, crontab: Path, install
) -> None:
    install()
    (here / "other").mkdir()

    outcome = install(manifest="other/list.csv")

    assert (outcome.code, "--name" in outcome.stderr) == (2, True)
    assert install("--name", "other", manifest="other/list.csv").code == 0
    assert len(batchgen("schedule", "list").stdout.splitlines()) == 2


@pytest.mark.parametrize(
    "words", [("--", "--bogus"), ("--days", "noday"), ("--name", "a/b"), ("--", "--limit", "x")]
)
def test_what_a_night_would_refuse_is_refused_in_the_evening(
    crontab: Path, install, words: tuple[str, ...]
) -> None:
    assert install(*words).code == 2
    assert crontab.read_bytes() == OTHERS


@pytest.mark.parametrize("manifest", ["-", "/dev/stdin", "missing.csv"])
def test_a_list_that_is_not_there_at_night_is_refused(
    batchgen: Command, crontab: Path, manifest: str
) -> None:
    assert batchgen("schedule", "install", manifest, "--at", "01:30").code == 2


def test_a_token_that_cron_does_not_see_is_told(install, crontab: Path) -> None:
    assert "batchgen login" in install().stderr  # the token of this test is in the environment
    assert "batchgen login" not in install("--", "--sandbox").stderr


def test_a_run_outside_its_window_sends_nothing_and_one_inside_does(
    run: Command, folder: Path, write: Write, sandbox
) -> None:
    write("list.csv", table(many(1)))

    woken = run("list.csv", "-q", "--window", f"{clock(-9)}-{clock(-2)}")

    assert (woken.code, sandbox.posts, folder.exists()) == (75, 0, False)
    assert "outside the window" in woken.stderr
    assert "The next window begins" in woken.stderr
    assert run("list.csv", "--window", f"{clock(-2)}-{clock(2)}").code == 0
    assert sandbox.posts == 1


def test_the_command_of_a_night_that_came_too_late_can_be_pasted_and_runs(
    here: Path, write: Write, reach: list[str], sandbox: Control
) -> None:
    """It had the window still, and sent nothing again."""
    write("list.csv", table(many(1)))
    window = f"{clock(-9)}-{clock(-2)}"
    commands = set()
    for words in (["--window", window], [f"--window={window}"]):
        woken = subprocess.run(
            [sys.executable, "-m", "batchgen", "run", "list.csv", *words, "-q", *reach],
            cwd=here, capture_output=True, text=True, check=False,
        )  # fmt: skip

        assert (woken.returncode, sandbox.posts) == (75, 0)
        *_, said, pasted = woken.stderr.splitlines()
        assert said.strip() == "The command was, without its --window:"
        commands.add(pasted)

    (pasted,) = commands  # the same for both
    assert subprocess.run(["/bin/sh", "-c", pasted], cwd="/", check=False).returncode == 0
    assert sandbox.posts == 1


@pytest.fixture
def real_crontab(here: Path) -> Iterator[None]:
    """The crontab command of this computer, for a user who has no crontab."""
    if shutil.which("crontab") is None:
        pytest.skip("there is no crontab here")
    if system.read_crontab():
        pytest.skip("this user has a crontab of their own")
    yield
    subprocess.run(["crontab", "-r"], check=True)


def test_a_real_crontab_takes_the_lines_and_gives_the_others_back(
    batchgen: Command, real_crontab: None, install
) -> None:
    system.write_crontab(OTHERS)

    assert install("--by", "cron", "--name", "of-a-test").code == 0
    assert b"schedule of-a-test: begin" in system.read_crontab()
    assert batchgen("schedule", "check", "of-a-test").code == 0
    assert batchgen("schedule", "remove", "of-a-test").code == 0
    assert system.read_crontab() == OTHERS


def test_a_limit_is_raised_for_every_night(install, crontab: Path) -> None:
    raised = install("--", "--sandbox", "--raise-limit", "matrix-rows=200")

    assert raised.code == 0
    assert b"--raise-limit matrix-rows=200" in crontab.read_bytes()
    wrong = install("--", "--sandbox", "--raise-limit", "matrix-row=200")
    assert wrong.code == 2
    assert "Did you mean matrix-rows?" in wrong.stderr


def test_the_program_is_found_without_a_path(install, crontab: Path) -> None:
    install()

    line = crontab.read_bytes().removeprefix(OTHERS).decode().splitlines()[1]
    words = shlex.split(line)
    assert str(Path(sys.executable).parent) in {str(Path(word).parent) for word in words}


@pytest.mark.parametrize("option", ["--ping", "--notify"])
def test_no_line_holds_the_address_of_who_is_told(
    install: Callable[..., Outcome], crontab: Path, option: str
) -> None:
    refused = install("--", option, "https://hc-ping.com/5bf66975-d4c7")

    assert refused.code == 2
    assert f"{option} cannot stand in a schedule" in refused.stderr
    assert "batchgen config path" in refused.stderr
    assert "5bf66975" not in refused.stderr
    assert crontab.read_bytes() == OTHERS


def test_a_variable_that_the_night_does_not_have_is_told(
    install: Callable[..., Outcome], crontab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHGEN_PING", "https://hc-ping.com/5bf66975-d4c7")

    installed = install("--", "--on-finish", "echo done >> done.txt")

    assert installed.code == 0
    assert "BATCHGEN_PING is not given to the run" in installed.stderr
    assert b"--on-finish 'echo done >> done.txt'" in crontab.read_bytes()
    assert b"5bf66975" not in crontab.read_bytes()


@pytest.mark.parametrize(
    ("url", "carried"),
    [
        ("postgresql://me@db.example/lists", True),
        ("postgresql://me:hunter2@db.example/lists", False),
        ("postgresql://db.example/lists?password=hunter2", False),
    ],
)
def test_the_database_and_the_store_of_the_shell_are_those_of_the_night(
    install: Callable[..., Outcome],
    crontab: Path,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    carried: bool,
) -> None:
    monkeypatch.setenv("BATCHGEN_JOURNAL", url)
    monkeypatch.setenv("BATCHGEN_MEDIA", "s3://pictures/lists")

    installed = install()

    line = crontab.read_text(errors="replace")
    assert "BATCHGEN_MEDIA=s3://pictures/lists" in line
    assert (f"BATCHGEN_JOURNAL={url}" in line) == carried
    assert ("BATCHGEN_JOURNAL is not given to the run" in installed.stderr) != carried
    assert "hunter2" not in line + installed.stdout + installed.stderr


def test_a_schedule_with_an_empty_folder_has_that_of_its_list(
    install: Callable[..., Outcome], batchgen: Command
) -> None:
    assert install("--", "--out", "").code == 0
    assert "\nlog: none yet" in batchgen("schedule", "show", "list").stdout


# -- what a schedule gives its run -----------------------------------------------------------------


def as_scheduled(batchgen: Command, capfd, *words: object) -> tuple[int, dict[str, dict[str, str]]]:
    """What doctor says, in the environment of the schedule, by its checks."""
    code = batchgen("doctor", "list.csv", "--as-scheduled", "--json", *words).code
    found = json.loads(capfd.readouterr().out)["findings"]
    return code, {one["check"]: one for one in found}


@pytest.fixture
def seen(crontab: Path) -> Path:
    """The crontab sets where the pretend one is, as a person may set a PATH there."""
    settings = f'PATH = {os.environ["PATH"]}\nCRONTAB_FILE="{crontab}"\n'.encode()
    crontab.write_bytes(settings + crontab.read_bytes())
    return crontab


def test_doctor_has_no_more_of_the_environment_than_the_schedule_gives(
    batchgen: Command, install, seen: Path, reach: list[str], capfd, monkeypatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    install("--", *reach, "--max-cost", "5")

    code, found = as_scheduled(batchgen, capfd)
    assert (code, found["token"]["status"]) == (77, "fail")  # that of the shell is not there
    stored = Path(os.environ["XDG_CONFIG_HOME"]) / "batchgen" / "token"
    stored.write_text("sk-0123456789\n")
    stored.chmod(0o600)
    code, found = as_scheduled(batchgen, capfd)
    assert found["token"]["said"] == f"that of {stored} is accepted"
    assert found["limit"]["said"] == "--max-cost leaves $5.00"
    assert found["network"]["said"] == f"no proxy; certificates of {certifi.where()}"
    assert found["schedule"]["said"].startswith(("list: next start", "list: no cron daemon"))


def test_doctor_as_scheduled_has_the_options_of_the_schedule_alone(
    batchgen: Command, install: Callable[..., Outcome], seen: Path
) -> None:
    install("--", "--sandbox")

    outcome = batchgen("doctor", "list.csv", "--as-scheduled", "--", "--max-cost", "3")

    assert (outcome.code, outcome.stdout) == (2, "")
    assert "--as-scheduled has the options of the schedule" in outcome.stderr


def test_doctor_looks_from_the_folder_of_the_schedule(
    batchgen: Command, install, seen: Path, here: Path, capfd, monkeypatch
) -> None:
    install("--", "--sandbox")
    (here / "elsewhere").mkdir()
    manifest = here / "list.csv"
    monkeypatch.chdir(here / "elsewhere")

    batchgen("doctor", manifest, "--as-scheduled", "--json")
    found = json.loads(capfd.readouterr().out)["findings"]
    assert [one["said"] for one in found if one["check"] == "folder"] == [
        "out/list, which the run will make"
    ]


def test_a_schedule_that_is_gone_from_the_crontab_fails_doctor(
    batchgen: Command, install, crontab: Path
) -> None:
    install("--", "--sandbox")
    crontab.write_bytes(OTHERS)

    outcome = batchgen("doctor", "list.csv", "--json", "--", "--sandbox")
    found = {one["check"]: one for one in json.loads(outcome.stdout)["findings"]}
    assert (outcome.code, found["schedule"]["status"]) == (1, "fail")


def test_a_timer_that_does_not_outlive_the_login_fails_doctor(
    batchgen: Command, install, systemctl: Path
) -> None:
    install("--", "--sandbox")

    outcome = batchgen("doctor", "list.csv", "--json", "--", "--sandbox")
    found = {one["check"]: one for one in json.loads(outcome.stdout)["findings"]}
    assert (outcome.code, found["schedule"]["remedy"]) == (1, "loginctl enable-linger")


def test_the_environment_of_a_timer_is_that_of_the_users_systemd(
    crontab: Path, monkeypatch
) -> None:
    shown = "LANG=C\\nNAME=$'a b\\\\'c'\\nEMPTY=\\n"
    program(crontab.parent / "bin", "systemctl", f'#!/bin/sh\nprintf "{shown}"\n')

    assert system.systemd_environment() == {"LANG": "C", "NAME": "a b'c", "EMPTY": ""}


def test_a_program_that_is_gone_is_told(crontab: Path) -> None:
    with pytest.raises(UsageError, match="cannot be started"):
        system.run_in("/", ["/nowhere/batchgen"], {})


def test_a_limit_of_a_day_in_the_configuration_makes_an_early_end_no_fault(
    batchgen: Command, install, systemctl: Path
) -> None:
    path = Path(os.environ["XDG_CONFIG_HOME"]) / "batchgen" / "config.toml"
    path.parent.mkdir(mode=0o700)

    assert "SuccessExitStatus" not in install("--dry-run").stdout
    path.write_text("max_cost_per_day = 5\n")
    path.chmod(0o600)
    assert "SuccessExitStatus=75" in install("--dry-run").stdout
