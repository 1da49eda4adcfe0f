"""Any manifest in any form: rows with exactly its texts, or problems with their places.

Never a traceback, another end, or a text that the file does not have.
"""

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import Command
from fuzzing import fuzz
from hypothesis import example, given
from hypothesis import strategies as st

from batchgen.core.rows import Entry
from batchgen.manifest.manifest import open_manifest

FORMS = ["csv", "tsv", "json", "jsonl", "yaml", "txt"]
# 69: the catalogue would have to be asked for the schema of a model that the list names.
CODES = {0: "", 2: "a model without a schema", 65: "problems", 69: "the catalogue"}

# Among them what broke something before.
ODD = [
    *("", " ", "\x1f7", "\ud800", "\x00", "\r", "\u2028", "\ufeff", "\x85", "\x1b[2J", "\u202e"),
    *("=1+1", "#N/A", '"', '""', '" a', ' "a', "a: b", "a #b", "- a", "---", "*a", "&a", "{", "["),
    *("!x", "data:image/png;base64,AA", "prompt", "id", "model", "1e999999999", "9" * 5000, "0x1f"),
    *("-0", "NaN", "prompt,id\n", "sep=;", "{id}-{prompt}", "{_note}", "}{"),
    *("{a|b}", "{2$$a|b|}", "{a|", "__a__", "{1-$$__a__|{b|c}}", "\\{a|b}", "{0.5::a|0::b}"),
]
TEXTS = st.one_of(
    st.text(max_size=8), st.sampled_from(ODD), st.text("ab ,;\t\"'\n\r|#:-", max_size=9)
)
NUMBERS = st.one_of(
    st.integers(-3, 3), st.floats(), st.sampled_from([10**400, 10**4000, -(2**63), 1e308, 0.1])
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
NAMES = st.one_of(
    st.sampled_from(["prompt", "seed", "id", "model", "aspect_ratio", "_note", "prmpt", "prompt"]),
    TEXTS,
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
ROWS = st.lists(st.dictionaries(NAMES, VALUES, max_size=4) | VALUES, max_size=4)
SETTINGS = st.sampled_from(
    [
        *("schema", "defaults", "matrix", "max_matrix", "columns", "meta", "from", "format"),
        *("id", "expand", "samples", "sample_seed"),
        *("model", "rate", "concurrency", "limit", "max_cost", "price", "max_time", "until"),
        *("token", "out"),
    ]
)
MANIFESTS = st.one_of(
    ROWS,
    VALUES,
    st.builds(
        lambda settings, rows: {**settings, **rows},
        st.dictionaries(SETTINGS | NAMES, VALUES, max_size=4),
        st.fixed_dictionaries({}, optional={"rows": ROWS, "from": TEXTS}),
    ),
)
LINES = st.lists(st.lists(TEXTS | NAMES, max_size=4), max_size=5)


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def as_raw_json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")


def as_json_lines(value: object) -> bytes:
    lines = value if isinstance(value, list) else [value]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def as_yaml(value: object) -> bytes:
    text: str = yaml.safe_dump(value, allow_unicode=True)
    return text.encode(errors="surrogatepass")


def table(lines: list[list[str]], separator: str, ending: str) -> bytes:
    """Cells as they are, not quoted."""
    text = ending.join(separator.join(cells) for cells in lines)
    return text.encode(errors="surrogatepass")


CONTENTS = st.one_of(
    st.binary(max_size=60),
    st.builds(
        lambda value, write: write(value),
        MANIFESTS,
        st.sampled_from([as_json, as_raw_json, as_json_lines, as_yaml]),
    ),
    st.builds(
        table, LINES, st.sampled_from([",", "\t", ";", "|"]), st.sampled_from(["\n", "\r\n", "\r"])
    ),
    st.builds(lambda text, noise: text + noise, MANIFESTS.map(as_json), st.binary(max_size=9)),
)


@fuzz
@given(CONTENTS, st.sampled_from(FORMS), st.sampled_from([(), ("--meta", "*")]))
@example(b"prompt,seed\nx,\x1f7\n", "csv", ())
@example(b'{"prompt":"x","id":"a\\ud800"}\n' * 2, "jsonl", ())
@example(b'{"prompt":"x","seed":1' + b"0" * 400 + b"}\n", "jsonl", ())
@example(b'{"rows":["x"],"price":1' + b"0" * 400 + b"}", "json", ())
@example(b'{"rows":["x"],"max_cost":1e308,"rate":"' + b"9" * 5000 + b'"}', "json", ())
@example(b'{"out":null}', "json", ())
@example(b"[" * 100_000, "yaml", ())
@example(b'[{"prompt":' + b"[" * 100_000, "json", ())
@example(b"- &a [*a]\n", "yaml", ())
@example(b"a: &a [x, x]\nb: &b [*a, *a]\nrows: [*b]\n", "yaml", ())
def test_any_manifest_ends_in_words(
    batchgen: Command, here: Path, content: bytes, form: str, options: tuple[str, ...]
) -> None:
    (here / f"list.{form}").write_bytes(content)

    outcome = batchgen("validate", f"list.{form}", *options)

    assert outcome.code in CODES
    assert outcome.code == 0 or outcome.stderr
    said = outcome.stdout + outcome.stderr
    assert all(c.isprintable() or c == "\n" for c in said)
    if outcome.code == 65:
        first = outcome.stderr.splitlines()[0]
        assert re.match(rf"list\.{form}(:\d+){{0,2}}: .", first)


def quoted_cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def written_by_csv(texts: list[str]) -> str:
    stream = io.StringIO()
    csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([["prompt"], *([text] for text in texts)])
    return stream.getvalue()


# How programs write a list of texts.
WRITERS: dict[str, tuple[str, Callable[[list[str]], str]]] = {
    "csv": ("csv", lambda texts: "prompt\n" + "".join(quoted_cell(t) + "\n" for t in texts)),
    "csv by Python": ("csv", written_by_csv),
    "two columns": (
        "csv",
        lambda texts: "n,prompt\n" + "".join(f",{quoted_cell(text)}\n" for text in texts),
    ),
    "tsv": ("tsv", lambda texts: '"prompt"\n' + "".join(quoted_cell(t) + "\n" for t in texts)),
    "json": ("json", json.dumps),
    "json, indented": ("json", lambda texts: json.dumps(texts, indent=1, ensure_ascii=False)),
    "rows": ("json", lambda texts: json.dumps({"rows": [{"prompt": text} for text in texts]})),
    "jsonl": ("jsonl", lambda texts: "".join(json.dumps({"prompt": t}) + "\n" for t in texts)),
    "yaml": ("yaml", lambda texts: yaml.safe_dump([{"prompt": t} for t in texts])),
    "yaml, Unicode": ("yaml", lambda texts: yaml.safe_dump(texts, allow_unicode=True)),
    "yaml, in blocks": ("yaml", lambda texts: yaml.safe_dump(texts, default_style="|")),
    "txt": ("txt", lambda texts: "".join(text + "\n" for text in texts)),
}


@pytest.mark.parametrize("writer", WRITERS)
@fuzz
@given(st.lists(TEXTS.filter(str.strip), min_size=1, max_size=5))
@example(
    [
        "a\r\nb",
        "é\u0301",
        "\u2028x",
        "x\x85y",
        " a ",
        "\ta",
        "a\t",
        "a #b",
        '"a"',
        "=1",
        "𝔸",
        "null",
    ]
)
@example(["\ufeff", "0"])
@example(["\ufeff\ufeffa", "\ufeffb"])
def test_texts_are_handed_on_with_exactly_the_characters_of_the_file(
    tmp_path: Path, writer: str, texts: list[str]
) -> None:
    """Or there is a problem: no text is changed, lost or made up."""
    form, write = WRITERS[writer]
    (tmp_path / f"list.{form}").write_bytes(write(texts).encode(errors="surrogatepass"))

    if form == "txt":
        # Marks of the encoding are no text: that of the file, and those of files joined to it.
        lines = write(texts).removeprefix("\ufeff").split("\n")
        lines = [line.removeprefix("\ufeff").removesuffix("\r") for line in lines]
        texts = [line for line in lines if line.strip()]

    manifest = open_manifest(tmp_path / f"list.{form}", format="text" if form == "txt" else None)
    read = list(manifest.entries())
    prompts = [one.values["prompt"] for one in read if isinstance(one, Entry)]
    # Writers of YAML 1.1 leave 0E0 plain, which is a number in 1.2: the model's schema refuses it.
    prompts = [prompt for prompt in prompts if isinstance(prompt, str)]

    if len(prompts) == len(read) and not manifest.problems:
        assert prompts == texts
    else:
        assert set(prompts) <= set(texts)
