"""From an output's URL to a checked, durable file.

Promise: a file gets its name only when it is on disk and known to be whole, or marked as what it
is, and never replaces another.

May import: api, network, core.
"""
