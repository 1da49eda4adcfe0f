"""aiohttp, for every module that speaks HTTP: imported without the certificates that it would read.

Its import makes two TLS contexts with the system's certificates, in 40 ms of CPU. None of them is
used: `session.trusted_certificates` is what all connections have. They are left without any, so a
connection by them would trust nobody.
"""

import os

__all__ = ["aiohttp"]

_FILE = "SSL_CERT_FILE"  # read by OpenSSL, in place of the system's file
_before = os.environ.get(_FILE)
os.environ[_FILE] = os.devnull
try:
    import aiohttp
finally:
    if _before is None:
        del os.environ[_FILE]
    else:
        os.environ[_FILE] = _before
