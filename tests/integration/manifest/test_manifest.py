"""Reading manifests: every form, every line, and nothing altered on the way."""

import csv
import io
import json
import os
import tracemalloc
from contextlib import contextmanager
from dataclasses import replace
from datetime import time
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import pytest
from helpers import ROOT
from hypothesis import given
from hypothesis import strategies as st

from batchgen.core.limits import DEFAULT_LIMITS
from batchgen.core.rows import Entry, Place, Problem
from batchgen.errors import UsageError
from batchgen.manifest.formats import FORMATS
from batchgen.manifest.manifest import open_manifest
from batchgen.manifest.read_csv import is_quoted
from batchgen.manifest.read_yaml import resolve_scalar
from batchgen.templates.id_template import parse_id_template
from batchgen.validation.model_schema import load_schema, normalize_schema
from batchgen.validation.validator import Validator

SHARED = ROOT.parent / "shared" / "data" / "prompts"
MODEL = "ideogram/ideogram-v2/generate"
VALIDATOR = Validator(load_schema(ROOT / "schemas" / f"{MODEL}.json"))
needs_lists = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared prompt lists are absent")


def write(folder, name, content):
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content, encoding="utf-8", newline="")
    return path


def known(_model):
    return VALIDATOR.properties


def read(path, **how):
    """Return the manifest's entries, which have to be free of problems."""
    manifest = open_manifest(path, **how)
    items = [*manifest.problems, *manifest.entries(known)]
    assert [item for item in items if isinstance(item, Problem)] == []
    return items


def problems(path, **how):
    """Return every problem, of form and of content, as a person would get them."""
    manifest = open_manifest(path, **how)
    found = list(manifest.problems)
    for item in manifest.entries(known):
        result = (
            [item]
            if isinstance(item, Problem)
            else VALIDATOR.check_entry(item, default_model=MODEL)
        )
        found += result if isinstance(result, list) else []
    return found


def where(found):
    """The line and field of each problem."""
    return [(problem.place.line, problem.field) for problem in found]


def values(path, **how):
    return [entry.values for entry in read(path, **how)]


def prompts(path, **how):
    return [entry.values["prompt"] for entry in read(path, **how)]


# One mistake of each kind, told all at once, each at its line


def test_every_mistake_in_a_csv_is_told_at_its_line_in_one_run(tmp_path):
    path = write(
        tmp_path,
        "list.csv",
        "id,prompt,seed,style,aspect_ratio,expand_prompt,colour,model\n"  # 1
        "ok,A fox,1,anime,16:9,true,,\n"
        'two,"A fox\non two lines",12a,,,,,\n'  # 3 and 4
        "three,,1,,,,,\n"  # 5
        "four,A fox,-1,,,,,\n"
        "five,A fox,,anima,,,,\n"
        "six,A fox,,,16x9,,,\n"
        "seven,A fox,,,,yes,,\n"  # 9
        "eight,A fox,,,,,red,\n"
        "nine,A fox\n"
        "ten,A fox,,,,,,,,\n"
        "eleven,A fox,,,,,,../x\n"  # 13
        " ,A fox,,,,,,\n"
        'twelve,"A "fox"",,,,,,\n'
        "\n"
        "thirteen,A fox,99999999999,design,,maybe,,\n"  # 17
        "last,A fox,2,anime,,,,\n",
    )

    assert where(problems(path)) == [
        (3, "seed"),
        (5, "prompt"),
        (6, "seed"),
        (7, "style"),
        (8, "aspect_ratio"),
        (9, "expand_prompt"),
        (10, "colour"),
        (11, ""),
        (12, ""),
        (13, "model"),
        (14, "id"),
        (15, ""),
        (17, "expand_prompt"),
        (17, "seed"),
    ]


def test_every_mistake_in_a_jsonl_is_told_at_its_line_in_one_run(tmp_path):
    path = write(
        tmp_path,
        "list.jsonl",
        '{"id": "ok", "prompt": "A fox", "seed": 1}\n'
        '{"prompt": "A fox", "seed": "1"}\n'  # 2
        '{"seed": 1}\n'
        '{"prompt": "A fox", "seed": -1}\n'
        '{"prompt": "A fox", "style": "anima"}\n'
        '{"prompt": "A fox", "colour": "red"}\n'
        '{"prompt": "A fox", "seed": 1, "seed": 2}\n'  # 7
        '{"prompt": "A fox", "seed": NaN}\n'
        '{"prompt": "\\ud800"}\n'
        '{"prompt": "A fox"\n'  # 10
        "\n"
        "42\n"
        '{"prompt": ["A fox"]}\n'
        '{"id": true, "prompt": "A fox"}\n'
        '{"prompt": "A fox", "model": "ideogram"}\n'  # 15
        '{"prompt": null}\n'
        '{"prompt": "A fox", "seed": 1e999}\n'
        '{"prompt": "A fox", "expand_prompt": "true"}\n'
        '"A fox"\n',
    )

    assert where(problems(path)) == [
        (2, "seed"),
        (3, "prompt"),
        (4, "seed"),
        (5, "style"),
        (6, "colour"),
        (7, "seed"),
        (8, ""),
        (9, "prompt"),
        (10, ""),
        (12, ""),
        (13, "prompt"),
        (14, "id"),
        (15, "model"),
        (16, "prompt"),
        (17, ""),
        (18, "expand_prompt"),
    ]


def test_every_mistake_in_a_yaml_is_told_at_its_line_in_one_run(tmp_path):
    path = write(
        tmp_path,
        "list.yaml",
        f"model: {MODEL}\n"
        "rate: fast\n"  # 2
        "concurency: 8\n"
        "token: abc\n"
        "max_cost: -1\n"
        "until: 25:00\n"  # 6
        "rows:\n"
        "  - id: ok\n"
        "    prompt: A fox\n"
        "  - prompt: A fox\n"
        "    seed: 12a\n"  # 11
        "  - seed: 1\n"
        "  - prompt: 42\n"
        "  - prompt: A fox\n"
        "    style: no\n"  # 15
        "  - prompt: A fox\n"
        "    colour: red\n"
        "  - prompt: A fox\n"
        "    seed: 1\n"
        "    seed: 2\n"  # 20
        "  - 42\n"
        "  -\n"
        "  - id: [a]\n"
        "    prompt: A fox\n"
        "  - prompt: A fox\n"
        "    model: ideogram\n"  # 26
        "  - prompt: A fox\n"
        "    expand_prompt: yes\n"
        "    seed: 007\n"
        "  - A fox\n",
    )

    assert where(problems(path)) == [
        (2, "rate"),
        (3, "concurency"),
        (4, "token"),
        (5, "max_cost"),
        (6, "until"),
        (11, "seed"),
        (12, "prompt"),
        (13, "prompt"),
        (15, "style"),
        (17, "colour"),
        (20, "seed"),
        (21, ""),
        (22, ""),
        (23, "id"),
        (26, "model"),
        (28, "expand_prompt"),
        (29, "seed"),
    ]


def test_every_mistake_in_a_json_is_told_at_its_line_in_one_run(tmp_path):
    path = write(
        tmp_path,
        "list.json",
        '[\n {"prompt": "A fox"},\n {"prompt": "A fox",\n  "seed": -1},\n'
        ' {"seed": 1,\n  "seed": 2},\n 7,\n {"prompt": "A fox",\n\n  "seed": NaN},\n "A fox"\n]\n',
    )

    assert where(problems(path)) == [(4, "seed"), (6, "seed"), (7, ""), (10, "")]


# Tables


