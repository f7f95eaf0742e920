"""Packages that are too large to be asked of everybody who runs the tests."""

import importlib
import os

import pytest


def need(name):
    """Import a package, or skip: in CI, where everything is installed, fail."""
    if os.environ.get("CI"):
        return importlib.import_module(name)
    return pytest.importorskip(name, reason=f"{name} is not installed: pip install -e '.[heavy]'")
