"""Packages that are too large to be asked of everybody who runs the tests."""

import importlib
import os

import pytest


def need(name):
    """Import a package, or skip: in CI, where everything is installed, fail."""
    if os.environ.get("CI"):
        return importlib.import_module(name)
    extras = "heavy,servers"
    return pytest.importorskip(name, reason=f"no {name}: pip install -e '.[{extras}]'")
