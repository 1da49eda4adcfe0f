"""Lists that run by themselves: lines of a crontab, timers of systemd, and whether they ran.

Promise: what others wrote into a crontab stays as it is, byte for byte, and no line and no unit
holds a token, or an address that is a secret.

May import: operations, journal, api, core.
"""
