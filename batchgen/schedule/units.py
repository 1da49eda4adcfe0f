"""A schedule as a service and a timer of the user's systemd. Pure.

Source: systemd.service(5), systemd.timer(5), systemd.syntax(7), systemd.time(7). `%` begins a
specifier everywhere; `$` is left alone in a command that begins with a colon.
"""

from batchgen.core.timetable import DAYS, EVERY_DAY
from batchgen.errors import StoppedEarly
from batchgen.schedule.entry import Entry


def unit_name(name: str) -> str:
    """Return the name of a schedule's units, without their ending."""
    return f"batchgen-{name}"


def service(entry: Entry) -> str:
    early = f"SuccessExitStatus={StoppedEarly.exit_code}\n" if entry.may_stop_early() else ""
    program, *words = map(_quote, entry.command())
    variables = "".join(
        f"Environment={_quote(f'{name}={value}')}\n" for name, value in entry.environment.items()
    )
    return f"""\
# Written by batchgen; change it with: batchgen schedule
[Unit]
Description=batchgen runs {_plain(entry.manifest)}

[Service]
Type=oneshot
WorkingDirectory={_plain(entry.folder)}
{variables}ExecStart=:{program} {" ".join(words)}
{early}"""


def timer(entry: Entry) -> str:
    """Return the timer; it makes up for a start that a sleeping computer missed."""
    when = entry.timetable
    names = ",".join(DAYS[day].capitalize() for day in sorted(when.days))
    days = "" if when.days == EVERY_DAY else f"{names} "
    return f"""\
# Written by batchgen; change it with: batchgen schedule
[Unit]
Description=batchgen runs {_plain(entry.manifest)} {when.describe()}

[Timer]
OnCalendar={days}*-*-* {when.at:%H:%M}:00
AccuracySec=1s
Persistent=true

[Install]
WantedBy=timers.target
"""


def _plain(text: str) -> str:
    return text.replace("%", "%%")


def _quote(text: str) -> str:
    """Return `text` as one word. It holds no backslash and no control character."""
    escaped = _plain(text).replace('"', '\\"')
    return f'"{escaped}"'
