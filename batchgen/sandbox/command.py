"""The `sandbox` command, for `python -m batchgen.sandbox`."""

from batchgen.cli_sandbox import sandbox

__all__ = ["sandbox"]
