"""From an output's URL to a checked, durable file.

Promise: a file gets its name only when it is whole, decoded and on disk, and never replaces
another.

May import: api, network, core.
"""