@given(
    st.lists(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r")),
            min_size=3,
            max_size=3,
        ).filter(any),
        min_size=1,
        max_size=5,
    )
)
def test_any_text_comes_out_of_a_csv_as_it_went_in(rows):
    written = io.StringIO(newline="")
    csv.writer(written, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(
        [["prompt", "negative_prompt", "_note"], *rows]
    )

    stream = io.BytesIO(written.getvalue().encode())
    entries = list(open_manifest("-", format="csv", stdin=stream).entries(known))

    assert [
        [*(e.values.get(n, "") for n in ("prompt", "negative_prompt")), e.meta.get("_note", "")]
        for e in entries
    ] == rows


def test_a_rows_line_is_the_one_where_it_starts(tmp_path):
    path = write(tmp_path, "a.csv", 'prompt\r\n"one\r\ntwo"\r\n\r\nthree\r\n"four\r\n\r\n"\r\nfive')

    entries = read(path)

    assert [(e.place.line, e.values["prompt"]) for e in entries] == [
        (2, "one\r\ntwo"), (5, "three"), (6, "four\r\n\r\n"), (9, "five")
    ]  # fmt: skip


def test_an_empty_cell_leaves_its_input_out_and_edge_spaces_stay(tmp_path):
    path = write(tmp_path, "a.csv", 'prompt,style,seed\n" A fox ",,\n')

    assert values(path) == [{"prompt": " A fox "}]


def test_rows_of_empty_cells_are_skipped_as_spreadsheets_add_them(tmp_path):
    path = write(tmp_path, "a.csv", "prompt,style,\nA fox,anime,\n,,\n\n,,\n")

    assert values(path) == [{"prompt": "A fox", "style": "anime"}]


def test_a_cell_under_a_column_without_a_name_is_a_problem(tmp_path):
    path = write(tmp_path, "a.csv", "prompt,\nA fox,x\n")

    assert where(problems(path)) == [(2, "")]


def test_a_cell_of_a_megabyte_is_read_whole(tmp_path):
    long = "x" * 2**20

    assert prompts(write(tmp_path, "a.csv", f"prompt\n{long}\n")) == [long]


def test_an_unknown_column_is_told_once_with_what_can_be_done(tmp_path):
    path = write(tmp_path, "a.csv", "Prompt,seed,Category\n" + "A fox,1,x\n" * 50)

    found = problems(path, columns={"seed": "seed"})

    headers = [p for p in found if p.whole]
    assert [(str(p.place), p.field) for p in headers] == [
        (f"{path}:1:1", "Prompt"), (f"{path}:1:3", "Category")
    ]  # fmt: skip
    assert "Did you mean prompt?" in headers[0].remedy
    assert "add --column prompt=Prompt --meta Category\n" in headers[1].remedy
    assert "--meta Category" in headers[1].remedy


def test_a_table_without_one_known_column_is_not_read_on(tmp_path):
    path = write(tmp_path, "a.csv", "A fox\nA heron\nA whale\n")

    assert where(problems(path)) == [(1, "A fox")]


def test_columns_are_mapped_and_carried_along(tmp_path):
    path = write(tmp_path, "a.csv", "Name,Prompt,Kind,_n\nfox,A fox,x,1\n")

    [entry] = read(path, columns={"prompt": "Prompt", "id": "Name"}, meta=["Kind"])

    assert (entry.id, entry.values, entry.meta) == (
        "fox",
        {"prompt": "A fox"},
        {"Kind": "x", "_n": "1"},
    )
    assert entry.cells == {"prompt"}


def test_a_star_carries_every_unknown_name_along(tmp_path):
    path = write(tmp_path, "a.csv", "prompt,Kind,seed\nA fox,x,1\n")

    [entry] = read(path, meta=["*"])

    assert (entry.values, entry.meta) == ({"prompt": "A fox", "seed": "1"}, {"Kind": "x"})


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (
            {"columns": {"prompt": "Promt"}},
            "there is no column 'Promt', which --column prompt=Promt",
        ),
        ({"meta": ["Kid"]}, "there is no column 'Kid', which --meta Kid names"),
        ({"columns": {"prompt": "Kind"}}, "are both read as prompt"),
    ],
)
def test_a_mapping_that_does_not_fit_the_header_is_a_problem(tmp_path, how, said):
    path = write(tmp_path, "a.csv", "prompt,Kind\nA fox,x\n")

    assert any(said in p.what and p.whole for p in problems(path, **how))


def ids(path, template, **how):
    return [entry.id for entry in read(path, id_template=parse_id_template(template), **how)]


def test_ids_are_made_of_columns_which_are_carried_along(tmp_path):
    path = write(tmp_path, "a.csv", "Kind,no,prompt,seed\nbird,1,A fox,7\ncar,1,A bus,8\n")

    first, second = read(path, id_template=parse_id_template("{Kind}-{no}-{seed}"))

    assert (first.id, second.id) == ("bird-1-7", "car-1-8")
    assert first.meta == {"Kind": "bird", "no": "1"}
    assert first.values == {"prompt": "A fox", "seed": "7"}


def test_the_id_column_itself_can_be_part_of_the_id(tmp_path):
    path = write(tmp_path, "a.csv", "_kind,id,prompt\nbird,1,A fox\n")
    named = write(tmp_path, "b.csv", "_kind,no,prompt\nbird,1,A fox\n")

    assert ids(path, "{_kind}-{id}") == ["bird-1"]
    assert ids(path, "{_kind}-{id}", columns={"_id": "id"}) == ["bird-1"]
    assert ids(named, "{_kind}-{id}", columns={"id": "no"}) == ["bird-1"]


def test_the_name_of_a_file_and_a_prompt_alone_can_be_part_of_the_id(tmp_path):
    write(tmp_path, "fox.txt", "A fox\n")

    assert ids(tmp_path, "night 1, {id}") == ["night 1, fox"]
    assert ids(tmp_path / "fox.txt", "{prompt}!") == ["A fox!"]


def test_a_manifest_can_say_what_ids_are_made_of_and_the_option_takes_precedence(tmp_path):
    text = "id: '{kind}-{id}'\nmatrix: {seed: [1, 2]}\nrows: [{id: 1, kind: bird, prompt: A}]\n"
    path = write(tmp_path, "a.yaml", text)

    assert [entry.id for entry in read(path)] == ["bird-1-seed1", "bird-1-seed2"]
    assert ids(path, "{id}{id}") == ["11-seed1", "11-seed2"]


def test_a_column_of_an_id_that_is_missing_is_told_once_with_what_was_meant(tmp_path):
    path = write(tmp_path, "a.csv", "_kind,prompt\nbird,A fox\nbird,A bus\n")

    [problem] = problems(path, id_template=parse_id_template("{_kund}-{prompt}"))

    said = "there is no column '_kund', which --id '{_kund}-{prompt}' names"
    assert (problem.what, problem.remedy, problem.whole) == (said, "Did you mean _kind?", True)


def test_a_row_without_a_part_of_its_id_is_a_problem_with_its_place(tmp_path):
    table = write(tmp_path, "a.csv", "_kind,prompt\nbird,A fox\n,A bus\n")
    lines = write(tmp_path, "a.jsonl", '{"prompt": "a", "_kinds": 1}\n{"prompt": "a", "_kind": []}')
    template = parse_id_template("{_kind}-{prompt}")

    found = [
        (p.place.line, p.field, p.what.partition(",")[0], p.remedy)
        for path in (table, lines)
        for p in problems(path, id_template=template)
    ]
    assert found == [
        (3, "_kind", "it is empty", "Write it, or leave the row out."),
        (1, "_kind", "the row has nothing of this name", "Did you mean _kinds?"),
        (2, "_kind", "[] is no text and no number", "Write it, or leave the row out."),
    ]


def test_two_columns_of_one_name_are_a_problem(tmp_path):
    [problem] = problems(write(tmp_path, "a.csv", "prompt,seed,prompt\nA,1,B\n"))

    assert problem.what == "columns 1 and 3 have the same name"
    assert problem.place.column == 3


def test_a_quote_that_never_closes_is_told_where_it_opens(tmp_path):
    path = write(tmp_path, "a.csv", 'prompt\nA fox\n"A heron\n' + "A whale\n" * 99)

    assert where(problems(path)) == [(3, "")]


