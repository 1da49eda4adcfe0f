"""The manual: parts of docs/ as text for a terminal, under the names of topics.

Promise: a text is kept once, as a page of docs/, and read from there.
May import: core.
"""
