"""A local file among the inputs: its content is the row's, its path is not."""

import base64
import json

from hypothesis import given
from hypothesis import strategies as st

from batchgen.core import identity, likeness
from batchgen.core.local_files import (
    MARK,
    LocalFile,
    base64_size,
    is_local_file,
    is_path,
    local_files,
    with_paths,
    without_paths,
)

MODEL = "atelier/retouch/edit"
HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)
PATHS = st.text(min_size=1).filter(lambda text: text.isprintable())
FILES = st.builds(lambda path, sha256: {"file": path, "sha256": sha256}, PATHS, HASHES)
PLAIN = st.text().filter(str.isprintable) | st.integers(-9, 9) | st.booleans()
INPUTS = st.dictionaries(st.sampled_from("abcd"), PLAIN | FILES | st.lists(PLAIN | FILES))


def moved(value, folder):
    if is_local_file(value):
        return {**value, "file": folder + value["file"]}
    return [moved(one, folder) for one in value] if isinstance(value, list) else value


@given(input=INPUTS, folder=PATHS)
def test_a_file_that_was_moved_is_the_same_row(input, folder):
    there = {name: moved(value, folder) for name, value in input.items()}

    for digest in (identity.row_digest, lambda *row: identity.canonical_json(*row)[0]):
        assert digest(MODEL, input, "heron") == digest(MODEL, there, "heron")
    forms = [likeness.request_form(MODEL, json.dumps(one)) for one in (input, there)]
    assert forms[0] == forms[1]


@given(input=INPUTS, path=PATHS, one=HASHES, other=HASHES)
def test_a_file_that_was_changed_is_another_row(input, path, one, other):
    rows = [{**input, "photo": {"file": path, "sha256": sha256}} for sha256 in (one, other)]
    digests = {identity.row_digest(MODEL, row, None) for row in rows}

    assert len(digests) == len({one, other})


@given(input=INPUTS)
def test_an_input_without_files_is_as_it_was(input):
    plain = {name: value for name, value in input.items() if not [*local_files({name: value})]}

    assert without_paths(plain) is plain
    assert (MARK in json.dumps(input)) == any(True for _ in local_files(input))


def test_only_an_object_of_these_two_stands_for_a_file():
    sha256 = "0" * 64
    assert is_local_file({"file": "a.png", "sha256": sha256})
    fitted = {"file": "a.png", "sha256": sha256, "fit": "JPEG", "sent_sha256": sha256}
    assert is_local_file(fitted)
    assert without_paths({"image": fitted}) == {"image": {"sha256": sha256}}
    assert not is_local_file({**fitted, "sent_sha256": "x"})
    for other in (
        {"file": "a.png"}, {"file": "a.png", "sha256": sha256, "x": 1}, {"path": "a.safetensors"},
        {"file": 1, "sha256": sha256}, {"file": "a.png", "sha256": "A" * 64}, "a.png", None, [],
    ):  # fmt: skip
        assert not is_local_file(other)


def test_a_row_can_be_written_as_its_manifest_has_it():
    file = {"file": "a.png", "sha256": "0" * 64}
    given = {
        "prompt": "a",
        "image": file,
        "references": [file, "https://a/b.png"],
        "lora": {"a": 1},
    }

    assert with_paths(given) == {
        "prompt": "a", "image": "a.png", "references": ["a.png", "https://a/b.png"],
        "lora": {"a": 1},
    }  # fmt: skip


def test_a_path_is_what_is_no_url():
    assert all(map(is_path, ("a.png", "photos/a.png", "/a.png", "C:\\a.png", "#1.png", "http.png")))
    assert not any(map(is_path, ("", " ", "https://a/b.png", "http://a", "ftp://a", "data:,a")))


@given(content=st.binary(max_size=100))
def test_the_size_in_base64_is_known_before(content):
    assert base64_size(len(content)) == len(base64.b64encode(content))
    file = LocalFile("a.png", "0" * 64, len(content), "image/png", "")
    assert file.sent_chars == len(f"data:image/png;base64,{base64.b64encode(content).decode()}")


def test_a_row_without_id_is_named_by_its_file():
    file = {"file": "photos/Großer Reiher.v2.png", "sha256": "0" * 64}

    assert identity.readable_id(7, {"image": file}) == "0007-großer-reiher-v2"
    assert identity.readable_id(7, {"prompt": "An owl", "image": file}) == "0007-großer-reiher-v2"
