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

# Look for known vulnerabilities in the packages that are installed.
audit:
    {{python}} -m pip install -q pip-audit && {{python}} -m pip_audit --local --skip-editable

# Choose the packages anew with which .ci/run checks lint, types and documentation.
lock:
    {{python}} -m pip install -q uv
    echo "# What .ci/run installs for lint, types and documentation. Made by: just lock" >.ci/lock.txt
    {{python}} -m uv pip compile -q --universal --python-version 3.11 --extra dev --no-annotate \
        --no-header --no-emit-package pip pyproject.toml >>.ci/lock.txt

# What decides whether a change lands.
check:
    .ci/run
