"""What every connection has in common: certificates, proxy, and which hosts are trusted.

Promise: nothing is fetched from where it should not be, and nobody unverified is talked to.

May import: core.
"""