def test_with_a_model_column_each_row_answers_for_its_cells(tmp_path):
    path = write(tmp_path, "a.csv", "prompt,model,duration\nA fox,,\nA fox,wan-ai/wan/video,5\n")
    models = {None: {"prompt"}, "wan-ai/wan/video": {"prompt", "duration"}}

    entries = list(open_manifest(path).entries(models.get))

    assert [(e.model, e.values) for e in entries] == [
        (None, {"prompt": "A fox"}),
        ("wan-ai/wan/video", {"prompt": "A fox", "duration": "5"}),
    ]


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("prompt\tseed\nA fox\t1\n", False),
        ('"prompt"\t"seed"\nA fox\t1\n', True),
        ('prompt\n"Hello"\n', False),
        ('prompt\n"G I G G L E" in paint\n', False),
        ('prompt\tseed\n"two\nlines"\t1\n', True),
        ('prompt\n"say ""hi"""\n', True),
        ('prompt\n"say ""hi"""\nA sign "X"\n', False),
        ('prompt\n"red, blue"\nplain\n', True),
        ('prompt\n"red, blue"\nred, blue\n', None),
        ('prompt\n"red, blue"\n"red"\n', None),
        ('"prompt"\n"red, blue"\nred, blue\n', True),
        ('prompt\n"a ""b"""\n"red, blue"\nred, blue\n', True),
        ('prompt\n"a\tb"\n', True),
        ('id\tprompt\na\t"Tis the season\nb\tA monitor of 24"\n', None),
        ('id\tprompt\na\t"two\nlines"\n', True),
        ('prompt\n"two\nlines"\n', True),
        ("", False),
    ],
)
def test_a_tsvs_quotes_are_marks_only_where_the_file_is_quoted(text, marks):
    assert is_quoted(text) == marks
    assert is_quoted(text.replace("\n", "\r\n")) == marks


def test_a_line_that_is_added_to_a_tsv_does_not_change_what_its_quotes_mean(tmp_path):
    """Rows that were paid for were sent again, with the quotes as part of their prompts."""
    saved = 'id\tprompt\nfox\t"A fox, red"\nowl\tA plain owl\n'
    path = write(tmp_path, "a.tsv", saved)
    assert [entry.values["prompt"] for entry in read(path)] == [
        "A fox, red", "A plain owl",
    ]  # fmt: skip

    [problem] = problems(write(tmp_path, "a.tsv", saved + "dog\tA dog, running\n"))
    assert "may be marks around cells or part of the texts" in problem.what
    assert "quote the names in the header" in problem.remedy


def test_a_tsv_keeps_its_literal_quotes(tmp_path):
    path = write(tmp_path, "a.tsv", 'prompt\tseed\n"NOW" on a sign\t1\n5" of snow\t\n')

    assert values(path) == [{"prompt": '"NOW" on a sign', "seed": "1"}, {"prompt": '5" of snow'}]


def test_a_quoted_tsv_is_read_as_a_csv_is(tmp_path):
    path = write(tmp_path, "a.tab", 'prompt\tseed\n"one\n""two"""\t1\nthree\t\n')

    entries = read(path)

    assert [(e.place.line, e.values["prompt"]) for e in entries] == [
        (2, 'one\n"two"'),
        (4, "three"),
    ]


# Separators, and what lists are not


ROWS = [{"prompt": "A heron, grey", "style": "anime"}, {"prompt": 'A "red"\nfox', "seed": "7"}]


@pytest.mark.parametrize("separator", [";", "\t", "|", ","])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize(("start", "end"), [("", "\n"), ("\ufeff", "\r\n")])
@pytest.mark.parametrize("declared", [False, True])
def test_a_table_is_read_by_the_separator_that_gives_known_names(
    tmp_path, name, separator, start, end, declared
):
    text = io.StringIO()
    table = csv.DictWriter(
        text, ["id", "prompt", "style", "seed"], delimiter=separator, lineterminator=end
    )
    table.writeheader()
    table.writerows(ROWS)
    first = f"sep={separator}{end}" if declared else ""
    path = write(tmp_path, name, start + first + text.getvalue())

    entries = read(path)

    assert [entry.values for entry in entries] == ROWS
    assert [entry.place.line for entry in entries] == ([3, 4] if declared else [2, 3])


def test_the_names_of_columns_tell_the_separator_too(tmp_path):
    path = write(tmp_path, "a.csv", "Prompt;Note\nA heron, grey;x\n")

    [unnamed] = problems(path)
    [entry] = read(path, columns={"prompt": "Prompt"}, meta=["Note"])

    assert "columns separated by semicolons" in unnamed.what
    assert unnamed.remedy.endswith("--column prompt=Prompt")
    assert (entry.values, entry.meta) == ({"prompt": "A heron, grey"}, {"Note": "x"})


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("prompt;style\nA heron;anime\n", {"columns": {"prompt": "prompt;style"}}),
        ("prompt;style\nA heron;anime\n", {"meta": ["prompt;style"]}),
        ("id,prompt;style\nheron,A heron;anime\n", {}),
    ],
)
def test_no_cell_that_is_several_is_sent_or_advised_as_a_prompt(tmp_path, text, how):
    found = problems(write(tmp_path, "a.csv", text), **how)

    assert [p.place.line for p in found if p.whole] == [1]
    assert not any("--column prompt=" in p.remedy for p in found)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("prompt;style\nA fox;anime\n\nA heron; grey;anime\n", 4, "by semicolons, but here are 3"),
        ("prompt;style\nA fox\n", 2, "here are 1 cell, and in the header 2"),
        ("prompt;seed|style\n", 1, "may be separated by semicolons or vertical bars"),
        ("sep=:\nid:prompt\n", 1, "says that ':' separates its cells"),
    ],
)
def test_a_table_of_no_clear_separator_is_refused(tmp_path, text, line, said):
    [problem] = problems(write(tmp_path, "a.csv", text))

    assert (problem.place.line, problem.whole) == (line, True)
    assert said in problem.what
    assert "CSV UTF-8" in problem.remedy


def test_after_a_hundred_rows_a_row_that_does_not_fit_is_one_problem(tmp_path):
    rows = ["A fox;anime\n"] * 100
    path = write(tmp_path, "a.csv", "prompt;style\n" + "".join(rows) + "A heron; grey;anime\n")

    [problem] = problems(path)

    assert (problem.place.line, problem.whole) == (102, False)
    assert "holds a semicolon" in problem.remedy


def test_a_table_that_was_one_column_of_metadata_stays_or_is_refused(tmp_path):
    write(tmp_path, "rows.csv", "Note;style\nx;anime\n")
    path = write(tmp_path, "a.yaml", "defaults: {prompt: A fox}\nmeta: ['*']\nfrom: rows.csv\n")

    [problem] = problems(path)

    assert problem.what == "the cells seem to be separated by semicolons"


def test_a_european_decimal_is_told_with_a_point(tmp_path):
    schema = normalize_schema({"properties": {"prompt": {}, "scale": {"type": "number"}}})
    path = write(tmp_path, "a.csv", "prompt;scale\nA fox;0,5\n")
    manifest = open_manifest(path)
    [entry] = manifest.entries(lambda _: schema.properties)

    [problem] = Validator(schema).check_entry(entry, default_model=MODEL)

    assert problem.remedy.startswith("Write 0.5,")


@pytest.mark.parametrize(
    ("cell", "is_told"),
    [
        (' "A heron"', True),
        ('  "A heron, grey"', True),
        ('\t"A heron"', True),
        (' "A heron" she said', True),
        (' "A heron\non two lines"', True),
        (' A "grey" heron', False),
        ('" ""A"" heron"', False),
        ('"A, ""b"""', False),
    ],
)
@pytest.mark.parametrize("form", ["heron,{}\n", "heron,{},7\n"])
def test_a_blank_before_a_quote_is_a_problem(tmp_path, cell, is_told, form):
    header = "id,prompt,seed\n" if "7" in form else "id,prompt\n"
    found = problems(write(tmp_path, "a.csv", header + form.format(cell)))

    assert any(p.what.startswith("a blank stands before a quote") and p.whole for p in found) == (
        is_told
    )
    assert is_told or found == []


@pytest.mark.parametrize(
    ("content", "format"),
    [
        ("id\tprompt\nheron\tA heron\n", "tsv"),
        ("id,prompt\r\nheron,A heron\r\n", "csv"),
        ("\ufeffID;Prompt\nheron;A heron\n", "csv"),
        ("prompt\nA heron\n", "csv"),
        ('[\n{"prompt": "A heron"}\n]\n', "json"),
        ('{"rows": ["A heron"]}\n', "jsonl"),
        ('{"prompt": "A heron"}\n{"prompt": "A fox"}\n', "jsonl"),
    ],
)
def test_a_table_or_json_that_is_named_txt_is_refused_unless_it_is_meant(tmp_path, content, format):
    path = write(tmp_path, "a.txt", content)

    [problem] = problems(path)

    assert problem.whole
    assert problem.what.startswith("this looks like ")
    assert f"--format {format}; or" in problem.remedy
    lines = content.removeprefix("\ufeff").splitlines()
    assert prompts(path, format="text") == lines


