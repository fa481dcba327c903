"""NamedTuple for the path of a DHCP event: to import `typing` there takes longer than the event's whole work."""

TYPE_CHECKING = False  # type checkers take this name for true

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from _collections import _tuplegetter

    _new = tuple.__new__
    _missing = object()

    class NamedTuple(tuple):
        """The part of `typing.NamedTuple` that this program uses: fields, defaults, `_replace`."""

        _fields = ()

        def __init_subclass__(cls):
            cls._fields = tuple(cls.__annotations__)
            cls._defaults = tuple([cls.__dict__.get(name, _missing) for name in cls._fields])
            for index, name in enumerate(cls._fields):
                setattr(cls, name, _tuplegetter(index, ""))

        def __new__(cls, *values, **named):
            if named or len(values) != len(cls._fields):
                values = cls._completed(values, named)
            return _new(cls, values)

        @classmethod
        def _completed(cls, values, named):
            start = len(values)
            if named:
                rest = zip(cls._fields[start:], cls._defaults[start:])
                values += tuple([named.pop(name, default) for name, default in rest])
            else:
                values += cls._defaults[start:]
            if named or len(values) != len(cls._fields) or _missing in values[start:]:
                raise TypeError(f"{cls.__name__} has the fields {cls._fields}, not {values} {named}")
            return values

        def __repr__(self):
            values = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
            return f"{type(self).__name__}({values})"

        def _replace(self, **changes):
            values = [changes.pop(name, value) for name, value in zip(self._fields, self)]
            return type(self)(*values, **changes)


__all__ = ["NamedTuple"]
