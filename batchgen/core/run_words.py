"""The command line of a run -> words of the next run's, which has the same rows and limits. Pure.

A list that is read in another way has other rows, which would be paid for as new ones. What the
words are made of stands in the journal, by the names of `RunOptions`: words themselves could, in a
folder from somebody else, be options that run a command.
"""

from collections.abc import Mapping
from typing import Any

from batchgen.core.limits import limit_name
from batchgen.core.targets import deployment_id

GIVEN = "given"  # the name under which a run keeps them in its journal
_NUMBER = (int, float)
# What decides which rows there are, what each costs, and how much may be spent: the option, its
# type as JSON has it, and the type of what is in it.
OPTIONS: Mapping[str, tuple[Any, ...]] = {
    "model": ("--model", str),
    "format": ("--format", str),
    "input_name": ("--input", str),
    "fit": ("--fit", bool),
    "columns": ("--column", dict, str),
    "nodes": ("--node", dict, str),
    "limit": ("--limit", int),
    "meta": ("--meta", list, str),
    "id_template": ("--id", str),
    "expand": ("--expand", bool),
    "samples": ("--samples", int),
    "sample_seed": ("--sample-seed", int),
    "raise_limit": ("--raise-limit", dict, int),
    "skip_invalid": ("--skip-invalid", bool),
    "max_cost": ("--max-cost", _NUMBER),
    "max_cost_per_day": ("--max-cost-per-day", _NUMBER),
    "max_cost_per_month": ("--max-cost-per-month", _NUMBER),
    "price": ("--price", (*_NUMBER, dict), _NUMBER),
    "price_per_second": ("--price-per-second", (*_NUMBER, dict), _NUMBER),
}
# What does so as well, and is taken from no journal: addresses, and files that are read.
UNTOLD = {
    *("base_url", "serverless_url", "media_hosts"),
    *("schema", "workflow", "allow_path"),
}


def are_kept_options(value: Any) -> bool:
    """Whether these are options by name, each in its form as JSON."""
    return isinstance(value, dict) and all(
        name in OPTIONS and _is_of_form(one, *OPTIONS[name][1:]) for name, one in value.items()
    )


def _is_of_form(value: Any, kind: Any, of: Any = None) -> bool:
    if isinstance(value, bool) or kind is bool:
        return type(value) is kind
    if isinstance(value, list | dict):
        parts = value.values() if isinstance(value, dict) else value
        return isinstance(value, kind) and all(_is_of_form(one, of) for one in parts)
    return isinstance(value, kind)


def run_words(options: Mapping[str, Any]) -> list[str]:
    """Return the words of a command line that gives these options, by name."""
    return [word for name, value in options.items() for word in _words(name, value)]


def _words(name: str, value: Any) -> list[str]:
    option = OPTIONS[name][0]
    if isinstance(value, bool):
        return [option] * value
    if name == "model" and (id := deployment_id(value)):
        return ["--deployment", id]
    if isinstance(value, dict):
        of_limit = name == "raise_limit"
        value = [f"{limit_name(k) if of_limit else k}={v}" for k, v in value.items()]
    texts = [str(one) for one in (value if isinstance(value, list) else [value])]
    # A value that begins with a dash would be read as an option.
    pairs = [[f"{option}={one}"] if one.startswith("-") else [option, one] for one in texts]
    return [word for pair in pairs for word in pair]
