# The commands of CONTRIBUTING.md, for https://just.systems; each works without it, too.
python := ".venv/bin/python"

# Every test.
test:
    {{python}} -m pytest

# The tests without server, disk and network.
fast:
    {{python}} -m pytest tests/unit -q

lint:
    {{python}} -m ruff check . && {{python}} -m ruff format --check .

types:
    {{python}} -m mypy && {{python}} -m mypy --strict docs/generate.py

# Generate the reference, and build the documentation; warnings are errors.
docs:
    {{python}} docs/generate.py && {{python}} -m sphinx -W docs docs/_build

bench:
    {{python}} -m tests.benchmarks

# What decides whether a change lands.
check:
    .ci/run
