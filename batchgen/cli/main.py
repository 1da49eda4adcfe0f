"""The entry point: runs a command, and turns an error into a message and an exit code.

Only this module prints errors.

Imports are made where they are needed: `--help` is answered without httpx, Pillow and the rest.
"""

import sys

import click

import batchgen
from batchgen.cli.batch import cancel, report, resolve, retry, status, verify
from batchgen.cli.models import models
from batchgen.cli.options import Commands, Runtime
from batchgen.cli.run import plan, run, validate
from batchgen.cli.sandbox import sandbox
from batchgen.clock import Clock
from batchgen.core.timing import DEFAULT_TIMING, Timing
from batchgen.engine.run_outcome import RUN_AGAIN
from batchgen.errors import BatchgenError, StoppedEarly, StorageDamaged, out_of_memory


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(batchgen.__version__, prog_name="batchgen")
def cli() -> None:
    """Turn a list of prompts into pictures through RunComfy's Model API, overnight.

    Each row is paid for once: whatever happens, a row that may have been billed is never sent again
    unasked.

    \b
    Try it without an account or cost:
        batchgen run manifests/quickstart.yaml --sandbox
    Then for real, every night at 1:30 (crontab):
        30 1 * * *  cd /home/me/pictures && batchgen run list.csv -q
    """


for one in (run, validate, plan, status, retry, resolve, verify, cancel, report, models, sandbox):
    cli.add_command(one)


def main(clock: Clock | None = None, timing: Timing = DEFAULT_TIMING) -> None:
    """Run the command line: every error of ours becomes words and its exit code.

    clock: None is the machine's own.
    """
    runtime = Runtime(clock or Clock(), timing)
    for stream in (sys.stdout, sys.stderr):
        # Prompts are UTF-8 whatever LANG says.
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        code = cli.main(standalone_mode=False, obj=runtime)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:
        code = 130
    except BatchgenError as error:
        from batchgen.cli import output

        output.error(error)
        code = error.exit_code
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        click.echo("There is not enough memory. Nothing that was sent is lost.", err=True)
        click.echo(f"  {RUN_AGAIN}", err=True)
        code = StoppedEarly.exit_code
    except OSError as error:
        from batchgen.cli import output

        output.os_error(error)
        code = StorageDamaged.exit_code
    sys.exit(code)