@pytest.mark.parametrize(
    "content",
    [
        "style, a heron\nA fox\n",
        "[cinematic] a fox\n[film] a heron\n",
        "{red|blue} fox\n",
        "prompt\n",
        "A fox, red\nA heron, grey\n",
    ],
)
def test_a_text_that_is_one_is_read(tmp_path, content):
    assert prompts(write(tmp_path, "a.txt", content)) == content.splitlines()


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.csv", "prompt\nA heron\nprompt\nA fox\n", 3),
        ("a.csv", "id,prompt\n1,A heron\n\ufeffid,prompt\n2,A fox\n", 3),
        ("a.csv", "\ufeff\ufeffid,prompt\n1,A heron\n", 1),
        ("a.txt", "\ufeffA heron\n\ufeffA fox\n", 2),
        ("a.jsonl", '{"prompt": "A heron"}\n\ufeff{"prompt": "A fox"}\n', 2),
        ("a.yaml", "- A heron\n\ufeff- A fox\n", 2),
    ],
)
def test_joined_lists_are_told_at_the_line_where_the_next_begins(tmp_path, name, content, line):
    found = problems(write(tmp_path, name, content))

    assert {p.place.line for p in found} == {line}
    assert any("joined" in p.what and p.whole for p in found)


@pytest.mark.parametrize("error", ["#NAME?", "#REF!", "#N/A", "#DIV/0!"])
def test_a_spreadsheets_error_is_no_prompt(tmp_path, error):
    [problem] = problems(write(tmp_path, "a.csv", f"prompt,_note\n{error},\nA fox,{error}\n"))

    assert (problem.place.line, problem.field) == (2, "prompt")
    assert "spreadsheet's error" in problem.what
    assert prompts(write(tmp_path, "a.txt", f"{error}\n")) == [error]


def test_a_column_can_be_carried_along_under_a_name_of_metadata(tmp_path):
    path = write(tmp_path, "a.csv", "id,prompt\nheron,A heron\n")

    [entry] = read(path, columns={"_id": "id"})

    assert (entry.id, entry.values, entry.meta) == (None, {"prompt": "A heron"}, {"_id": "heron"})


@pytest.mark.parametrize(
    ("name", "content", "what", "remedy"),
    [
        ("a.json", '{"prompt": "A"}\n{"prompt": "B"}\n', "as in JSON Lines", "--format jsonl"),
        ("a.jsonl", '[\n{"prompt": "A"}\n]\n', "a JSON array", "--format json."),
        ("a.jsonl", '{\n"prompt": "A"\n}\n', "goes on in the next line", "on one line"),
        ("a.json", '[\n// birds\n"A"]', "a comment", "Take it out"),
        ("a.json", '["A",]', "a comma stands before ]", "Take the comma out"),
        ("a.json", '[{"prompt": "A",}]', "a comma stands before }", "Take the comma out"),
        ("a.json", "['A']", "a single quote", "double quotes"),
        ("a.json", '{"prompt": "A"}', "this is a row", "[{…}]"),
        ("a.yaml", "prompt: A heron\n", "this is a row", "after “- ”"),
        ("a.yaml", "rows:\n\t- A heron\n", "a tab", "blanks in place of the tab"),
        ("a.yaml", "- A robot: 3d render\n", "is read as a name", "quotes around it"),
        ("a.yaml", "- A cat #3 in a row\n", "before '#3 in a row'", "a blank after the #"),
        ("a.csv", "ID,prompt\n1,A\n", "no input of this name", "--column id=ID"),
        ("a.csv", b"PK\3\4\24\0", "a ZIP archive, as workbooks", "CSV UTF-8"),
        ("a.yaml", b"SQLite format 3\0", "an SQLite database", "JSON Lines"),
    ],
)
def test_what_looks_like_another_form_is_told_with_the_way_out(
    tmp_path, name, content, what, remedy
):
    [problem] = problems(write(tmp_path, name, content))

    assert what in problem.what
    assert remedy in problem.remedy


def test_a_comment_after_a_yaml_text_is_none_of_the_text(tmp_path):
    path = write(tmp_path, "a.yaml", "- A boat     # a comment\n- 'A #3'\n- fox #x\n")

    assert prompts(path) == ["A boat", "A #3", "fox"]


@pytest.mark.parametrize(
    "row", ["A fox #3", "Fox #3 in the snow", "prompt: Fox #3", "Fox #in snow"]
)
def test_a_yaml_text_that_a_comment_cuts_short_is_refused(tmp_path, row):
    [problem] = problems(write(tmp_path, "a.yaml", f"- {row}\n"))

    assert "which YAML takes for a comment" in problem.what


@pytest.mark.parametrize(
    ("name", "kind", "remedy"),
    [
        ("a.xlsx", "an Excel workbook", "“CSV UTF-8"),
        ("a.XLS", "an old Excel workbook", "“CSV UTF-8"),
        ("a.ods", "an OpenDocument spreadsheet", "CSV UTF-8"),
        ("a.numbers", "a Numbers spreadsheet", "Export To"),
        ("a.parquet", "a Parquet file", "CSV or JSON Lines"),
        ("a.docx", "a document", "plain text"),
        ("a.csv.gz", "a compressed file", "Unpack it"),
    ],
)
def test_a_file_that_holds_no_text_is_named_for_what_it_is(tmp_path, name, kind, remedy):
    with pytest.raises(UsageError) as told:
        open_manifest(write(tmp_path, name, b"PK"))

    assert kind in told.value.what
    assert remedy in told.value.remedy


# Text, folders, JSON


def test_a_text_file_is_a_prompt_a_line(tmp_path):
    path = write(tmp_path, "a.txt", "# one\r\n\r\n two \r\n   \n42")

    entries = read(path)

    assert [(e.place.line, e.values) for e in entries] == [
        (1, {"prompt": "# one"}), (3, {"prompt": " two "}), (5, {"prompt": "42"})
    ]  # fmt: skip


def test_only_a_line_end_ends_a_line(tmp_path):
    text = "one\x0btwo\x0cthree\u2028four\x85five"

    assert prompts(write(tmp_path, "a.txt", text)) == [text]


def test_a_folder_is_a_prompt_a_file_in_the_order_of_names(tmp_path):
    write(tmp_path, "b.txt", "two\n\n")
    write(tmp_path, "a.TXT", "\ufeffone\nmore\r\n")
    write(tmp_path, ".hidden.txt", "no")
    write(tmp_path, "c.md", "no")

    entries = read(tmp_path)

    assert [(e.id, e.values["prompt"], str(e.place)) for e in entries] == [
        ("a", "one\nmore", f"{tmp_path}/a.TXT:1"), ("b", "two\n", f"{tmp_path}/b.txt:1")
    ]  # fmt: skip


def test_one_bad_file_of_a_folder_leaves_the_others(tmp_path):
    write(tmp_path, "a.txt", b"caf\xe9")
    write(tmp_path, "b.txt", "fine")

    items = list(open_manifest(tmp_path).entries(known))

    assert [type(item) for item in items] == [Problem, Entry]
    assert items[0].place == Place(f"{tmp_path}/a.txt", 1, 4)


def test_a_prompt_alone_goes_to_what_the_model_calls_its_prompt(tmp_path):
    path = write(tmp_path, "a.txt", "jazz, piano\n")

    [entry] = open_manifest(path).entries(lambda _: ["lyrics", "tags"])

    assert entry.values == {"tags": "jazz, piano"}


def test_json_lines_are_objects_or_prompts(tmp_path):
    path = write(
        tmp_path, "a.ndjson", '{"id": 7, "prompt": "A fox", "seed": 1}\r\n\r\n"A \\u00e9"\n'
    )

    first, second = read(path)

    assert (first.id, first.values, first.cells) == (
        "7",
        {"prompt": "A fox", "seed": 1},
        frozenset(),
    )
    assert (second.id, second.values, second.place.line) == (None, {"prompt": "A é"}, 3)


