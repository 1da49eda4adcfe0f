"""The command line of a run -> words of the next run's, which has the same rows and limits. Pure.

A list that is read in another way has other rows, which would be paid for as new ones. What the
words are made of stands in the journal, by the names of `RunOptions`: words themselves could, in a
folder from somebody else, be options that run a command.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batchgen.core.limits import limit_name
from batchgen.core.targets import deployment_id

GIVEN = "given"  # the name under which a run keeps them in its journal
# What decides which rows there are, what each costs, and how much may be spent.
OPTIONS = {
    **{"model": "--model", "schema": "--schema", "workflow": "--workflow", "format": "--format"},
    **{"input_name": "--input", "fit": "--fit", "columns": "--column", "nodes": "--node"},
    **{"meta": "--meta", "id_template": "--id", "expand": "--expand", "samples": "--samples"},
    **{"sample_seed": "--sample-seed", "allow_path": "--allow-path"},
    **{"raise_limit": "--raise-limit", "skip_invalid": "--skip-invalid"},
    **{"max_cost": "--max-cost", "max_cost_per_day": "--max-cost-per-day"},
    **{"max_cost_per_month": "--max-cost-per-month", "price": "--price"},
    **{"price_per_second": "--price-per-second"},
}


def kept_option(value: Any) -> Any:
    """Return the value of an option as JSON has it; a path from anywhere."""
    if isinstance(value, Path):
        return str(value.absolute())
    if isinstance(value, Mapping):
        return dict(value)
    return [*map(kept_option, value)] if isinstance(value, tuple) else value


def are_kept_options(value: Any) -> bool:
    """Whether these are options by name, each as `kept_option` returns it."""
    return isinstance(value, dict) and all(
        name in OPTIONS and all(isinstance(one, str | int | float) for one in _each(option))
        for name, option in value.items()
    )


def run_words(options: Mapping[str, Any]) -> list[str]:
    """Return the words of a command line that gives these options, by name."""
    return [word for name, value in options.items() for word in _words(name, value)]


def _words(name: str, value: Any) -> list[str]:
    option = OPTIONS[name]
    if isinstance(value, bool):
        return [option] * value
    if name == "model" and (id := deployment_id(value)):
        return ["--deployment", id]
    if isinstance(value, dict):
        of_limit = name == "raise_limit"
        value = [f"{limit_name(k) if of_limit else k}={v}" for k, v in value.items()]
    texts = [str(one) for one in _each(value)]
    # A value that begins with a dash would be read as an option.
    pairs = [[f"{option}={one}"] if one.startswith("-") else [option, one] for one in texts]
    return [word for pair in pairs for word in pair]


def _each(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else [value]
