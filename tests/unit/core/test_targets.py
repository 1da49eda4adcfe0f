"""What a row is sent to is one text, whether that is a model or a deployment."""

import pytest

from batchgen.core.messages import model_id_problem
from batchgen.core.targets import (
    another_seed,
    deployment_id,
    deployment_target,
    parse_node_input,
    suggest_nodes,
)

ID = "11111111-1111-4111-8111-111111111111"


def test_a_deployment_stands_in_the_place_of_a_model() -> None:
    target = deployment_target(ID)

    assert model_id_problem(target) is None
    assert deployment_id(target) == ID


@pytest.mark.parametrize("model", ["ideogram/ideogram-v2/generate", "deployments/a/b", "a"])
def test_a_model_is_no_deployment(model: str) -> None:
    assert deployment_id(model) is None


@pytest.mark.parametrize("id", ["", "a b", "../x", "a/b", "-a", "x" * 200])
def test_what_is_no_id_is_refused(id: str) -> None:
    with pytest.raises(ValueError, match="is not the id"):
        deployment_target(id)


def test_an_input_of_a_node_has_a_node_and_a_name() -> None:
    assert parse_node_input("6.text") == "6.text"
    for odd in ("6", ".text", "6.", ""):
        with pytest.raises(ValueError, match=r"NODE\.INPUT"):
            parse_node_input(odd)


def test_the_first_input_of_a_usual_name_is_suggested() -> None:
    inputs = ["4.ckpt_name", "6.text", "7.text", "25.noise_seed", "31.seed", "12.image"]

    assert suggest_nodes(inputs) == {
        "prompt": "6.text",
        "seed": "25.noise_seed",
        "image": "12.image",
    }
    assert suggest_nodes(["9.filename_prefix"]) == {}


def test_another_seed_is_offered_for_each_seed_and_nothing_else() -> None:
    found = another_seed({"6.text": "a heron", "31.seed": 7, "32.noise_seed": 7}, "k1")

    assert found.keys() == {"31.seed", "32.noise_seed"}
    assert len({7, *found.values()}) == 3
    assert all(0 <= seed < 2**31 for seed in found.values())
    assert another_seed({"31.seed": 7}, "k1") == {"31.seed": found["31.seed"]}
    assert another_seed({"31.seed": 7}, "k2") != another_seed({"31.seed": 7}, "k1")