def test_a_json_array_knows_the_line_of_each_value(tmp_path):
    path = write(tmp_path, "a.json", '\n[ "one",\n\n  {"prompt": "two",\n   "seed":\n1}\n]\n')

    first, second = read(path)

    assert (first.place, second.place) == (Place(str(path), 2, 3), Place(str(path), 4, 3))
    assert second.places["seed"] == Place(str(path), 5, 4)


def test_a_json_object_carries_settings_as_yaml_does(tmp_path):
    path = write(
        tmp_path,
        "a.json",
        '{"rate": "1/s", "defaults": {"seed": 3},\n "rows": ["A fox", "A heron"]}',
    )
    manifest = open_manifest(path)

    assert manifest.settings.of_run == {"rate": 1}
    assert [e.values for e in manifest.entries()] == [
        {"seed": 3, "prompt": "A fox"}, {"seed": 3, "prompt": "A heron"}
    ]  # fmt: skip
    assert len(list(manifest.entries())) == 2


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", (1, 1)),
        ("42", (1, 1)),
        ("[\n", (2, 1)),
        ('["a"\n"b"]', (2, 1)),
        ('["a",\n]', (2, 1)),
        ('["a"]\n["b"]', (2, 1)),
        ('[{"a" 1}]', (1, 7)),
        ("[{a: 1}]", (1, 3)),
        ('["a\n"]', (1, 4)),
        ("[[NaN1- ", (1, 6)),
        ('{"rows": ["a"],\n "rows": ["b"]}', (2, 2)),
        ("[" * 20_000, (1, 2)),
        ('[{"a": ' * 20_000, (1, 8)),
    ],
)
def test_json_that_cannot_be_read_says_where(tmp_path, text, place):
    [problem] = problems(write(tmp_path, "a.json", text))

    assert (problem.place.line, problem.place.column) == place
    assert problem.whole


# YAML


@pytest.mark.parametrize(
    "text",
    ["no", "yes", "on", "off", "y", "007", "-01", "12:30", "2026-11-22", "0x1f", "0o17", "1_000",
     ".inf", ".nan", "1e999", "16:9", "1.2.3", "tRue", "١", "=", "<<", "+"],
)  # fmt: skip
def test_yaml_text_stays_text(text):
    assert resolve_scalar(text) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [("", None), ("~", None), ("null", None), ("true", True), ("FALSE", False), ("0", 0),
     ("-7", -7), ("+7", 7), ("0.5", 0.5), ("1e3", 1000.0), (".5", 0.5), ("5.", 5.0)],
)  # fmt: skip
def test_yaml_knows_null_booleans_and_decimal_numbers(text, value):
    assert resolve_scalar(text) == value
    assert type(resolve_scalar(text)) is type(value)


def test_a_quoted_or_block_scalar_is_always_text(tmp_path):
    path = write(tmp_path, "a.yaml", "- '42'\n- \"true\"\n- |\n  null\n- >-\n  1\n  2\n- !!str 7\n")

    assert prompts(path) == ["42", "true", "null\n", "1 2", "7"]


def test_yaml_settings_are_read_in_their_units(tmp_path):
    path = write(
        tmp_path,
        "a.yaml",
        f"model: {MODEL}\nschema: s.json\nrate: 30/m\nconcurrency: 4\nmax_cost: 2.5\n"
        "price: 0.1\nmax_time: 1h30m\nuntil: 07:00\nlimit: 9\nmax_matrix: 20\n"
        "defaults: {style: anime}\nmatrix: {seed: [1, 2]}\nrows: [A fox]\n",
    )

    settings = open_manifest(path).settings

    assert settings.of_run == {
        "model": MODEL,
        "rate": 0.5,
        "concurrency": 4,
        "max_cost": 2.5,
        "price": 0.1,
        "max_time": 5400,
        "until": time(7),
        "limit": 9,
    }
    assert (settings.schema, settings.max_matrix) == ("s.json", 20)


def test_what_a_manifest_does_not_set_is_none(tmp_path):
    settings = open_manifest(write(tmp_path, "a.csv", "prompt\nA fox\n")).settings

    assert settings.of_run == {}
    assert (settings.defaults, settings.matrix, settings.max_matrix) == ({}, {}, None)


def test_a_price_can_be_given_for_each_model(tmp_path):
    path = write(tmp_path, "a.yaml", f"price: {{{MODEL}: 0.1}}\nrows: [A fox]\n")

    settings = open_manifest(path).settings

    assert settings.of_run == {"price": {MODEL: 0.1}}


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("token: abc", "Store it with batchgen login, or set RUNCOMFY_TOKEN."),
        ("api_key: abc", "Store it with batchgen login, or set RUNCOMFY_TOKEN."),
        ("base_url: https://evil.example/v1", "Use --base-url. A list decides nothing about where"),
        ("media_host: evil.example", "Use --media-host."),
        ("on_unknown: resubmit", "Use --on-unknown. A list does not spend your money twice."),
        ("concurency: 3", "Did you mean concurrency?"),
        ("concurrency: 0", "The least allowed is 1."),
        ("concurrency: two", "Write digits only"),
        ("expand: maybe", "Write true or false"),
        ("samples: 0", "The least allowed is 1."),
        ("sample_seed: x", "Write digits only"),
        ("rate: 60/w", "A rate is written like 60/m"),
        ("id: hero", "It has to match"),
        ("id: '{Kind'", "It has to match"),
        ("id: '{Kind}-{'", "'{Kind}-{' has a { without its other brace"),
        ("max_time: soon", "A duration is written like 6h"),
        ("until: 25:00", "A time of day is written like 07:00"),
        ("defaults: [a]", "Write an object"),
        ("matrix: {seed: []}", "Give at least 1."),
        ("matrix: {seed: [1, 1]}", "Take the repetition out."),
        ("max_cost: .nan", "Write a number like 0.5"),
        ("max_cost: nan", "Write a number like 0.5"),
        ("max_cost_per_day: .inf", "Write a number like 0.5"),
        ("max_cost_per_month: 1e400", "Write a number like 0.5"),
        (f"max_cost: {10**400}", "The most allowed is 1000000000."),
        (f"price: {10**400}", "USD for a request, or for each model"),
        ("price: 1e999", "USD for a request, or for each model"),
        (f"price: {{a/b: {10**400}}}", "USD for a request, or for each model"),
        ("rate: .inf", "A rate is written like 60/m"),
        ("max_time: .nan", "A duration is written like 6h"),
        (f"max_time: {10**400}", "A duration is more than zero"),
        ("matrix: {seed: 1}", "Write a list"),
        ("from: b.csv", "Write either rows: with a list, or from:"),
    ],
)
def test_a_setting_that_cannot_stand_says_what_could(tmp_path, line, remedy):
    path = write(tmp_path, "a.yaml", f"{line}\nrows: [A fox]\n")

    [problem] = open_manifest(path).problems

    assert problem.remedy.startswith(remedy)
    assert problem.place.line == 1
    assert problem.whole


def test_defaults_are_overlaid_by_the_row_and_keep_their_place(tmp_path):
    path = write(
        tmp_path,
        "a.yaml",
        "defaults:\n  seed: -1\n  style: anime\nrows:\n- {prompt: A, seed: 3}\n- B\n",
    )

    first, second = read(path)

    assert first.values == {"seed": 3, "style": "anime", "prompt": "A"}
    assert second.values == {"seed": -1, "style": "anime", "prompt": "B"}
    assert where(problems(path)) == [(2, "seed")]


def test_a_matrix_makes_every_combination_of_every_row(tmp_path):
    path = write(
        tmp_path,
        "a.yaml",
        "matrix: {seed: [1, 2], style: [anime, design]}\nrows:\n- {id: hero, prompt: A}\n- B\n",
    )

    entries = read(path)

    assert [e.position for e in entries] == list(range(1, 9))
    assert [e.id for e in entries[:4]] == [
        "hero-seed1-styleanime", "hero-seed1-styledesign",
        "hero-seed2-styleanime", "hero-seed2-styledesign",
    ]  # fmt: skip
    assert [e.id for e in entries[4:]] == [None] * 4
    assert entries[3].values == {"prompt": "A", "seed": 2, "style": "design"}


