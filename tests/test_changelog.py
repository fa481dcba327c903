"""debian/changelog, where lintian(1) would find fault only after the package is built."""

from pathlib import Path

CHANGELOG = Path(__file__).parents[1] / "debian" / "changelog"


def test_no_line_is_too_long_for_lintian() -> None:
    assert [line for line in CHANGELOG.read_text("utf-8").splitlines() if len(line) > 80
            and not line.startswith(" -- ")] == []
