"""Local files as inputs: checked before anything is paid for, and sent as they were checked.

Promise: a file is sent only if it has the bytes that were checked, and only one that the manifest
may name; none is held in memory.

May import: media, api, manifest, core.
"""
