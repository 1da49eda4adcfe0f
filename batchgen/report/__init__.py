"""The files that people open: tables, summary and gallery, written from the journal alone.

Promise: each file is replaced atomically, and nothing that came from outside is run by a
spreadsheet or a browser.

May import: media, api, journal, validation, core.
"""
