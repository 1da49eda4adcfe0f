"""One run: which row goes next, when, and what follows from each outcome.

Promise: a row is paid for at most once, an accepted request is never dropped, and no window of
time holds more requests than the rate allows. The pure modules decide, the others act.

May import: inputs, media, api, journal, network, core.
"""
