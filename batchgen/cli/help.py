"""`batchgen help`: the help of a command, or a topic."""

from functools import partial
from shutil import get_terminal_size

import click
from click.shell_completion import CompletionItem

from batchgen.cli.manners import paged
from batchgen.cli.options import Commands
from batchgen.core.text import closest_match
from batchgen.errors import UsageError
from batchgen.manual import markdown
from batchgen.manual.topics import TOPICS

MAX_WIDTH = 100  # columns; longer lines are hard to read


class Program(Commands):
    """The whole of the command line, whose help names the topics too."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_commands(ctx, formatter)
        with formatter.section("Topics, of batchgen help TOPIC"):
            formatter.write_dl([(name, topic.about) for name, topic in TOPICS.items()])


def _complete(
    context: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    command: click.Command | None = context.find_root().command
    for word in context.params.get("words") or ():
        command = command.get_command(context, word) if isinstance(command, click.Group) else None
    found = {}
    if isinstance(command, click.Group):
        found = {name: one.get_short_help_str() for name, one in command.commands.items()}
    if not context.params.get("words"):
        found |= {name: topic.about for name, topic in TOPICS.items()}
    return [
        CompletionItem(name, help=about)
        for name, about in found.items()
        if name.startswith(incomplete)
    ]


@click.command("help", short_help="Explain a command or a topic.")
@click.argument("words", nargs=-1, metavar="[COMMAND | TOPIC]", shell_complete=_complete)
def help_command(words: tuple[str, ...]) -> None:
    """Explain a command, as its --help does, or one of the topics that `batchgen help` lists.

    A topic is a part of the documentation, and is shown in your $PAGER at a terminal.

    \b
    Examples:
        batchgen help
        batchgen help run
        batchgen help models fetch
        batchgen help exit-codes

    \b
    Exit codes:
        0    shown
        2    there is no such command or topic
    """
    root = click.get_current_context().find_root()
    if len(words) == 1 and words[0] in TOPICS:
        width = min(get_terminal_size().columns, MAX_WIDTH)
        bold = partial(click.style, bold=True)
        text = markdown.for_terminal(TOPICS[words[0]].text(), width, bold)
        with paged():
            click.echo(text, nl=False)
        return
    _require_command(root.command, words)
    with paged():
        root.command.main([*words, "--help"], prog_name=root.info_name, standalone_mode=False)


def _require_command(root: click.Command, words: tuple[str, ...]) -> None:
    """Raise UsageError unless the words lead to a command."""
    command: click.Command | None = root
    for number, word in enumerate(words):
        known = command.commands if isinstance(command, click.Group) else {}
        command = known.get(word)
        if command is None:
            names = [*known, *(TOPICS if number == 0 else ())]
            near = closest_match(word, names)
            remedy = f"Did you mean {near}?\n" if near else ""
            shown = " ".join(words[: number + 1])
            raise UsageError(
                f"There is no command or topic {shown!r}.",
                f"{remedy}To list them: batchgen help",
            )
