"""What a program calls: `batchgen.validate`, `plan`, `run`, `run_async` and `open_batch`.

The command line stands on the same functions, and adds what is about a terminal: `frontend.py`
says what that is.

Promise: a call does what the command of its name does, in any thread; it raises an error of
errors.py, prints nothing, and leaves signals and logging as they were.

May import: operations, configuration, notify, engine, report, journal, manifest, core.
"""
