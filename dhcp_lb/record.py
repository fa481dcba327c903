"""NamedTuple for the path of a DHCP event: importing `typing` would take longer than the event's whole work."""

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
            cls._count = len(cls._fields)
            cls._defaults = tuple([cls.__dict__.get(name, _missing) for name in cls._fields])
            cls._least = cls._defaults.count(_missing)  # how many fields have no default: the first ones
            cls._places = {}
            for index, name in enumerate(cls._fields):
                cls._places[name] = index
                setattr(cls, name, _tuplegetter(index, ""))

        def __new__(cls, *values, **named):
            given = len(values)
            if not named and cls._least <= given < cls._count:
                values += cls._defaults[given:]
            elif named or given != cls._count:
                values = [*values, *cls._defaults[given:]]
                for name, value in named.items():
                    if cls._places.get(name, -1) < given:
                        raise TypeError(f"{cls.__name__} has the fields {cls._fields}, and {name} is not free")
                    values[cls._places[name]] = value
                if len(values) != cls._count or _missing in values:
                    raise TypeError(f"{cls.__name__} has the fields {cls._fields}, not {values}")
            return _new(cls, values)

        def __repr__(self):
            values = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
            return f"{type(self).__name__}({values})"

        def _replace(self, **changes):
            values = list(self)
            for name, value in changes.items():
                if name not in self._places:
                    raise TypeError(f"{type(self).__name__} has the fields {self._fields}, not {name}")
                values[self._places[name]] = value
            return _new(type(self), values)


__all__ = ["NamedTuple"]
