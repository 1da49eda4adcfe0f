"""How far a run is: a bar on a terminal, a line a minute elsewhere, nothing with --quiet; and lines
of JSON for a program.
"""

import contextlib
import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

from batchgen.clock import Clock, to_iso
from batchgen.core.states import IN_FLIGHT, State
from batchgen.core.units import show_rate
from batchgen.library import progress as library
from batchgen.log import write_json_line

log = logging.getLogger(__name__)

EVERY = 60.0  # seconds between lines where there is no terminal
_SHOWN = {
    "failed": (State.FAILED,),
    "in flight": IN_FLIGHT,
    "to download": (State.COMPLETED,),
    "unknown": (State.UNKNOWN,),
    "pending": (State.PENDING,),
}


def line(counts: Mapping[State, int], committed: float, rate: float) -> str:
    """Return the numbers of a run in a line. rate: POSTs per second; committed: USD."""
    parts = [f"{counts.get(State.SAVED, 0)} saved"]
    for name, states in _SHOWN.items():
        if number := sum(counts.get(state, 0) for state in states):
            parts.append(f"{number} {name}")
    return f"{', '.join(parts)} · {show_rate(rate)} · ${committed:.2f}"


class Progress:
    """numbers: called for (counts, committed USD, POSTs per second) whenever they are shown."""

    def __init__(
        self,
        numbers: Callable[[], tuple[Mapping[State, int], float, float]],
        now: Callable[[], float],
        *,
        quiet: bool,
    ) -> None:
        self._numbers = numbers
        self._now = now
        self._next_line = now() + EVERY
        self._bar: Any = None  # a tqdm, imported where there is a terminal
        if not quiet and sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            tqdm.monitor_interval = 0  # else it starts a thread; see threads.py

            counts, _, _ = numbers()
            self._bar = tqdm(
                total=sum(counts.values()),
                initial=counts.get(State.SAVED, 0),
                unit="row",
                miniters=0,  # what that thread would see to
                dynamic_ncols=True,
                bar_format="{percentage:3.0f}%|{bar:20}| {desc} [{elapsed}<{remaining}]",
            )
            self.changed()

    def changed(self) -> None:
        """Called after each change of state; cheap when nothing is due to be shown."""
        if self._bar is not None:
            counts, committed, rate = self._numbers()
            self._bar.set_description_str(line(counts, committed, rate), refresh=False)
            with contextlib.suppress(OSError):  # the terminal may be gone
                self._bar.update(counts.get(State.SAVED, 0) - self._bar.n)
        elif self._now() >= self._next_line:
            self._next_line = self._now() + EVERY
            log.info("%s", line(*self._numbers()))

    def close(self) -> None:
        if self._bar is not None:
            with contextlib.suppress(OSError):
                self._bar.refresh()
                self._bar.close()


def write_json(progress: "library.Progress", clock: Clock) -> None:
    """How far the run is, as a line of JSON on stderr."""
    write_json_line(
        {
            "type": "progress",
            "at": to_iso(clock.now()),
            "rows": progress.rows,
            "counts": progress.counts,
            "committed_usd": round(progress.committed_usd, 6),
            "rate": round(progress.rate, 6),
            "last": progress.last,
        }
    )
