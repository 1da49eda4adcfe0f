"""The entry point: runs a command, and turns an error into a message and an exit code.

Only this module prints errors.

Imports are made where they are needed: `--help` is answered without httpx, Pillow and the rest.
"""

import io
import os
import sys
from typing import TYPE_CHECKING

import click

from batchgen.cli import manners, streams
from batchgen.cli.batch import cancel, journal, pull, report, resolve, retry, status, verify
from batchgen.cli.config import config
from batchgen.cli.doctor import doctor
from batchgen.cli.help import Program, help_command
from batchgen.cli.init import init
from batchgen.cli.login import login, logout
from batchgen.cli.machines.work import work
from batchgen.cli.models import models
from batchgen.cli.options import Runtime
from batchgen.cli.run import plan, run, validate
from batchgen.cli.sandbox import sandbox
from batchgen.cli.schedule import schedule
from batchgen.cli.steer import pause, resume, set_
from batchgen.cli.version import show_version
from batchgen.clock import Clock
from batchgen.core.text import terminal_safe
from batchgen.core.timing import DEFAULT_TIMING, Timing
from batchgen.engine.run_outcome import RUN_AGAIN
from batchgen.errors import BatchgenError, StorageDamaged, of_system
from batchgen.log import use_json_lines, write_stderr

if TYPE_CHECKING:
    from batchgen.operations.check_urls import OpenProbe


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
# Eager, so that `--version` knows of it wherever it stands.
@click.option("--json", "as_json", is_flag=True, is_eager=True, hidden=True, help="With --version.")
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    callback=show_version,
    help="Show the version and exit; with --json also what it runs on.",
)
@click.pass_context
def cli(context: click.Context, as_json: bool) -> None:
    """Turn a list of prompts into pictures through RunComfy's Model API, overnight.

    Each row is paid for once: whatever happens, a row that may have been billed is never sent again
    unasked.

    \b
    Try it without an account or cost:
        batchgen run manifests/quickstart.yaml --sandbox
    Then for real, every night:
        batchgen login
        batchgen schedule install list.csv --at 01:30 --until 07:00
    """
    if as_json:
        raise click.UsageError("--json belongs behind the command.")
    if context.color is None and not manners.given("color"):
        context.color = manners.color_by(os.environ)


for one in (
    *(init, run, work, validate, plan, status, pause, resume, set_),
    *(retry, resolve, verify, pull, cancel, report, models),
    *(journal, doctor, login, logout, config, schedule, sandbox, help_command),
):
    cli.add_command(one)
    manners.add_to(one)
cli.params += manners.options(hidden=False)


# The help of a group of commands of which none is named: from click 8.2 on.
_HELP = getattr(click.exceptions, "NoArgsIsHelpError", ())


def main(
    clock: Clock | None = None,
    timing: Timing = DEFAULT_TIMING,
    open_probe: "OpenProbe | None" = None,
) -> None:
    """Run the command line: every error of ours becomes words and its exit code.

    clock: None is the machine's own. open_probe: of --check-urls; None asks the real hosts.
    """
    runtime = Runtime(clock or Clock(), timing, open_probe)
    stdout = streams.set_up()
    with runtime.last:
        code = _run_command(runtime)
    if stdout is not None and stdout.error is not None:
        write_stderr(f"Standard output cannot be written: {stdout.error.strerror}.")
        code = code or StorageDamaged.exit_code
    sys.exit(code)


def _run_command(runtime: Runtime) -> int:
    """Return the exit code of the command that the command line names."""
    try:
        code: int | None = cli.main(prog_name="batchgen", standalone_mode=False, obj=runtime)
    except SystemExit as left:
        return int(left.code or 0)
    except click.ClickException as error:
        if not isinstance(error, _HELP):
            # It repeats arguments, and a shell completes those to the names of files.
            error.message = terminal_safe(error.message)  # type: ignore[misc]
        if manners.is_json():
            from batchgen.cli import output

            output.error_object("UsageError", error.exit_code, error.format_message())
            return error.exit_code
        words = io.StringIO()
        error.show(words)
        for line in words.getvalue().splitlines():
            write_stderr(line)
        return error.exit_code
    except click.Abort:
        return 130
    except BatchgenError as error:
        from batchgen.cli import output

        output.error(error)
        return error.exit_code
    except (MemoryError, RuntimeError, OSError) as error:
        found = of_system(error, RUN_AGAIN)
        if found is None:
            raise
        from batchgen.cli import output

        output.error(found)
        return found.exit_code
    finally:
        use_json_lines(wanted=False)
    return code or 0
