"""Batch runs of prompts through RunComfy's Model API: resumable, and paid once each.

    batchgen.validate("list.csv")
    batchgen.plan("list.csv", max_cost=20)
    batchgen.run("list.csv", max_cost=20)
    batchgen.open_batch("list.csv").rows()

docs/guide/python.md explains them; `batchgen.errors` has what they raise.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Batch",
    "BatchFile",
    "BatchRow",
    "Options",
    "Plan",
    "PlannedRow",
    "Progress",
    "RunResult",
    "Validation",
    "open_batch",
    "plan",
    "run",
    "run_async",
    "validate",
]

if TYPE_CHECKING:
    from batchgen.library.batch import Batch, BatchFile, BatchRow, open_batch
    from batchgen.library.check import Validation, plan, validate
    from batchgen.library.keywords import Options
    from batchgen.library.progress import Progress
    from batchgen.library.run import RunResult, run, run_async
    from batchgen.operations.plan import Plan, PlannedRow

# Where each name is: nothing of it is loaded before it is asked for.
_MODULES = {
    **dict.fromkeys(("Batch", "BatchFile", "BatchRow", "open_batch"), "library.batch"),
    **dict.fromkeys(("Validation", "plan", "validate"), "library.check"),
    "Options": "library.keywords",
    "Progress": "library.progress",
    **dict.fromkeys(("RunResult", "run", "run_async"), "library.run"),
    **dict.fromkeys(("Plan", "PlannedRow"), "operations.plan"),
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
