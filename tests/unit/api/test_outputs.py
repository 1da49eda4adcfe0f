"""Where the outputs are in a result, in whatever shape a model answers."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.api.outputs import beside, find_outputs, inline_content, without_content
from batchgen.api.response import decode_json

A, B = "https://a.runcomfy.net/1.png", "https://a.runcomfy.net/2.png"
FOREIGN = "https://my-own-site.example/heron.png"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
BASE64 = base64.b64encode(PNG).decode()
DATA = f"data:image/png;base64,{BASE64}"


def urls(body):
    return [output.url for output in find_outputs(body)]


@pytest.mark.parametrize(
    ("output", "found"),
    [
        ({"image": A}, [A]),
        ({"images": [A, B]}, [A, B]),
        ({"video": A}, [A]),
        ({"videos": [B, A]}, [B, A]),
        ({"audio": A}, [A]),
        (A, [A]),
        ([A, B], [A, B]),
        ({"image": A, "images": [A, B]}, [A, B]),
        ({"images": [{"url": A, "width": 9}]}, [A]),
        ({"image": A, "seed": 3, "text": "http is a protocol", "mask": None}, [A]),
        ("HTTPS://A.RUNCOMFY.NET/1", ["HTTPS://A.RUNCOMFY.NET/1"]),
        ([[[[[A]]]]], [A]),
        ({"result": {"data": {"task_result": {"images": [{"url": A}]}}}}, [A]),
        (json.dumps({"image": A}), [A]),
        (f" {A}\n", [A]),
        ("https://a.runcomfy.net/a fox\t.png", ["https://a.runcomfy.net/a%20fox.png"]),
        (DATA, ["data:image/png"]),
        ({"images": [A, DATA]}, [A, "data:image/png"]),
        ({"images": [{"b64_json": BASE64}]}, ["data:"]),
        ({"images": [{"caption": BASE64}]}, []),
        ("data:image/svg+xml,%3Csvg%3E", ["data:image/svg+xml"]),
        ({"image": ""}, []),
        ({"image": "/media/1.png"}, []),
        (None, []),
        (7, []),
    ],
    ids=lambda value: str(value)[:40].encode(errors="replace").decode(),
)
def test_every_output_is_found_once_and_in_order(output, found):
    assert urls({"output": output}) == found


def test_a_result_without_output_may_have_it_beside_its_state():
    body = {"request_id": "r", "status_url": B, "images": [A]}

    assert urls(body) == [A]
    assert urls(body | {"output": {"image": B}}) == [B]


@pytest.mark.parametrize(
    ("output", "numbers"),
    [
        ({"images": [A, B]}, set()),
        ({"images": [A], "input": {"image_url": FOREIGN}}, {2}),
        ({"input": {"image": FOREIGN}, "image": A}, {1}),
        ({"images": [{"url": A}], "prompt": "https://example.org is the name on the sign"}, {2}),
        ({"images": [A], "metadata_url": B}, {2}),
        ({"picture": A}, set()),
        ({"input": {"image": FOREIGN}}, set()),
        ([A, FOREIGN], set()),
    ],
    ids=str,
)
def test_what_may_be_no_output_is_known_by_its_name(output, numbers):
    assert beside(find_outputs({"output": output})) == numbers


@pytest.mark.parametrize(
    ("output", "n", "content"),
    [
        ({"image": DATA}, 1, PNG),
        ({"images": [A, DATA]}, 2, PNG),
        ({"images": [A, DATA]}, 1, None),
        ({"images": [A, DATA]}, 3, None),
        ({"images": [{"b64_json": BASE64.replace("+", "-").replace("/", "_")}]}, 1, PNG),
        ({"images": [{"b64_json": BASE64.rstrip("=")}]}, 1, PNG),
        ({"image": "data:image/svg+xml,%3Csvg%3E"}, 1, b"<svg>"),
        ({"image": f"data:image/png;base64,{BASE64.replace('+', '%2B')}"}, 1, PNG),
        ({"image": "data:image/png;base64,###"}, 1, None),
        (None, 1, None),
    ],
    ids=lambda value: str(value)[:30],
)
def test_an_inline_output_is_decoded(output, n, content):
    assert inline_content({"output": output}, n) == content


def test_the_journal_keeps_a_result_without_what_became_a_file():
    body = {"status": "completed", "output": {"images": [A, DATA]}, "latents": "A" * 9999}
    kept = without_content(body)

    assert BASE64[80:200] not in kept
    assert len(kept) < 1000
    assert json.loads(kept)["output"]["images"][0] == A


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(st.characters()) | st.sampled_from([A, DATA]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=12,
)


@given(JSON, st.integers(-1, 5))
def test_no_result_can_surprise(output, n):
    body = decode_json(json.dumps({"output": output}).encode())
    found = find_outputs(body)

    assert beside(found) <= set(range(1, len(found) + 1))
    for one in found:
        one.url.encode()  # the journal can keep it
    inline_content(body, n)
    without_content(body).encode()
