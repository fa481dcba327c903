"""Tests in machines of the lab (`test_ns_*`) need root, which may make network namespaces; they say so."""

import os

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no bug, and what was found is in the tests, not in a database.
settings.register_profile("tests", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        for item in items:
            if item.path.name.startswith("test_ns_"):
                item.add_marker(pytest.mark.skip(reason="needs root, for network namespaces"))
