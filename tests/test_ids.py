"""What the tests are called."""

import pytest


def test_the_id_of_each_test_of_this_run_fits_a_line(request: pytest.FixtureRequest) -> None:
    """As `pytest -v` prints it and `pytest ID` takes it."""
    assert [item.nodeid for item in request.session.items if len(item.nodeid) > 119] == []