def unfolded(path, **how):
    """The id, prompt and template of each entry."""
    found = read(path, expand=True, **how)
    return [(e.id, e.values["prompt"], e.meta.get("template")) for e in found]


FORMS_OF_TWO = {
    "a.txt": "a {red|blue} fox\nan owl\n",
    "a.csv": "prompt\na {red|blue} fox\nan owl\n",
    "a.tsv": "prompt\na {red|blue} fox\nan owl\n",
    "a.jsonl": '{"prompt": "a {red|blue} fox"}\n"an owl"\n',
    "a.json": '[{"prompt": "a {red|blue} fox"}, "an owl"]',
    "a.yaml": "- prompt: a {red|blue} fox\n- an owl\n",
    "b.yaml": "expand: true\nrows: ['a {red|blue} fox', an owl]\n",
}


@pytest.mark.parametrize("name", FORMS_OF_TWO)
def test_a_prompt_unfolds_whatever_the_format(tmp_path, name):
    path = write(tmp_path, name, FORMS_OF_TWO[name])

    written = "a {red|blue} fox"
    assert unfolded(path) == [
        (None, "a red fox", written),
        (None, "a blue fox", written),
        (None, "an owl", None),
    ]
    assert [entry.position for entry in read(path, expand=True)] == [1, 2, 3]


def test_a_folder_of_prompts_unfolds_with_the_files_names_in_the_ids(tmp_path):
    write(tmp_path, "fox.txt", "a {red|blue} fox")

    assert unfolded(tmp_path) == [
        ("fox-647c3a6520", "a red fox", "a {red|blue} fox"),
        ("fox-6f196611ad", "a blue fox", "a {red|blue} fox"),
    ]


def test_what_does_not_unfold_keeps_its_id_and_is_as_it_was(tmp_path):
    path = write(tmp_path, "a.csv", "id,prompt\na,a fox\nb,a \\{fox\\}\n")

    assert unfolded(path) == [("a", "a fox", None), ("b", "a {fox}", "a \\{fox\\}")]


def test_a_text_that_is_equal_to_the_prompt_as_written_is_one_of_its_texts(tmp_path):
    write(tmp_path, "odd.txt", "\\_\\_odd\\_\\_\neven\n")
    path = write(tmp_path, "a.txt", "__odd__\n")

    assert [prompt for _, prompt, _ in unfolded(path)] == ["__odd__", "even"]


def test_no_prompt_unfolds_unasked_and_the_first_that_would_is_remembered(tmp_path):
    path = write(tmp_path, "a.txt", "a fox\na {red|blue} fox\nan __owl__\n")

    manifest = open_manifest(path)
    found = [entry.values["prompt"] for entry in manifest.entries(known)]

    assert found == ["a fox", "a {red|blue} fox", "an __owl__"]
    assert manifest.template_place == Place(str(path), 2)


def test_the_prompt_alone_unfolds_and_after_defaults_and_matrix(tmp_path):
    text = (
        "expand: true\nmatrix: {seed: [1, 2]}\n"
        "defaults: {prompt: 'a {cat|dog}', negative_prompt: '{a|b}'}\n"
        "rows: [{id: x}, {prompt: an owl, style: '{realistic|anime}'}]\n"
    )
    found = read(write(tmp_path, "a.yaml", text))

    assert [e.values["prompt"] for e in found] == ["a cat", "a dog"] * 2 + ["an owl"] * 2
    assert [e.values["seed"] for e in found] == [1, 1, 2, 2, 1, 2]
    assert {e.values["negative_prompt"] for e in found} == {"{a|b}"}
    assert [e.id[:8] for e in found[:4]] == ["x-seed1-"] * 2 + ["x-seed2-"] * 2
    assert found[5].values["style"] == "{realistic|anime}"


def test_a_sample_is_asked_for_by_the_manifest_or_the_option_which_takes_precedence(tmp_path):
    prompt = "{a|b|c|d|e|f}"
    path = write(tmp_path, "a.yaml", f"samples: 2\nsample_seed: 5\nrows: ['{prompt}']\n")

    assert len(read(path)) == 2
    assert prompts(path, samples=3)[:2] == prompts(path)
    assert prompts(path, samples=3, sample_seed=0) == prompts(
        write(tmp_path, "b.txt", prompt), samples=3
    )
    seeds = {tuple(prompts(path, sample_seed=seed)) for seed in range(20)}
    assert len(seeds) > 5


def test_a_prompt_that_cannot_unfold_is_a_problem_and_the_others_are_not(tmp_path):
    write(tmp_path, "hue.txt", "red\n{blue\n")
    path = write(tmp_path, "a.csv", "id,prompt\na,{fox\nb,{x|y}\nc,__hue__\nd,{a|b}{c}\n")

    found = [*open_manifest(path, expand=True).entries(known)]

    wrong = [(p.row, str(p.place), p.what) for p in found if isinstance(p, Problem)]
    assert wrong == [
        ("a", f"{path}:2", "a { has no }, at character 1"),
        ("c", f"{tmp_path / 'hue.txt'}:2:1", "a { has no }"),
        ("d", f"{path}:5", "there is nothing to choose in these braces, at character 6"),
    ]
    assert [e.position for e in found if isinstance(e, Entry)] == [2, 3]


def test_more_rows_than_anybody_meant_need_a_word_of_the_person(tmp_path):
    path = write(tmp_path, "a.txt", "{a|b}{1|2}\n{a|b}{1|2}\n")

    def limited(**limits):
        limits = replace(DEFAULT_LIMITS, **limits)
        [problem] = problems(path, expand=True, limits=limits)
        return problem

    found = problems(path, expand=True, limits=replace(DEFAULT_LIMITS, unfolded_rows=3))
    assert [p.what for p in found] == ["it unfolds into 4 rows; the limit unfolded-rows is 3"] * 2
    assert found[0].remedy.startswith(
        "If all of them are meant and to be paid for, add --raise-limit unfolded-rows=4\n"
    )
    assert (limited(unfolded_total=5).place.line, limited(unfolded_total=5).whole) == (2, True)
    assert "add --raise-limit unfolded-total=10" in limited(unfolded_total=5).remedy
    assert limited(unfolded_bytes=9).place.line == 2


def test_metadata_is_not_overwritten_by_the_prompt_as_written(tmp_path):
    path = write(tmp_path, "a.csv", "template,prompt\nx,{a|b}\n")

    [problem] = problems(path, meta=["template"], expand=True)
    assert problem.what.startswith("there is metadata of this name")
    assert len(read(path, columns={"_template": "template"}, expand=True)) == 2


def test_a_row_that_gives_an_input_of_the_matrix_keeps_its_value(tmp_path):
    path = write(
        tmp_path, "a.yaml", "matrix: {seed: [1, 2]}\nrows:\n- {id: a, prompt: A, seed: 9}\n- B\n"
    )

    assert [(e.id, e.values["seed"]) for e in read(path)] == [("a", 9), (None, 1), (None, 2)]


def test_rows_from_another_file_keep_its_name_and_lines(tmp_path):
    write(tmp_path, "b.tsv", "Prompt\tKind\nA fox\tx\nA heron\ty\n")
    path = write(
        tmp_path,
        "a.yaml",
        "from: b.tsv\ncolumns: {prompt: Prompt}\nmeta: [Kind]\ndefaults: {seed: -1}\n",
    )

    entries = read(path)

    assert [(str(e.place), e.values["prompt"], e.meta) for e in entries] == [
        (f"{tmp_path}/b.tsv:2", "A fox", {"Kind": "x"}),
        (f"{tmp_path}/b.tsv:3", "A heron", {"Kind": "y"}),
    ]
    assert entries[0].cells == {"prompt"}
    assert {str(p.place) for p in problems(path)} == {f"{path}:4:18"}


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("absent.csv", None, "there is no file"),
        ("b.list", "A fox\n", "does not tell the file's format"),
        ("b.yaml", "rate: 1/s\nrows: [A]\n", "has settings of its own"),
        ("b.json", "[", "this is not JSON"),
    ],
)
def test_a_from_that_cannot_be_followed_is_a_problem(tmp_path, name, content, what):
    if content is not None:
        write(tmp_path, name, content)
    path = write(tmp_path, "a.yaml", f"from: {name}\n")

    [problem] = problems(path)

    assert what in problem.what
    assert problem.whole


