"""What README.md says about the commands of `tests/`."""

import re

from tests.beds.lab import CHECKOUT


def test_it_names_every_package_that_they_install() -> None:
    scripts = [(CHECKOUT / "tests" / name).read_text()
               for name in ("needs", "run", "demo", "deb", "compare", "kernel")]
    listed = [words for script in scripts  # of which a line may go on in the next one
              for words in re.findall(r'^ *(?:need |wanted=")([a-z].*?)[\n"]', script.replace("\\\n", ""), re.M)]
    packages = {word for words in listed for word in words.split() if word != "$*"}
    assert {"mmdebstrap", "flake8", "piuparts"} <= packages
    assert packages - set(re.findall(r"`([^`]+)`", (CHECKOUT / "README.md").read_text())) == {"python3"}
