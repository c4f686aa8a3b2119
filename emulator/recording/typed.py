# SPDX-License-Identifier: Apache-2.0
"""Whether values that were read from a file are of the types that the code states."""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from aether_edgecloud.emulator.recording.document import Malformed

T = TypeVar("T")
_INTEGERS = range(-(1 << 63), 1 << 64)


def checked(value: T, kind: Any) -> T:
    """The value, if it and all its parts are of a type: numbers of up to 64 bits, dataclasses,
    tuples, lists, dictionaries and unions of such. Malformed for anything else."""
    if not _is(value, kind):
        raise Malformed(f"{value!r:.40} is not what belongs there")
    return value


def _is(value: object, kind: Any) -> bool:
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return any(_is(value, part) for part in parts)
    if origin is tuple and parts[-1] is not Ellipsis:
        return isinstance(value, tuple) and len(value) == len(parts) and all(map(_is, value, parts))
    if origin in (tuple, list):
        return isinstance(value, origin) and all(_is(part, parts[0]) for part in value)
    if origin is dict:
        return isinstance(value, Mapping) and all(
            _is(key, parts[0]) and _is(part, parts[1]) for key, part in value.items()
        )
    if kind is int:
        return type(value) is int and value in _INTEGERS
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        return isinstance(value, cast(type, kind)) and all(
            _is(getattr(value, field.name), hints[field.name]) for field in dataclasses.fields(kind)
        )
    return value is None if kind is types.NoneType else isinstance(value, kind)
