"""Whoever is told how a run ended: a monitor by its ping, a command of one's own, mail and chat.

Promise: nothing here changes how a run ends, is waited for longer than its time, or shows a prompt,
the token or an address that it was given.

May import: engine, report, media, journal, network, core.
"""
