"""Entries and a model's input schema: rows that may be sent, or every problem.

Promise: a row that passes is sent exactly as it was checked; a schema's defaults are never added.

May import: core.
"""
