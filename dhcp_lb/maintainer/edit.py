"""The text of /etc/dhcp-lb and debconf's answers → the new text.

The administrator owns the file. A line that already says the same as the answers stays byte for byte. So does
everything that debconf does not know: comments, options, settings, policy lines, and links whose interface has a name
that debconf cannot express.
"""

import re
from collections.abc import Mapping

EXPRESSIBLE = re.compile(rb"[A-Za-z0-9][A-Za-z0-9_.@+-]*")  # the names that debian/config offers


def edit(text: bytes, answers: Mapping[bytes, tuple[bytes, bytes]], check: bytes = b"") -> bytes:
    """`text` with the links of `answers` (interface → table id, weight), and no other link that debconf can express. A
    new link goes behind the last link line. `check` is the value of the setting of that name; with b"" its line
    is left alone."""
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        lines[-1] += b"\n"
    kept: list[bytes] = []
    end = None  # where the next link line goes
    missing = dict(answers)
    for line in lines:
        fields = _fields(line)
        if fields and fields[1:2] != [b"="] and b"->" not in fields[1:]:
            if len(fields) >= 4 and fields[0] not in answers and EXPRESSIBLE.fullmatch(fields[0]):
                end = len(kept) if end is None else end
                continue
            if answer := missing.pop(fields[0], None):
                line = _with_numbers(line, answer)
            end = len(kept) + 1
        kept.append(line)
    if end is None:
        end = len(kept)
    new = [b"%s table-%s %s %s\n" % (interface, interface, *answer) for interface, answer in missing.items()]
    edited = b"".join(_checked(kept[:end] + new + kept[end:], check))
    return text if edited == text + b"\n" else edited


def _checked(lines: list[bytes], check: bytes) -> list[bytes]:
    """The lines with this value of `check`. If a line sets it already, that line keeps its place and its comment."""
    if not check:
        return lines
    places = [place for place, line in enumerate(lines) if _fields(line)[:2] == [b"check", b"="]]
    if not places:
        return [*lines, b"check = %s\n" % check]
    found = re.match(rb"(\s*check\s+=\s+)(\S+)", lines[places[0]])
    if found and len(_fields(lines[places[0]])) == 3:  # a mistake in the file stays there, so that its owner finds it
        lines[places[0]] = found[1] + check + lines[places[0]][found.end():]
    return lines


def _fields(line: bytes) -> list[bytes]:
    fields = line.split()
    comment = [index for index, field in enumerate(fields) if field.startswith(b"#")]
    return fields[:comment[0]] if comment else fields


def _with_numbers(line: bytes, answer: tuple[bytes, bytes]) -> bytes:
    """`line` with another third and fourth field, and the same space between the fields."""
    head = re.match(rb"(\s*\S+\s+\S+\s+)(\S+)(\s+)(\S+)", line)
    if head is None or len(_fields(line)) < 4:
        return line  # a mistake in the file stays there, so that its owner finds it
    return head[1] + answer[0] + head[3] + answer[1] + line[head.end():]
