"""The service: RunComfy's Model API over HTTP.

Promise: a paid POST is sent once, whatever came back is classified by pure rules, and the token
goes to the API's own origin only.

May import: journal, network, validation, core.
"""
