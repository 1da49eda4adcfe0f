"""The command line: words in, words and an exit code out.

Promise: every error becomes a message and an exit code; stdout carries results, stderr everything
else. Nothing is decided here. May import every other folder.

May import: library, doctor, schedule, operations, configuration, notify, engine, report, storage,
api, journal, manifest, validation, sandbox, manual, core.
"""
