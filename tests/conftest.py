"""Fixtures that several test files share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brainalign import assets


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's folder."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed, fresh for every test."""
    return np.random.default_rng(20240917)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Skip what needs an asset that cannot be had, except where data are at hand: there it is a failure."""
    report = yield
    error = call.excinfo.value if call.excinfo else None
    missing = isinstance(error, assets.AssetError) or getattr(error, "name", "") == "AssetError"
    if missing and not assets.mirrors():
        path, line, _ = item.location
        report.outcome, report.longrepr = "skipped", (path, line or 0, f"Skipped: {str(error).partition(';')[0]}")
    return report
