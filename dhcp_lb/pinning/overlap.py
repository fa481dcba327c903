"""Pure: foreign nft rules → those that use our bits of a mark."""

from typing import Any

from ..nfnetlink import TABLE

MARK = ({"meta": {"key": "mark"}}, {"ct": {"key": "mark"}})
ALL_BITS = 0xffffffff


def overlaps(ruleset: list[dict[str, Any]], mask: int) -> list[str]:
    """The places where foreign rules compare or set marks within the bits of `mask`: `table FAMILY NAME, chain NAME:
    0xBITS`, each once. `ruleset` is the list that `nft -j list ruleset` prints.

    Rules that compare, save or restore whole marks are not among them: they work beside ours. This list does not show
    what rules of iptables-nft(8) do."""
    found = {}
    for rule in [entry["rule"] for entry in ruleset if "rule" in entry]:
        bits = 0
        for statement in rule["expr"]:
            bits |= _bits(statement) & mask
        if bits and (rule["family"], rule["table"]) != ("inet", TABLE):
            found[f"table {rule['family']} {rule['table']}, chain {rule['chain']}: 0x{bits:08x}"] = True
    return list(found)


def _bits(statement: dict[str, Any]) -> int:
    """The bits of marks that a statement compares or sets."""
    if match := statement.get("match"):
        return _compared(match["left"], match["right"])
    if lookup := statement.get("vmap"):
        return _compared(lookup["key"], _keys(lookup["data"]))
    if (mangle := statement.get("mangle")) and mangle["key"] in MARK:
        value = mangle["value"]
        if isinstance(value, dict) and "map" in value:
            return _constants(_values(value["map"]["data"]))
        return _constants(value)
    return 0


def _compared(left: Any, right: Any) -> int:
    """The bits that a comparison looks at: those of its mask, or without a mask those of its values."""
    if left in MARK:
        return _constants(right)
    if isinstance(left, dict) and left.get("&", [None])[0] in MARK:
        mask = left["&"][1]
        return mask if isinstance(mask, int) and mask != ALL_BITS else _constants(right)
    return 0


def _constants(value: Any) -> int:
    """The bits of all numbers in an expression, except for bits that it only keeps (`mark & 0x00ffffff`)."""
    bits = 0
    if isinstance(value, int):
        bits = value
    elif isinstance(value, list):
        for one in value:
            bits |= _constants(one)
    elif isinstance(value, dict):
        if "prefix" in value:  # what nft makes of a comparison under a mask of the upper bits
            bits = ALL_BITS << 32 - value["prefix"]["len"] & ALL_BITS
        for operator in "|", "^", "set", "range", "elem", "val":
            bits |= _constants(value.get(operator))
    return bits


def _keys(data: Any) -> list[Any]:
    return [pair[0] for pair in data["set"]] if isinstance(data, dict) else []


def _values(data: Any) -> list[Any]:
    return [pair[1] for pair in data["set"]] if isinstance(data, dict) else []