def test_a_from_with_a_format_needs_no_telling_name(tmp_path):
    write(tmp_path, "b.list", "A fox\n")

    assert prompts(write(tmp_path, "a.yaml", "from: b.list\nformat: text\n")) == ["A fox"]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("", 1, "this is neither a list of rows"),
        ("A fox\n", 1, "this is neither a list of rows"),
        ("- a\n---\n- b\n", 2, "a second document begins here"),
        ("rows:\n - {<<: *a}\n", 2, "<< is no part of YAML 1.2"),
        ("- *a\n", 1, "nothing before this is called &a"),
        ("- &a [*a]\n", 1, "*a stands inside itself"),
        ("- !!int 7\n", 1, "the tag 'tag:yaml.org,2002:int' is not supported"),
        ("- A fox\n- A\u2028heron\n", 2, "a line break of another kind, U+2028"),
        ("- A fox\n- A heron # \x85\n", 2, "a line break of another kind, U+0085"),
        ("- !!python/object:os.system x\n", 1, "the tag"),
        ("- a: b: c\n", 1, "this is not YAML"),
        ("- ? [a]\n  : b\n", 1, "a name has to be a plain text"),
        ("- \x07\n", 0, "this is not YAML"),
        (
            "rate: 1/s\nrate: 2/s\nrows: [a]\n",
            2,
            "the name is written twice, the first time on line 1",
        ),
        ("rate: 1/s\n", 1, "there are no rows"),
        ("rows: A fox\n", 1, "'A fox' is not a list"),
        ("rows: []\n", 0, "there are no rows"),
    ],
)
def test_yaml_that_cannot_be_meant_is_a_problem_at_its_line(tmp_path, text, line, what):
    [problem] = problems(write(tmp_path, "a.yaml", text))

    assert problem.what.startswith(what)
    assert problem.place.line == line
    assert problem.whole


def test_an_alias_repeats_a_value(tmp_path):
    path = write(
        tmp_path,
        "a.yaml",
        "- {prompt: A, negative_prompt: &n text}\n- {prompt: B, negative_prompt: *n}\n",
    )

    assert [v["negative_prompt"] for v in values(path)] == ["text", "text"]


def bomb():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    return "\n".join([*lines, "rows: [*a11]", ""])


@pytest.mark.parametrize(
    "text",
    [
        bomb(),
        "- " + "[" * 20_000,
        "- " + "[" * 20_000 + "]" * 20_000,
        "- " * 20_000 + "x",
        "- " + "{a: " * 20_000,
        "- &a " + "x" * 10_000 + "\n" + "- *a\n" * 5_000,
    ],
    ids=["aliases", "open brackets", "brackets", "dashes", "braces", "long text"],
)
def test_yaml_that_would_explode_is_a_problem_and_stays_small(tmp_path, text):
    path = write(tmp_path, "a.yaml", text)

    tracemalloc.start()
    [problem] = problems(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert problem.whole
    assert peak < 50 * 2**20


@pytest.mark.parametrize("name", ["a.yaml", "b.yaml", "a.json", "b.json"])
def test_rows_are_not_held_in_memory(tmp_path, name):
    """b: with settings, which stand behind the rows."""
    size = 2**15
    rows = json.dumps(["x"] * (size // 5))
    text = rows if name.startswith("a") else f'{{"rows": {rows}, "defaults": {{"seed": 1}}}}'
    path = write(tmp_path, name, text)

    tracemalloc.start()
    count = sum(1 for _ in open_manifest(path).entries())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert count == size // 5
    # A file is read in pieces of a mebibyte; all rows would take 90 times the size.
    assert peak < 5 * 2**18 + 8 * size


def test_a_mistake_behind_the_rows_of_a_json_is_told_before_any_of_them(tmp_path):
    path = write(tmp_path, "a.json", '{"rows": [{"prompt": 1e999}, "A fox"], "rate": 1/s}')

    [problem] = open_manifest(path).problems
    assert problem.what.startswith("this is not JSON")


def test_rows_in_yaml_may_repeat_what_stands_before_them(tmp_path):
    text = "defaults: {style: &s ink}\nrows:\n- &a {prompt: A, style: *s}\n- *a\nmeta: [x]\n"
    manifest = open_manifest(write(tmp_path, "a.yaml", text))

    for _ in range(2):  # each time from the start
        assert [entry.values["style"] for entry in manifest.entries()] == ["ink", "ink"]


def test_many_columns_that_are_not_there_are_told_in_a_few_lines(tmp_path):
    write(tmp_path, "rows.csv", ",".join(f"c{n}" for n in range(5000)) + "\n")
    names = ", ".join(f"x{n}" for n in range(5000))
    found = problems(write(tmp_path, "a.yaml", f"meta: [{names}]\nfrom: rows.csv\n"))

    assert len(found) <= 22
    assert "4990 more columns that are named are missing" in [one.what for one in found]
    assert all(len(one.remedy) < 1000 for one in found)


# Encodings


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.jsonl", "a.json", "a.yaml"])
def test_a_byte_order_mark_and_crlf_change_nothing(tmp_path, name):
    texts = {
        "a.csv": "prompt\nÄ fox\n",
        "a.txt": "Ä fox\n",
        "a.jsonl": '{"prompt": "Ä fox"}\n',
        "a.json": '["Ä fox"]\n',
        "a.yaml": "- Ä fox\n",
    }
    path = write(tmp_path, name, b"\xef\xbb\xbf" + texts[name].replace("\n", "\r\n").encode())

    assert prompts(path) == ["Ä fox"]


@pytest.mark.parametrize(
    ("name", "start"),
    [("a.csv", "prompt\n"), ("a.tsv", "prompt\n"), ("a.txt", "ok\n"), ("a.jsonl", "\n"),
     ("a.json", "[\n"), ("a.yaml", "rows:\n")],
)  # fmt: skip
@pytest.mark.parametrize(
    ("bad", "said"),
    [(b"\xe9", "0xE9, is not UTF-8"), (b"\0", "a NUL character"), (b"\xed\xa0\x80", "0xED")],
)
def test_bytes_that_are_no_text_are_told_with_line_and_byte(tmp_path, name, start, bad, said):
    row = {"a.json": b'"Caf' + bad + b'"]\n', "a.jsonl": b'"Caf' + bad + b'"\n',
           "a.yaml": b" - Caf" + bad + b"\n"}.get(name, b"Caf" + bad + b"\n")  # fmt: skip
    path = write(tmp_path, name, start.encode() + row)

    [problem] = problems(path)

    offset = len(start) + row.index(bad) + 1
    assert said in problem.what
    assert f"byte {offset} of the file" in problem.what
    assert problem.place == Place(str(path), 2, row.index(bad) + 1)
    assert "UTF-8" in problem.remedy


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.jsonl", "a.json", "a.yaml"])
def test_utf_16_and_32_are_refused_with_what_to_do(tmp_path, name, encoding):
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    path = write(tmp_path, name, f"{mark}prompt\nA fox\n".encode(encoding))

    [problem] = problems(path)

    assert problem.what.startswith(f"the file is {encoding[:6].upper()}")
    assert "UTF-8" in problem.remedy


def test_a_spoilt_row_is_never_handed_out_and_the_others_are_read_on(tmp_path):
    rows = [b"prompt,seed", b"A fox,1", b"Caf\xe9,1", b"A heron,x", b"\xff,1", b"A whale,2"]
    path = write(tmp_path, "a.csv", b"\n".join(rows))

    items = list(open_manifest(path).entries(known))

    assert [i.values["prompt"] for i in items if isinstance(i, Entry)] == [
        "A fox", "A heron", "A whale"
    ]  # fmt: skip
    assert where(problems(path)) == [(3, ""), (4, "seed")]


def test_a_spoilt_header_ends_the_reading(tmp_path):
    path = write(tmp_path, "a.csv", b"prompt,caf\xe9\nA fox,1\n")

    assert where(problems(path)) == [(1, "")]


@pytest.mark.parametrize("format", FORMATS)
@given(
    data=st.binary(max_size=60)
    | st.lists(
        st.sampled_from(
            [*'[]{}",:-&*#|>!?\t\r\n <~\\', "prompt", "seed", "rows:", '"rows":', "from:",
             "A fox", "1", "NaN", "- ", "\n  ", "é", "\0", "\ufeff", "matrix:", "<<: "]
        )
    ).map(lambda parts: "".join(parts).encode())
)  # fmt: skip
def test_whatever_the_bytes_are_there_are_entries_or_problems(format, data):
    manifest = open_manifest("-", format=format, stdin=io.BytesIO(data))

    for item in manifest.entries(known):
        result = item
        if isinstance(item, Entry):
            result = VALIDATOR.check_entry(item, default_model=MODEL)
        assert result
    assert all(str(problem.place) for problem in manifest.problems)


# Files


@pytest.mark.parametrize(
    ("name", "message"),
    [("absent.csv", "There is no file"), ("a.list", "does not tell"), ("a", "does not tell")],
)
def test_a_file_that_cannot_be_found_or_told_is_a_usage_error(tmp_path, name, message):
    if not name.startswith("absent"):
        write(tmp_path, name, "A fox\n")

    with pytest.raises(UsageError, match=message):
        open_manifest(tmp_path / name)


@contextmanager
def nobody():
    """Root may read everything, so the block is run as another user."""
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_file_that_may_not_be_read_is_a_usage_error():
    with TemporaryDirectory() as folder:  # pytest's own folder is closed to others
        Path(folder).chmod(0o755)
        path = write(Path(folder), "a.csv", "prompt\nA fox\n")
        path.chmod(0)

        with nobody(), pytest.raises(UsageError, match="cannot be read: permission denied"):
            open_manifest(path)


def test_a_format_beats_the_name(tmp_path):
    path = write(tmp_path, "a.csv", "A fox, running\n")

    assert prompts(path, format="text") == ["A fox, running"]


def test_an_unknown_format_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="'xlsx' is not a format"):
        open_manifest(write(tmp_path, "a.csv", ""), format="xlsx")


def test_standard_input_needs_a_format_and_has_a_name(tmp_path):
    with pytest.raises(UsageError, match="Standard input has no name"):
        open_manifest("-", stdin=io.BytesIO(b"A fox\n"))

    [entry] = open_manifest("-", format="text", stdin=io.BytesIO(b"A fox\n")).entries()

    assert str(entry.place) == "<stdin>:1"


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", ""), ("a.csv", "prompt\n"), ("a.tsv", "\n\n"), ("a.txt", "\n \n"), ("a.jsonl", ""),
     ("a.json", "[]"), ("a.yaml", "[]")],
)  # fmt: skip
def test_a_manifest_without_rows_is_a_problem(tmp_path, name, content):
    [problem] = problems(write(tmp_path, name, content))

    assert problem.what == "there are no rows"
    assert problem.whole


