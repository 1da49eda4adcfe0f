"""aiohttp, for every module that speaks HTTP.

Its import makes two TLS contexts with the system's certificates, in 40 ms of CPU. batchgen uses
neither: `session.trusted_certificates` is what all its connections have. So in a process of the
command line they are left without certificates, and a connection by them would trust nobody. A
program that calls batchgen may speak HTTP by aiohttp itself, and gets it as it is.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

__all__ = ["aiohttp"]

_FILE = "SSL_CERT_FILE"  # read by OpenSSL, in place of the system's file


@contextmanager
def _without_certificates() -> Iterator[None]:
    before = os.environ.get(_FILE)
    os.environ[_FILE] = os.devnull
    try:
        yield
    finally:
        del os.environ[_FILE]
        if before is not None:
            os.environ[_FILE] = before


# The command line's own module: its process is nobody else's.
_is_ours = "batchgen.cli.main" in sys.modules
with _without_certificates() if _is_ours else nullcontext():
    import aiohttp
