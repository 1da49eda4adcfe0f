"""Write the pages of docs/ that are made from the code: `python docs/generate.py`.

They are committed; tests/integration/test_docs.py compares them with what `generated_pages`
returns. What the code does not say, such as the meaning of a column, stands in
docs/reference/meanings.toml.
"""

import json
import re
import sqlite3
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from sqlite_utils import Database

from batchgen.cli import manners
from batchgen.cli.main import cli
from batchgen.clock import Clock
from batchgen.core.limits import DEFAULT_LIMITS, Limits, limit_name, show_limit
from batchgen.core.states import TRANSITIONS, Event, RunEvent, State
from batchgen.journal import database as journal
from batchgen.manual import markdown
from batchgen.manual.topics import TOPICS

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
ARCHITECTURE = DOCS / "maintainers" / "architecture.md"
FROM_CODE = "*This page is generated from the code by `docs/generate.py`.*"
MEANINGS = tomllib.loads((DOCS / "reference" / "meanings.toml").read_text(encoding="utf-8"))


class MeaningMissing(Exception):
    """meanings.toml does not say what a table, column, state or event means."""


def generated_pages() -> dict[Path, str]:
    """Return the text of every generated file by its path."""
    return {
        DOCS / "reference" / "commands.md": commands_page(),
        DOCS / "reference" / "settings.md": settings_page(),
        DOCS / "reference" / "limits.md": limits_page(),
        DOCS / "reference" / "json.md": json_page(),
        DOCS / "reference" / "journal.md": journal_page(),
        DOCS / "reference" / "states.md": states_page(),
        DOCS / "images" / "states.svg": states_svg(),
        DOCS / "batchgen.1": man_page(),
        ARCHITECTURE: with_folders(ARCHITECTURE.read_text(encoding="utf-8")),
    }


