"""What holds for a run, and where that was said: `config show` and `config path`."""

import json
import os
from pathlib import Path

import pytest


def shown(outcome):
    """Each setting's value and source, by its name."""
    lines = [line.split() for line in outcome.stdout.splitlines()[1:]]
    return {words[0]: " ".join(words[1:]) for words in lines}


def test_every_setting_is_shown_with_its_value_and_where_that_was_said(batchgen, own, monkeypatch):
    path = own('rate = "20/m"\nmax_cost = 5\nprovenance = false\ntrusted = ["/srv/lists"]\n')
    monkeypatch.setenv("BATCHGEN_ASK_ABOVE", "3")

    outcome = batchgen("config", "show")
    assert (outcome.code, outcome.stderr) == (0, "")
    assert outcome.stdout.splitlines()[0] == str(path)
    found = shown(outcome)
    assert found["rate"] == "20/m configuration (line 1)"
    assert found["max_cost"] == "$5.00 configuration (line 2)"
    assert found["provenance"] == "no configuration (line 3)"
    assert found["trusted"] == "/srv/lists configuration (line 4)"
    assert found["ask_above"] == "$3.00 environment (BATCHGEN_ASK_ABOVE)"
    assert found["concurrency"] == "16 default"
    assert "out" not in found


def test_the_mark_that_some_editors_put_first_is_none_of_the_text(batchgen, own):
    own('\ufeffrate = "20/m"\n')

    outcome = batchgen("config", "show")
    assert (outcome.code, shown(outcome)["rate"]) == (0, "20/m configuration (line 1)")


def test_with_a_manifest_its_settings_are_shown_and_the_lower_limit(batchgen, own, write):
    own("max_cost = 5\nmax_cost_per_day = 8\nconcurrency = 4\n")
    manifest = write("list.yaml", "max_cost: 9\nconcurrency: 2\nmax_cost_per_day: 1\nrows: [a]\n")

    found = shown(batchgen("config", "show", manifest))
    assert found["out"] == "out/list default"
    assert found["concurrency"] == "2 manifest"
    assert found["max_cost"] == "$5.00 configuration (line 1)"
    assert found["max_cost_per_day"] in ("$1.00 manifest", "(all) $8.00 configuration (line 2)")
    settings = json.loads(batchgen("config", "show", manifest, "--json").stdout)["settings"]
    assert settings["max_cost_per_day"] == {"value": 1, "source": "manifest"}
    assert settings["all_per_day"] == {"value": 8, "source": "configuration", "line": 2}


def test_without_a_configuration_the_defaults_are_shown_and_that_there_is_none(batchgen, here):
    outcome = batchgen("config", "show")

    assert outcome.code == 0
    assert outcome.stdout.splitlines()[0].endswith("/batchgen/config.toml (none)")
    assert shown(outcome)["max_cost"] == "- default"


@pytest.mark.parametrize("option", [(), ("--json",)], ids=str)
def test_urls_that_are_told_how_a_run_ended_are_not_shown(batchgen, own, option):
    own(
        'ping = "https://hc-ping.test/8f2a-11"\nnotify = ["tgram://123:tok/9", "mailto://x:pw@y.test"]\n'
    )

    said = batchgen("config", "show", *option).stdout
    assert "https://[hidden]" in said
    assert "tgram://[hidden]" in said
    assert not [word for word in ("hc-ping", "8f2a", "123", "tok", "y.test") if word in said]


def test_a_configuration_with_a_problem_stops_every_command_that_has_options_of_a_run(
    batchgen, own, write
):
    path = own("rat = 3\n")
    manifest = write("list.csv", "prompt\na heron\n")

    for command in (("config", "show"), ("run", manifest), ("plan", manifest), ("init", "x.yaml")):
        outcome = batchgen(*command)
        assert outcome.code == 2
        assert f"{path}:1: rat: there is no setting of this name" in outcome.stderr
    assert not (Path.cwd() / "out").exists()
    assert not (Path.cwd() / "x.yaml").exists()


def test_problems_of_the_manifests_settings_are_shown(batchgen, write):
    outcome = batchgen("config", "show", write("list.yaml", "rat: 3\nrows: [a heron]\n"))

    assert outcome.code == 65
    assert "list.yaml:1" in outcome.stderr


def test_the_path_is_told_whether_there_is_one_or_not(batchgen, here):
    outcome = batchgen("config", "path")

    assert outcome.code == 0
    assert outcome.stdout == f"{os.environ['XDG_CONFIG_HOME']}/batchgen/config.toml\n"


