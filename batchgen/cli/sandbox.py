"""The `sandbox` command: its options, without the server behind them.

It stands outside the package of that name, which would be imported with it for every command.
"""

import math
from pathlib import Path
from typing import Any

import click
from click import Context, Parameter


def read_dice(context: Context, param: Parameter, values: tuple[str, ...]) -> dict[str, float]:
    """Turn `NAME=PROBABILITY`, given any number of times, into a dictionary."""
    from batchgen.sandbox.faults import FAULTS

    dice: dict[str, float] = {}
    for text in values:
        name, _, probability = text.partition("=")
        if name not in FAULTS:
            raise click.BadParameter(f"there is no fault {name!r}; there are: {', '.join(FAULTS)}")
        try:
            dice[name] = float(probability)
        except ValueError:
            raise click.BadParameter(f"{text!r} is not NAME=PROBABILITY, as lost=0.05") from None
        if not 0 <= dice[name] <= 1:
            raise click.BadParameter(f"{probability} is not between 0 and 1")
    return dice


FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
PORT = click.IntRange(0, 65535)


class Finite(click.FloatRange):
    """A range of numbers without NaN, which is neither above nor below anything, and infinity."""

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


NOT_NEGATIVE = Finite(min=0)


@click.command(
    name="sandbox",
    context_settings={"show_default": True},
    short_help="Serve an emulator of RunComfy's APIs on this computer.",
)
@click.option("--port", type=PORT, default=0, help="Port of the API; 0: any.")
@click.option("--media-port", type=PORT, default=0, help="Port of the media; 0: any.")
@click.option("--folder", type=FOLDER, help="Keep requests and ledger here, across restarts.")
@click.option("--slots", type=click.IntRange(1), default=40, help="Requests generated at once.")
@click.option("--seconds", type=NOT_NEGATIVE, default=0.2, help="Mean generation time, seconds.")
@click.option("--spread", type=NOT_NEGATIVE, default=0.3, help="Lognormal sigma of these times.")
@click.option("--rate", type=NOT_NEGATIVE, default=0.0, help="POSTs per second; 0: no limit.")
@click.option(
    "--retry-after",
    type=click.Choice(["seconds", "date", "none"]),
    default="seconds",
    help="The form of Retry-After in a 429.",
)
@click.option(
    "--price", type=NOT_NEGATIVE, default=0.03, help="Pretended price of an output or second, USD."
)
@click.option("--pricing-note", default="", help="The catalogue's note: a request may cost more.")
@click.option("--cost-factor", type=NOT_NEGATIVE, default=1.0, help="Bill so many times the price.")
@click.option("--balance", type=NOT_NEGATIVE, help="Pretended balance, USD.  [default: unlimited]")
@click.option("--token", help="The only token that is accepted.  [default: any but 'refused']")
@click.option(
    "--fault",
    "dice",
    multiple=True,
    metavar="NAME=PROBABILITY",
    callback=read_dice,
    help="Probability of a fault, by its name; repeatable.",
)
@click.option("--seed-dice", "dice_seed", type=int, default=0, help="Seed of the random numbers.")
@click.option("--schema", "schemas", type=FILE, multiple=True, help="Serve this model too.")
@click.option(
    "--all-models", is_flag=True, help="Accept any model, deployment and input, unchecked."
)
@click.option(
    "--deployment", "deployments", type=FILE, multiple=True, help="Serve this deployment too."
)
@click.option(
    "--cold-start", type=NOT_NEGATIVE, default=0.0, help="Seconds until a new instance runs."
)
@click.option(
    "--full-queue",
    type=click.Choice(["waits", "429", "error"]),
    default="waits",
    help="What a deployment does when queue_size requests wait for each instance.",
)
@click.option(
    "--cache/--no-cache",
    default=True,
    help="A deployment's request that was made before has no outputs.",
)
@click.option("--errors-in-200", is_flag=True, help="Answer errors of deployments with HTTP 200.")
@click.option(
    "--keep-results",
    type=NOT_NEGATIVE,
    default=604_800.0,
    help="Seconds for which a deployment's results are kept.",
)
@click.option(
    "--picture-size", type=click.IntRange(16, 8192), default=512, help="Longer side, pixels."
)
@click.option(
    "--picture-bytes", type=click.IntRange(0, 2**30), default=0, help="Least size of a PNG file."
)
@click.option(
    "--pictures",
    type=click.Choice(["drawn", "stamped"]),
    default="drawn",
    help="Draw each, or stamp its input into one PNG.",
)
@click.option(
    "--idle-seconds", type=NOT_NEGATIVE, default=5.0, help="Close unused connections after this."
)
@click.option("--exit-with-stdin", is_flag=True, help="Stop at the end of standard input.")
def sandbox(**options: Any) -> None:
    """Serve an emulator of the Model API and of deployments on 127.0.0.1: no account, no cost.

    Prints one JSON line with base_url, serverless_url and media_host when it listens, then serves
    until it is interrupted. Its pictures say that they are placeholders. A prompt may ask for
    trouble: [[lost]] or [[failed:no luck]] anywhere in it rehearses that fault for its row.

    It has three deployments, whose instances are billed by the second: a picture of a text
    (11111111-1111-4111-8111-111111111111), of a photo (2222…), and in two sizes (3333…).

    \b
    Examples:
        batchgen sandbox --seconds 2 --fault lost=0.01
        batchgen sandbox --port 8000 --rate 1 --balance 5

    \b
    Exit codes:
        0    interrupted
        2    wrong option or argument, or a package is missing
        69   the port is taken
    """
    from batchgen.sandbox import require_packages

    require_packages()
    from batchgen.sandbox.options import SandboxOptions
    from batchgen.sandbox.serve import serve

    serve(SandboxOptions(**options))
