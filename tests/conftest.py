"""Tests that make network namespaces (`test_ns_*`) need root. Without root they are skipped, with the reason."""

import os

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no bug. Examples that failed go into the tests, not into a database.
settings.register_profile("tests", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        for item in items:
            if item.path.name.startswith("test_ns_"):
                item.add_marker(pytest.mark.skip(reason="needs root, for network namespaces"))