def test_a_login_in_an_address_is_not_shown(batchgen, monkeypatch, write):
    monkeypatch.setenv("RUNCOMFY_MODEL_API_BASE", "https://ada:hunter2@api.example/v1")
    manifest = write("list.csv", "prompt\na heron\n")

    for words in (
        ["config", "show"],
        ["config", "show", manifest],
        ["doctor"],
        ["doctor", manifest],
    ):
        for option in ([], ["--json"]):
            outcome = batchgen(*words, *option)
            assert "api.example" in outcome.stdout, words
            assert "hunter2" not in outcome.stdout + outcome.stderr, words


def test_a_schema_in_the_list_itself_is_said_and_not_shown(batchgen, write):
    lines = ["model: a/b", "schema: {input: {properties: {prompt: {type: string}}}}"]
    manifest = write("list.yaml", "\n".join([*lines, "rows: [{prompt: a heron}]"]))

    outcome = batchgen("config", "show", manifest)
    assert (outcome.code, outcome.stderr) == (0, "")
    assert shown(outcome)["schema"] == "in the list itself manifest"
    settings = json.loads(batchgen("config", "show", manifest, "--json").stdout)["settings"]
    assert settings["schema"]["value"]["input"]["properties"] == {"prompt": {"type": "string"}}


def test_how_a_list_is_read_is_no_setting(batchgen, write):
    manifest = write("list.yaml", "expand: true\nsamples: 2\nrows: [{prompt: a heron}]\n")

    of_reading = {"expand", "samples", "sample_seed", "nodes", "input_name"}
    assert not shown(batchgen("config", "show", manifest)).keys() & of_reading


def test_what_a_batch_keeps_is_shown_as_the_next_run_has_it(batchgen, own, run, write):
    own(f'model = "{OTHER}"\n')
    manifest = write("list.csv", "prompt\na heron\n")
    run(manifest)
    batchgen("set", manifest, "rate=3/m", "--keep")
    own('model = "atelier/series/text-to-image"\n')

    found = shown(batchgen("config", "show", manifest))
    assert found["rate"] == "3/m kept (batchgen set)"
    assert found["model"].split()[0] == OTHER
    settings = json.loads(batchgen("config", "show", manifest, "--json").stdout)["settings"]
    assert settings["rate"] == {"value": 0.05, "source": "kept"}


# -- the model of rows that name none --------------------------------------------------------------

OTHER = "atelier/brush-2/text-to-image"


def test_a_new_batch_takes_the_model_of_the_configuration(run, own, write, sandbox):
    own(f'model = "{OTHER}"\n')

    assert run(write("list.csv", "prompt\na heron\n")).code == 0
    assert [entry["model"] for entry in sandbox.ledger()] == [OTHER]


@pytest.mark.parametrize("before", ["", f'model = "{OTHER}"\n'], ids=["default", "configured"])
def test_a_batch_keeps_its_model_whatever_the_configuration_says_later(
    run, batchgen, own, write, sandbox, folder, before
):
    manifest = write("list.csv", "prompt\na heron\n")
    own(before)
    run(manifest)
    own('model = "atelier/series/text-to-image"\n')

    planned = batchgen("plan", manifest, "--out", folder)
    assert "0 requests" in planned.stdout or "nothing" in planned.stdout.lower(), planned.stdout
    own("" if before else f'model = "{OTHER}"\n')
    outcome = run(manifest)
    assert (outcome.code, sandbox.posts) == (0, 1)
    # A row that is new is of the batch's model too.
    write("list.csv", "prompt\na heron\na fox\n")
    assert run(manifest).code == 0
    assert len({entry["model"] for entry in sandbox.ledger()}) == 1


def test_an_option_changes_the_model_of_a_batch_as_ever(run, own, write, sandbox):
    manifest = write("list.csv", "prompt\na heron\n")
    run(manifest)
    own("")

    assert run(manifest, "--model", OTHER, "--allow-changed").code == 0
    assert sandbox.posts == 2


def test_a_batch_that_sent_nothing_yet_takes_the_model_that_is_configured_then(
    run, own, write, sandbox, monkeypatch
):
    manifest = write("list.csv", "prompt\na heron\n")
    run(manifest, "--limit", 0)
    own(f'model = "{OTHER}"\n')

    assert run(manifest).code == 0
    assert [entry["model"] for entry in sandbox.ledger()] == [OTHER]


def test_a_table_of_init_names_the_model_that_the_configuration_says(batchgen, own):
    own('model = "ideogram/ideogram-v2/generate"\n')

    assert batchgen("init", "--csv", "list.csv").code == 0
    assert Path("list.csv").read_text().startswith("id,model,")
