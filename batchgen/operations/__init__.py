"""One module for each thing that a person asks for: run, plan, retry, verify and others.

Promise: an operation takes options and returns values or raises an error of ours; it prints
nothing.

May import: configuration, notify, engine, report, inputs, storage, media, api, journal, network,
manifest, templates, validation, sandbox, core.
"""
