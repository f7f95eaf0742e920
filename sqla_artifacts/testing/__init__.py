"""Suites of tests for backends and datatypes of your own: subclass them in a test module.

:class:`BackendConformance` is what a store needs of a backend, :class:`DataTypeConformance` what
a column needs of a datatype. Both run under pytest, which has to be installed; the package itself
never imports this.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(f"{__name__}.backends", f"{__name__}.datatypes")

from .backends import BackendConformance  # noqa: E402 (once its assertions explain themselves)
from .datatypes import DataTypeConformance  # noqa: E402 (as above)

__all__ = ["BackendConformance", "DataTypeConformance"]
