"""A list of prompts, in any of its formats, as a stream of entries.

Promise: a text is handed on with exactly the characters of the file, or there is a problem with
its place; memory does not grow with the number of rows.

May import: templates, core.
"""
