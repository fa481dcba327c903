"""The completions for bash, zsh and fish offer every verb and option of the program, and the links of the file. --help
fits a terminal."""

import os
import pty
import shlex
import shutil
import subprocess
from argparse import _SubParsersAction
from pathlib import Path

import pytest

from dhcp_lb.verbs.cli import _parser
from tests.beds import box
from tests.beds.lab import CHECKOUT

COMPLETION = CHECKOUT / "doc" / "completion"
BASH = """
compopt() { :; }  # only bash itself can call it
source "$1/dhcp-lb"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_dhcp_lb
printf '%s\\n' "${COMPREPLY[@]}"
"""
# zsh completes on a terminal alone. What it would add is written down instead.
ZSH = """
fpath=("$COMPLETION" $fpath)
autoload -Uz compinit && compinit -u -D
compadd() {
    local -a found
    [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\\ * ]] && { builtin compadd "$@"; return }
    builtin compadd -O found "$@"
    print -rl -- $found >>"$SAID"
}
tell() { zle complete-word; exit }
zle -N tell
bindkey '^I' tell
PROMPT=ready
"""
SHELLS = [pytest.param(name, marks=pytest.mark.skipif(not shutil.which(name), reason=f"needs {name}"))
          for name in ("bash", "zsh", "fish")]


def offered(shell: str, tmp_path: Path, *words: str) -> set[str]:
    """The completions of the last of these words."""
    line = shlex.join(["dhcp-lb", *words[:-1]]) + " " + words[-1]
    if shell == "zsh":
        return by_zsh(tmp_path, line)
    argv = (["bash", "-c", BASH, "bash", str(COMPLETION), "dhcp-lb", *words] if shell == "bash" else
            ["fish", "--no-config", "-c", f"source {COMPLETION}/dhcp-lb.fish; complete -C {shlex.quote(line)}"])
    done = subprocess.run(argv, capture_output=True, text=True, env={**box.ENVIRONMENT, "HOME": str(tmp_path)})
    assert (done.returncode, done.stderr) == (0, "")
    found = {one.partition("\t")[0] for one in done.stdout.splitlines() if one}
    if shell == "fish":  # fish 4 also prints words that only contain these letters, and shows them last on a terminal
        return {one for one in found if one.startswith(words[-1])}
    return found


def by_zsh(tmp_path: Path, line: str) -> set[str]:
    (tmp_path / ".zshrc").write_text(ZSH)
    said = tmp_path / "said"
    said.write_text("")
    environ = {**box.ENVIRONMENT, "TERM": "dumb", "HOME": str(tmp_path), "ZDOTDIR": str(tmp_path), "SAID": str(said),
               "COMPLETION": str(COMPLETION)}
    pid, terminal = pty.fork()
    if not pid:
        os.execvpe("zsh", ["zsh", "-d", "-i"], environ)
    seen = b""
    try:
        while b"ready" not in seen:
            seen += os.read(terminal, 4096)
        os.write(terminal, line.encode() + b"\t")
        while os.read(terminal, 4096):
            pass
    except OSError:  # it has ended
        pass
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    return set(said.read_text().split("\n")) - {""}


def verbs() -> dict[str, set[str]]:
    """Each verb with its options."""
    return {verb: {option for option in child._option_string_actions if option not in ("-h", "--help")}
            for action in _parser()._actions if isinstance(action, _SubParsersAction)
            for verb, child in action.choices.items()}


@pytest.mark.parametrize("shell", SHELLS)
def test_every_verb_and_every_option(shell: str, tmp_path: Path) -> None:
    assert offered(shell, tmp_path, "") - {"--help", "--version"} == set(verbs())
    assert offered(shell, tmp_path, "-") == {"--help", "--version"}
    assert {verb: offered(shell, tmp_path, verb, "-") for verb in verbs()} == verbs()


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("words, want", [
    (["st"], {"status"}),
    (["explain", "--"], {"--from", "--dev", "--in", "--tcp", "--udp", "--mark"}),
    (["explain", "192.0.2.1", "--f"], {"--from"}),
    (["explain", "192.0.2.1", "--from", ""], set()),
    (["explain", "--from", "192.0.2.1", "--d"], {"--dev"}),
    (["explain", "192.0.2.1", "--tcp", ""], set()),
    (["explain", "192.0.2.1", "--in", "lo"], {"lo"}),
    (["plan", "CONTRIB"], {"CONTRIBUTING.md"}),
    (["drain", "eth0", "--w"], {"--wait"}),
])
def test_what_has_been_typed_is_completed(shell: str, words: list[str], want: set[str], tmp_path: Path) -> None:
    assert offered(shell, tmp_path, *words) == want


CONFIG = """\
# eth9 t 209 1
eth0 t 200 1
$(id) u 201 1 # no word for a shell
balance-table = up 250
in eth7 port -> eth0 only
"""


@pytest.mark.parametrize("shell", SHELLS)
@box.boxed
def test_the_links_of_the_file_are_offered(shell: str, tmp_path: Path) -> None:
    box.CONFIG.write_text(CONFIG)
    for words in ["disable"], ["drain"], ["enable"], ["history"], ["explain", "--dev"]:
        found = offered(shell, tmp_path, *words, "")
        assert {one.replace("\\", "") for one in found} - {"--cut", "--wait"} == {"eth0", "$(id)"}, words
    assert offered(shell, tmp_path, "disable", "eth0", "") == set()


@pytest.mark.parametrize("shell", SHELLS)
@box.boxed
def test_files_are_offered_to_check(shell: str, tmp_path: Path) -> None:
    os.chdir("/run")
    Path("/run/new-file").touch()
    assert offered(shell, tmp_path, "check", "new") == {"new-file"}


def test_each_is_where_its_shell_looks() -> None:
    text = (CHECKOUT / "setup.py").read_text()
    for directory, name in (("/usr/share/bash-completion/completions", "dhcp-lb"),
                            ("/usr/share/zsh/vendor-completions", "_dhcp-lb"),
                            ("/usr/share/fish/vendor_completions.d", "dhcp-lb.fish")):
        assert f'("{directory}", ["doc/completion/{name}"])' in text
        assert (COMPLETION / name).exists()


def test_help_fits_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    parser = _parser()
    [verbs] = [action for action in parser._actions if isinstance(action, _SubParsersAction)]
    for one in parser, *verbs.choices.values():
        assert max(map(len, one.format_help().splitlines())) <= 80