def test_a_folder_without_text_files_is_a_problem(tmp_path):
    [problem] = problems(tmp_path)

    assert problem.what == "the folder holds no .txt files"


def test_problems_name_the_file_as_it_was_typed(tmp_path, monkeypatch):
    write(tmp_path, "a.csv", "prompt,seed\nA fox,x\n")
    monkeypatch.chdir(tmp_path)

    [problem] = problems("./a.csv")

    assert str(problem.place) == "./a.csv:2"


def test_what_could_not_be_read_still_counts_in_the_positions(tmp_path):
    path = write(tmp_path, "a.jsonl", '"one"\n{\n"three"\n')

    assert [i.position for i in open_manifest(path).entries() if isinstance(i, Entry)] == [1, 3]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt"])
def test_a_long_list_is_not_held_in_memory(tmp_path, name):
    row = {"a.csv": "A lighthouse,{}\n", "a.jsonl": '{{"prompt": "A lighthouse", "seed": {}}}\n',
           "a.txt": "A lighthouse {}\n"}[name]  # fmt: skip
    head = "prompt,seed\n" if name == "a.csv" else ""
    path = write(tmp_path, name, head + "".join(row.format(n) for n in range(10_000)))

    tracemalloc.start()
    count = sum(1 for _ in open_manifest(path).entries(known))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert count == 10_000
    assert peak < 2**20


# The examples that come with us, and lists that others published


@pytest.mark.parametrize(
    ("name", "count"),
    [("quickstart.yaml", 12), ("prompts.csv", 4), ("prompts.tsv", 3), ("prompts.json", 3),
     ("prompts.jsonl", 3), ("prompts.txt", 4), ("folder", 3), ("matrix.yaml", 12),
     ("from-tsv.yaml", 3)],
)  # fmt: skip
def test_every_example_is_valid(name, count):
    path = ROOT / "manifests" / name

    assert problems(path) == []
    assert len(read(path)) == count


@needs_lists
def test_partiprompts_run_as_they_are():
    path = SHARED / "parti" / "PartiPrompts.tsv"
    lines = path.read_text(encoding="utf-8").split("\n")
    header, *rows = [line.split("\t") for line in lines if line]

    entries = read(path, columns={"prompt": "Prompt"}, meta=["Category", "Challenge", "Note"])

    assert len(entries) == 1632
    assert [
        [entry.values["prompt"], *(entry.meta.get(name, "") for name in header[1:])]
        for entry in entries
    ] == rows
    assert [entry.place.line for entry in entries] == list(range(2, 1634))
    assert entries[1560].values["prompt"].startswith('"G I G G L E"')
    assert problems(path, columns={"prompt": "Prompt"}, meta=["*"]) == []


@needs_lists
@pytest.mark.parametrize("meta", [["*"], ["tag", "include", "exclude"]])
def test_geneval_runs_as_it_is(meta):
    path = SHARED / "geneval" / "evaluation_metadata.jsonl"
    written = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    entries = read(path, meta=meta)

    assert len(entries) == 553
    assert [{**entry.values, **entry.meta} for entry in entries] == written
    assert problems(path, meta=meta) == []


@needs_lists
def test_t2i_compbench_runs_as_it_is():
    path = SHARED / "t2i-compbench" / "color_val.txt"

    found = prompts(path)

    assert found == path.read_bytes().decode().split("\r\n")
    assert len(found) == 300


@pytest.mark.parametrize("known", [True, False])
def test_a_header_of_sixty_thousand_columns_is_told_in_a_few_lines(tmp_path, known):
    count = 60_000
    names = ",".join(f"{'_' if known else ''}c{n}" for n in range(count))
    path = write(tmp_path, "a.csv", f"prompt,{names}\nA fox{',x' * count}\n")
    start = process_time()

    found = problems(path)

    assert process_time() - start < 15  # seconds; it took a minute and a half
    assert len(found) == (0 if known else 11)
    assert known or found[-1].what.startswith("59990 more columns have names")


def test_a_text_named_csv_is_told_as_such(tmp_path):
    [problem] = problems(write(tmp_path, "a.csv", "a green bench and a blue bowl\na fox\n"))

    assert "--format text" in problem.remedy
    assert "--meta" not in problem.remedy


@pytest.mark.parametrize("cell", ["\x1f7", "7\x1c", "\u20097"])
def test_whatever_blanks_surround_a_number_are_no_part_of_it(tmp_path, cell):
    [entry] = read(write(tmp_path, "a.csv", f"prompt,seed\nA fox,{cell}\n"))

    assert VALIDATOR.check_entry(entry, default_model=MODEL).input["seed"] == 7


def test_a_row_that_is_not_as_those_before_it_is_read_as_if_it_came_first(tmp_path):
    usual = {"id": "a", "prompt": "A fox"}
    for odd in (
        {"id": "b"},
        {"id": 7, "prompt": "A heron"},
        {"id": " ", "prompt": "A heron"},
        {"id": True, "prompt": "A heron"},
        {"prompt": "A heron", "model": "a/b"},
        {"prompt": "A heron", "deployment": "1"},
        {"prompt": "A heron", "_note": "for us"},
        {"prompt": ["A heron"]},
    ):
        first, later = (
            [*open_manifest(write(tmp_path, "a.jsonl", text)).entries(known)][-1]
            for text in (json.dumps(odd), f"{json.dumps(usual)}\n" * 2 + json.dumps(odd))
        )

        if isinstance(first, Entry):
            moved = first._replace(position=3, place=later.place)
            assert later == moved, odd
        else:
            assert (later.what, later.field) == (first.what, first.field), odd
