"""The services: RunComfy's Model API and serverless deployments over HTTP.

Promise: a paid POST is sent once, whatever came back is classified by pure rules, and the token
goes to the API's own origin only.

May import: journal, network, validation, core.
"""
