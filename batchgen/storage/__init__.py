"""Media that are kept elsewhere: in an object store or a mounted folder, and where that is.

Promise: an object is named only once it is whole, never replaces another's, and is told as kept
only when the store has acknowledged it. No credential is written, shown or sent elsewhere.

May import: media, api, journal, network, core.
"""
