"""Servers that the tests talk to, each on a free port of 127.0.0.1, and gone with the tests.

`S3`, `Google` and `Azure` are real ones, or as real as can be had without the provider: they check
signatures, checksums and conditions. `FaultyS3` checks nothing, and fails on demand.
"""

from .azurite import Azure
from .faulty import FaultyS3
from .gcs import Google
from .seaweedfs import S3

__all__ = ["S3", "Azure", "FaultyS3", "Google"]