def meaning(section: str, name: str) -> str:
    """Return what meanings.toml says. Raises MeaningMissing."""
    try:
        return str(MEANINGS[section][name])
    except KeyError:
        raise MeaningMissing(f"docs/reference/meanings.toml: [{section}] has no {name!r}") from None


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [header, ["---"] * len(header), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def escape(text: str) -> str:
    """Keep Markdown from taking characters of a help text for markup; `code` stays code."""
    return re.sub(r"(?<!`)([<*~])(?![^`\n]*`)", r"\\\1", text)


# -- commands --------------------------------------------------------------------------------------


def _paragraphs(text: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield what each paragraph of a help text has: words that flow, and blocks that stay as they
    are, each with its title. click marks a block with a backspace.
    """
    for paragraph in re.split(r"\n{2,}", text.strip()):
        flowing, *blocks = re.split(r"^\x08\n", paragraph, flags=re.MULTILINE)
        parts = (block.rstrip().partition("\n") for block in blocks)
        yield " ".join(flowing.split()), [(title, _dedented(lines)) for title, _, lines in parts]


class MarkdownFormatter(click.HelpFormatter):
    """A command's help as Markdown. click calls these methods, whatever sections a help has."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        self.write(f"```text\n{prog} {args}\n```\n\n")

    def write_heading(self, heading: str) -> None:
        self.heading = heading

    def write_paragraph(self) -> None:
        pass

    def write_text(self, text: str) -> None:
        for flowing, blocks in _paragraphs(text):
            if flowing:
                self.write(f"{escape(flowing)}\n\n")
            for title, lines in blocks:
                self.write(f"{title}\n\n```text\n{lines}\n```\n\n")

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        shown = [
            (f"`{word}`", escape(" ".join(words.split())))
            for word, words in rows
            if words and not word.endswith("--help")
        ]
        if shown:
            self.write(f"**{self.heading}**\n\n{table(['option', 'meaning'], shown)}\n")


def _dedented(lines: str) -> str:
    return "\n".join(line.removeprefix("    ") for line in lines.splitlines())


def commands_page() -> str:
    # With its own settings, since click keeps the names of --help that the first context gives.
    root = click.Context(cli, info_name="batchgen", terminal_width=78, **cli.context_settings)
    listing = cli.get_help(root)
    parts = [
        f"# Commands\n\n{FROM_CODE}\n\n```console\n$ batchgen --help\n…\n",
        f"{listing[listing.index('Commands:') :].rstrip()}\n```\n",
        "\nEach command also takes `--help`, and these options, which mean the same before its"
        " name and behind\nit:\n\n",
        table(["option", "meaning"], _global_options()),
        "\nWhat is in square brackets holds where the option is not given. [Exit"
        " codes](exit-codes.md) are\nexplained on a page of their own.\n",
    ]
    for command, context in _commands(cli, _root()):
        formatter = MarkdownFormatter()
        command.format_help(context, formatter)
        parts.append(f"\n## {context.command_path}\n\n{formatter.getvalue().rstrip()}\n")
    return "".join(parts)


def _root() -> click.Context:
    return click.Context(cli, info_name="batchgen", **cli.context_settings)


def _global_options() -> Iterator[tuple[str, str]]:
    for option in manners.options(hidden=False):
        words, about = option.get_help_record(_root()) or ("", "")
        yield f"`{words}`", escape(about)


def _commands(
    group: click.Group, parent: click.Context
) -> Iterator[tuple[click.Command, click.Context]]:
    for name in group.list_commands(parent):
        command = group.commands[name]
        context = click.Context(command, parent, name, **command.context_settings)
        if isinstance(command, click.Group):
            yield from _commands(command, context)
        else:
            yield command, context


# -- the man page ----------------------------------------------------------------------------------


class RoffFormatter(click.HelpFormatter):
    """A command's help for man(1), as `MarkdownFormatter` has it for a page."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        self.write(f".PP\n.B {roff(prog)}\n{roff(args)}\n")

    def write_heading(self, heading: str) -> None:
        self.write(f".PP\n.I {roff(heading)}:\n")

    def write_paragraph(self) -> None:
        pass

    def write_text(self, text: str) -> None:
        for flowing, blocks in _paragraphs(text):
            if flowing:
                self.write(f".PP\n{roff(flowing)}\n")
            for title, lines in blocks:
                self.write(f".PP\n{roff(title)}\n{_roff_lines(lines.splitlines())}")

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        for word, words in rows:
            if word.endswith("--help"):  # which every command has
                continue
            self.write(_roff_definition(word, " ".join(words.split())))


def roff(text: str) -> str:
    """Keep roff from taking characters for requests; a hyphen stays one that can be copied."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped[:1] in (".", "'", "") else escaped


def _roff_lines(lines: Iterable[str]) -> str:
    """Text as it stands, indented and not filled."""
    body = "\n".join(map(roff, lines))
    return f".RS 4\n.nf\n{body}\n.fi\n.RE\n"


def _roff_definition(term: str, meaning: str) -> str:
    return f".TP\n.B {roff(term)}\n{roff(meaning)}\n"


def roff_page(markdown_text: str) -> str:
    """A topic for man(1)."""
    parts = []
    for block in markdown.blocks(markdown_text):
        match block:
            case markdown.Heading(_, words):
                parts.append(f".SS {roff(words)}\n")
            case markdown.Paragraph(words):
                parts.append(f".PP\n{roff(words)}\n")
            case markdown.Code(lines):
                parts.append(f".PP\n{_roff_lines(lines)}")
            case markdown.Item(mark, words):
                parts.append(f".IP {roff(mark.strip())} 3\n{roff(words)}\n")
            case markdown.Definition(term, meaning):
                parts.append(_roff_definition(term, meaning))
    return "".join(parts)


def man_page() -> str:
    """batchgen(1): the help of all commands, and the topics, from the same texts."""
    root = _root()
    whole = RoffFormatter()
    cli.format_help(root, whole)
    # What `batchgen --help` begins with is the synopsis.
    usage, description = whole.getvalue().split(".PP\n", 2)[1:]
    parts = [
        '.\\" Generated from the code by docs/generate.py.\n.TH BATCHGEN 1 "" batchgen batchgen\n',
        ".SH NAME\nbatchgen \\- prompts into pictures, overnight, each paid for once\n",
        f".SH SYNOPSIS\n{usage}.SH DESCRIPTION\n.PP\n{description}",
        ".SH COMMANDS\n",
    ]
    for command, context in _commands(cli, root):
        formatter = RoffFormatter()
        command.format_help(context, formatter)
        parts.append(f".SS {roff(context.command_path)}\n{formatter.getvalue()}")
    for name, topic in TOPICS.items():
        parts.append(f".SH {roff(name.replace('-', ' ').upper())}\n{roff_page(topic.text())}")
    return "".join(parts)


# -- settings --------------------------------------------------------------------------------------


def settings_page() -> str:
    text = (ROOT / "schemas" / "manifest.schema.json").read_text(encoding="utf-8")
    definitions = json.loads(text)["$defs"]

    def rows(name: str) -> Iterator[tuple[str, str, str]]:
        (found,) = (
            form["properties"]
            for form in [definitions[name], *definitions[name].get("anyOf", [])]
            if "properties" in form
        )
        return told(found)

    def told(properties: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
        for key, property in properties.items():
            yield f"`{key}`", form_of(property, definitions), about(property)

    def configured() -> Iterator[tuple[str, str, str]]:
        own = (ROOT / "schemas" / "config.schema.json").read_text(encoding="utf-8")
        of_manifests = definitions["settings"]["properties"]
        for key, property in json.loads(own)["properties"].items():
            same = property.get("$ref", "").rpartition("/")[2] == key and "title" not in property
            yield from told({key: of_manifests[key] if same else property})

    def about(property: Mapping[str, Any]) -> str:
        whole = {**definitions.get(property.get("$ref", "").rpartition("/")[2], {}), **property}
        words = escape(whole.get("description", f"{whole.get('title', '')}."))
        if found := whole.get("examples"):
            words += f" For example {' or '.join(f'`{example}`' for example in found)}."
        return words

    return (
        f"# Settings\n\n{FROM_CODE}\n\n"
        "What a YAML or JSON manifest can say besides its rows. An option of the same name on the"
        " command\nline takes precedence. [Manifests](../guide/manifests.md) explains how they work"
        " together.\n\n## Settings\n\n"
        f"{table(['setting', 'form', 'meaning'], rows('settings'))}"
        "\nA manifest with settings has either `rows` or `from`.\n\n## A row\n\n"
        f"A row is text, which is its prompt, or an object. Besides the inputs of its model an"
        f" object may have\nthese:\n\n{table(['name', 'form', 'meaning'], rows('row'))}"
        "\n## In your configuration\n\nWhat `~/.config/batchgen/config.toml` can say, for all"
        " lists. A manifest takes\nprecedence, but not with a higher limit of cost. [Your own"
        f" settings](../guide/configuration.md) explains them.\n\n"
        f"{table(['setting', 'form', 'meaning'], configured())}"
    )


# -- limits ----------------------------------------------------------------------------------------


def limits_page() -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for one in fields(Limits):
            facts = one.metadata
            values = [getattr(DEFAULT_LIMITS, one.name), facts["most"]]
            shown = ["" if value is None else show_limit(one.name, value) for value in values]
            yield f"`{limit_name(one.name)}`", *shown, facts["bounds"], facts["why"]

    return (
        f"# Limits\n\n{FROM_CODE}\n\n"
        "What a list and a model's schema may take of time, memory and money. A list can come from"
        " somebody\nelse, and a few kilobytes can ask for millions of paid requests or all of your"
        " memory. The limits\nare far above what lists need. What passes one is a problem at its"
        " place, before anything is\nsent, and the message says what to type if it is meant:\n\n"
        "```text\nlist.yaml:4:9: matrix: the matrix makes 200 requests of every row; the limit"
        " matrix-rows is 100\n  If all of them are meant and to be paid for, add --raise-limit"
        " matrix-rows=200\n```\n\n"
        "`run`, `validate`, `plan`, `init`, `models list` and `models show` take `--raise-limit"
        " NAME=N`, any\nnumber of times; a schedule takes it behind `--`, as `batchgen schedule"
        " install list.yaml --at 01:30 --\n--raise-limit matrix-rows=200`. Bytes can have a unit:"
        " `64MiB`. A number below the limit changes\nnothing. A manifest raises no limit; its"
        " `max_matrix` can lower `matrix-rows` for itself.\n\n"
        f"{table(['limit', 'is', 'can be', 'the most', 'why'], rows())}"
    )


WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "object": "object",
    "boolean": "true or false",
    "null": "null",
    "array": "list",
}


def form_of(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Say in words what values a property of the manifest's schema takes."""
    if "const" in schema:
        return f"`{schema['const']}`"
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name in NAMED:
            return f"[{name.replace('_', ' ')}](#{name.replace('_', '-')})"
        return form_of(definitions[name], definitions)
    if "enum" in schema:
        return "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        forms = (form_of(form, definitions) for form in schema["anyOf"])
        return "; or ".join(dict.fromkeys(forms))
    kind = schema.get("type")
    if kind is None:
        return "anything"
    if isinstance(kind, list):
        return " or ".join(WORDS[name] for name in kind)
    if kind == "array":
        items = schema.get("items")
        return f"list of: {form_of(items, definitions)}" if items else "list"
    values = schema.get("additionalProperties")
    if kind == "object" and isinstance(values, Mapping):
        return f"object whose values are: {form_of(values, definitions)}"
    bounds = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most"}
    said = [f"{words} {schema[name]}" for name, words in bounds.items() if name in schema]
    return ", ".join([WORDS[kind], *said])


# -- json ------------------------------------------------------------------------------------------

# Of the definitions in output.schema.json, those that have a table of their own.
NAMED = (
    *("summary", "counts", "cause", "money", "last_run", "problem", "limit", "probe"),
    *(
        "finding",
        "setting",
        "steered",
        "column_use",
        "unknown_row",
        "listed_model",
        "look",
        "schedule",
        "path",
    ),
)


def json_page() -> str:
    document = json.loads((ROOT / "schemas" / "output.schema.json").read_text(encoding="utf-8"))
    definitions = document["$defs"]

    def part(title: str, schema: Mapping[str, Any]) -> str:
        words = escape(schema.get("description", ""))
        items = schema.get("items", {})
        shown = schema if "properties" in schema else items
        form = "" if "properties" in schema else f"{form_of(schema, definitions).capitalize()}. "
        text = f"\n### {title}\n\n{form}{words}".rstrip() + "\n"
        if "properties" not in shown:
            return text
        rows = [
            (f"`{name}`", form_of(one, definitions), escape(one.get("description", "")))
            for name, one in shown["properties"].items()
        ]
        return f"{text}\n{table(['property', 'form', 'meaning'], rows)}"

    parts = [
        f"# Output for programs\n\n{FROM_CODE}\n\n"
        "With `--json` a command prints its result on stdout, as one JSON value, and nothing else"
        " there.\n`schemas/output.schema.json` has the JSON Schema of each, as `properties/plan`"
        " and so on. Properties\nmay be added; those that are there stay. What the commands do is"
        " in [Commands](commands.md), and\nhow they work together in [Driven by a"
        " program](../guide/agents.md).\n\n## Results\n",
        *(part(f"`batchgen {name}`", one) for name, one in document["properties"].items()),
        "\n## Lines on stderr\n\nWords on stderr are for people. Two things are for programs: the"
        " last line with `--json` where\nthere is an error, and every line with `run --progress"
        " json`. Each is a JSON object with a `type`.\n",
        *(part(f"`{name}`", definitions[name]) for name in ("error", "progress", "message")),
        "\n## Parts\n",
        *(part(name.replace("_", " "), definitions[name]) for name in NAMED),
    ]
    return "".join(parts)


# -- journal ---------------------------------------------------------------------------------------


def journal_page() -> str:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "batch.db"
        journal.Database(path, Clock()).close()  # which makes its tables by the migrations
        with closing(sqlite3.connect(path)) as connection:
            return _journal_page(Database(connection))


def _journal_page(db: Database) -> str:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    parts = [
        f"# The journal\n\n{FROM_CODE}\n\n"
        f"`batch.db` is an SQLite database, version {version} (`PRAGMA user_version`). Every time"
        " is UTC, every\namount is in USD. Read it as you like, also while a run writes it; only"
        " `batchgen` may write to it.\n[After the run](../guide/morning.md#views) has examples, and"
        " [versions of the\njournal](../maintainers/journal-versions.md) says what may change.\n"
    ]
    for found in db.tables:
        # sqlite-utils keeps a table of its own, of the migrations that it has applied.
        if not found.name.startswith("_"):
            keys = [f"`{name}`" for name in found.pks]
            columns = [
                (f"`{column.name}`", column.type, meaning(found.name, column.name))
                for column in found.columns
            ]
            parts.append(
                f"\n## Table `{found.name}`\n\n{meaning('about', found.name)} Primary key:"
                f" {', '.join(keys)}.\n\n{table(['column', 'type', 'meaning'], columns)}"
            )
    for view in sorted(db.views, key=lambda view: view.name):
        columns_of_view = [
            (f"`{column.name}`", _meaning_in_view(view.name, column.name))
            for column in view.columns
        ]
        parts.append(
            f"\n## View `{view.name}`\n\n{meaning('about', view.name)}\n\n"
            f"{table(['column', 'meaning'], columns_of_view)}"
        )
    return "".join(parts)


def _meaning_in_view(view: str, column: str) -> str:
    """A view's own word for its column, else that of the table which it is taken from."""
    for section in (view, "requests", "outputs"):
        if column in MEANINGS.get(section, {}):
            return meaning(section, column)
    return meaning(view, column)


# -- states ----------------------------------------------------------------------------------------

# Where the diagram has a state: column and row of a grid.
PLACES = {
    State.PENDING: (0, 1),
    State.SUBMITTING: (1, 1),
    State.SUBMITTED: (2, 1),
    State.COMPLETED: (3, 1),
    State.SAVED: (4, 1),
    State.CANCELLED: (2, 0),
    State.INVALID: (0, 0),
    State.UNKNOWN: (1, 2),
    State.WRITTEN_OFF: (2, 2),
    State.FAILED: (3, 2),
}
COLUMN, ROW, WIDTH, HEIGHT, MARGIN = 230, 120, 104, 38, 24  # pixels
# From many states, to one: lines would hide the rest, so words under the diagram say it.
NOT_DRAWN = (Event.RETRY, Event.RECEIPT)


def states_page() -> str:
    def moves(state: State) -> str:
        return "; ".join(f"{event} → `{new}`" for event, new in TRANSITIONS[state].items())

    states = [(f"`{state}`", meaning("states", state), moves(state)) for state in State]
    events = [(f"`{event}`", f"`{event.name}`", meaning("event", event)) for event in Event]
    of_runs = [(f"`{event}`", meaning("run_event", event)) for event in RunEvent]
    return (
        f"# States\n\n{FROM_CODE}\n\n"
        "A row is always in one of these states. What happens to it is an event, which leads to"
        " another\nstate or is refused. The table is `TRANSITIONS` in `batchgen/core/states.py`.\n"
        f"\n![{_in_words()}](../images/states.svg)\n\n{_not_drawn()}\n"
        f"\n## The states\n\n{table(['state', 'meaning', 'event → next state'], states)}"
        "\n## The events\n\nThe column `event` of the journal's table `events` has the first word;"
        " the code says the second.\n\n"
        f"{table(['event', 'in the code', 'meaning'], events)}"
        "\n## The events of a run\n\nWhat a person asks of a run under way is an event too, without"
        " a row.\n\n"
        f"{table(['event', 'meaning'], of_runs)}"
    )


def _edges() -> dict[tuple[State, State], str]:
    """The lines of the diagram, each with the events that it stands for."""
    edges: dict[tuple[State, State], str] = {}
    for state, events in TRANSITIONS.items():
        for event, new in events.items():
            if event not in NOT_DRAWN:
                before = edges.get((state, new))
                edges[state, new] = f"{before}, {event}" if before else str(event)
    return edges


def _in_words() -> str:
    edges = (f"{old} to {new}: {events}" for (old, new), events in _edges().items())
    return f"State diagram. {'; '.join(edges)}"


def _not_drawn() -> str:
    said = []
    for event in NOT_DRAWN:
        states = [state for state, events in TRANSITIONS.items() if event in events]
        (target,) = {TRANSITIONS[state][event] for state in states}
        every = "every state" if len(states) == len(State) else ", ".join(f"`{s}`" for s in states)
        said.append(f"`{event}` leads from {every} to `{target}`.")
    return f"Not drawn: {' '.join(said)}"


def states_svg() -> str:
    width = 4 * COLUMN + WIDTH + 2 * MARGIN
    height = 2 * ROW + HEIGHT + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
        ' font-family="system-ui, sans-serif">',
        "<title>The states of a row</title>",
        '<defs><marker id="arrow" viewBox="0 0 10 10" refX="10" refY="5" markerWidth="7"'
        ' markerHeight="7" orient="auto"><path d="M0 0 L10 5 L0 10 Z" fill="#5b6b7f"/></marker>'
        "</defs>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    edges = _edges()
    lines = [_line(old, new, (new, old) in edges) for old, new in edges]
    for x1, y1, x2, y2 in lines:
        parts.append(
            f'<path d="M{x1:.0f} {y1:.0f} L{x2:.0f} {y2:.0f}" stroke="#5b6b7f" stroke-width="1.5"'
            ' fill="none" marker-end="url(#arrow)"/>'
        )
    for (x1, y1, x2, y2), words in zip(lines, edges.values(), strict=True):
        below = 15 if x2 < x1 and y1 == y2 else -5
        x, y = x1 + 0.45 * (x2 - x1), y1 + 0.45 * (y2 - y1) + (below if y1 == y2 else 4)
        parts.append(
            f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="middle" font-size="12" fill="#3d4a5a"'
            f' stroke="#ffffff" stroke-width="4" paint-order="stroke">{words}</text>'
        )
    for state, place in PLACES.items():
        x, y = _centre(place)
        parts.append(
            f'<rect x="{x - WIDTH / 2:.0f}" y="{y - HEIGHT / 2:.0f}" width="{WIDTH}"'
            f' height="{HEIGHT}" rx="6" fill="#eef2f7" stroke="#5b6b7f"/>'
            f'<text x="{x:.0f}" y="{y + 5:.0f}" text-anchor="middle" font-size="15"'
            f' font-weight="600" fill="#1b2430">{state}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _centre(place: tuple[int, int]) -> tuple[float, float]:
    column, row = place
    return MARGIN + WIDTH / 2 + column * COLUMN, MARGIN + HEIGHT / 2 + row * ROW


def _line(old: State, new: State, both_ways: bool) -> tuple[float, float, float, float]:
    """From the edge of one state's box to that of another, beside the line of the way back."""
    (x1, y1), (x2, y2) = _centre(PLACES[old]), _centre(PLACES[new])
    dx, dy = x2 - x1, y2 - y1
    # The part of the whole line that lies within a box.
    inside = min(WIDTH / 2 / abs(dx) if dx else 1, HEIGHT / 2 / abs(dy) if dy else 1)
    aside = (8 if dx < 0 else -8) if both_ways else 0
    return x1 + dx * inside, y1 + dy * inside + aside, x2 - dx * inside, y2 - dy * inside + aside


# -- folders ---------------------------------------------------------------------------------------


def with_folders(text: str) -> str:
    """Return the page about the architecture with the table of folders as their docstrings are."""
    said = {
        path.parent.name: import_module(f"batchgen.{path.parent.name}").__doc__ or ""
        for path in (ROOT / "batchgen").glob("*/__init__.py")
    }
    allowed = {
        folder: " ".join(words.rpartition("May import: ")[2].split()).rstrip(".")
        for folder, words in said.items()
    }

    def floor(folder: str) -> int:
        """How many folders a chain of imports from this one can have."""
        below = {name.strip() for name in allowed[folder].split(",")} & said.keys()
        return 1 + max(map(floor, below), default=0)

    def promise(folder: str) -> str:
        words = " ".join(said[folder].partition("Promise: ")[2].partition("May import")[0].split())
        return f"{words[:1].upper()}{words[1:]}"

    rows = [
        (f"`{folder}/`", said[folder].partition("\n")[0], promise(folder), allowed[folder])
        for folder in sorted(said, key=lambda folder: (-floor(folder), folder))
    ]
    made = table(["folder", "holds", "promises", "may import"], rows)
    begin, end = "<!-- folders: docs/generate.py writes this table -->\n", "<!-- end of folders -->"
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n{made}\n{end}{rest.partition(end)[2]}"


def main() -> None:
    for path, text in generated_pages().items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
