# SPDX-License-Identifier: Apache-2.0
"""VM descriptions as people write them, in TOML.

    [[vm]]
    name = "u-boot"
    entry = 0x40200000                              # default: the first image's ipa
    memory = [{ ipa = 0x40000000, size = "64MiB" }] # host = ... pins it to a PA,
                                                    # hidden = true keeps it out of the DTB
    images = [{ file = "u-boot.bin", ipa = 0x40200000 }]
    devices = ["pl011"]                             # the default
    dtb = "auto"                                    # the default; or "none", or a file
    dtb_ipa = 0x40000000                            # default: the first place that is free
    bootargs = "..."                                # with dtb = "auto"
    config = { bootdelay = -1 }                     # with dtb = "auto": /config, for U-Boot

Files are looked for beside the TOML file.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aether_edgecloud.emulator.bundle import size
from aether_edgecloud.emulator.bundle.build import DtbChoice, ImageFile, VmDescription
from aether_edgecloud.emulator.bundle.guest_dtb import ConfigValue
from aether_edgecloud.emulator.bundle.manifest import DeviceKind, Memory
from aether_edgecloud.emulator.errors import UserError

DEVICES = {"pl011": DeviceKind.VPL011}

_VM_KEYS = (
    "name", "vcpus", "entry", "memory", "images", "devices", "dtb", "dtb_ipa", "bootargs", "config",
)  # fmt: skip
_NUMBER_LIMIT = 1 << 63
_MOST_SHOWN = 60
_CONFIG_NAME = re.compile(r"[A-Za-z][A-Za-z0-9,._+?#-]{0,30}")
_HEADER = re.compile(r"\s*\[\[\s*vm\s*\]\]")
_KEY = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=")
_SYNTAX = re.compile(r"(.*) \(at line (\d+), column (\d+)\)")


def load(path: Path) -> tuple[VmDescription, ...]:
    """The VMs in a TOML file. Raises UserError with file and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as e:
        raise UserError(
            f"cannot be read ({e.strerror})", where=str(path), fix="name a file that exists"
        ) from None
    except UnicodeDecodeError:
        raise UserError("is not UTF-8 text", where=str(path), fix="give a TOML file") from None
    return parse(text, file=str(path), folder=path.parent)


def parse(text: str, *, file: str, folder: Path) -> tuple[VmDescription, ...]:
    """The VMs in TOML text; `file` names it in messages, `folder` is where its files lie."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, ValueError) as e:
        raise _syntax_error(str(e), text, file) from None
    except RecursionError:
        raise UserError("is nested too deeply", where=file, fix="write it flat") from None
    _refuse_unknown(document, ("vm",), file)
    tables = document.get("vm")
    if not isinstance(tables, list) or not tables:
        raise UserError("describes no VM", where=file, fix="begin one with [[vm]]")
    places = _places(text, file, len(tables))
    return tuple(_vm(t, place, folder) for t, place in zip(tables, places, strict=True))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a VM stands in the file: the line of its header and of its keys, when found."""

    file: str
    line: int | None
    keys: Mapping[str, int]

    def of(self, key: str) -> str:
        """`file:line: key`."""
        line = self.keys.get(key, self.line)
        return f"{self.file}: {key}" if line is None else f"{self.file}:{line}: {key}"

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


def _places(text: str, file: str, count: int) -> list[_Place]:
    """Finds headers and keys by their looks: tomllib tells no positions. Gives up (no lines
    rather than wrong ones) when the number of headers is not the number of VMs."""
    found: list[tuple[int, dict[str, int]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if _HEADER.match(line):
            found.append((number, {}))
        elif found and (match := _KEY.match(line)):
            found[-1][1].setdefault(match[1], number)
    if len(found) != count:
        return [_Place(file, None, {}) for _ in range(count)]
    return [_Place(file, number, keys) for number, keys in found]


def _syntax_error(message: str, text: str, file: str) -> UserError:
    """tomllib's message, which ends with the place, as ours, which begins with it."""
    if match := _SYNTAX.fullmatch(message):
        return UserError(match[1], where=f"{file}:{match[2]}:{match[3]}", fix="correct the TOML")
    last = len(text.splitlines())
    words = message.removesuffix(" (at end of document)")
    return UserError(words, where=f"{file}:{last}", fix="correct the TOML")


def _vm(table: object, place: _Place, folder: Path) -> VmDescription:
    if not isinstance(table, dict):
        raise UserError("is not a table", where=str(place), fix="begin a VM with [[vm]]")
    _refuse_unknown(table, _VM_KEYS, str(place), place)
    dtb = _dtb(table, place, folder)
    for key in ("bootargs", "config"):
        if key in table and dtb is not DtbChoice.AUTO:
            raise UserError(
                "goes into a generated DTB only", where=place.of(key), fix='say dtb = "auto"'
            )
    if dtb is DtbChoice.NONE and "dtb_ipa" in table:
        raise UserError("there is no DTB to place", where=place.of("dtb_ipa"), fix="remove it")
    name = _string(_need(table, "name", place), place.of("name"))
    memory = [_memory(t, place.of("memory")) for t in _list(table, "memory", place)]
    return VmDescription(
        name=name,
        vcpus=_number(table.get("vcpus", 1), place.of("vcpus")),
        entry=_optional_number(table, "entry", place),
        memory=tuple(m for m, hidden in memory if not hidden),
        hidden_memory=tuple(m for m, hidden in memory if hidden),
        images=tuple(_image(t, place.of("images"), folder) for t in _list(table, "images", place)),
        devices=_devices(table, place),
        dtb=dtb,
        dtb_ipa=_optional_number(table, "dtb_ipa", place),
        bootargs=_string(table["bootargs"], place.of("bootargs")) if "bootargs" in table else None,
        config=_config(table.get("config", {}), place.of("config")),
        where=str(place),
    )


def _memory(item: object, where: str) -> tuple[Memory, bool]:
    """A memory range, and whether it is hidden."""
    table = _inline_table(item, ("ipa", "size", "host", "hidden"), where)
    host = _number(table["host"], where) if "host" in table else None
    hidden = table.get("hidden", False)
    if not isinstance(hidden, bool):
        raise UserError("`hidden` is neither true nor false", where=where, fix="write one of them")
    return Memory(_number(_get(table, "ipa", where), where), _size(table, where), host), hidden


def _size(table: Mapping[str, object], where: str) -> int:
    value = _get(table, "size", where)
    return size.parse(value, where=where) if isinstance(value, str) else _number(value, where)


def _image(item: object, where: str, folder: Path) -> ImageFile:
    table = _inline_table(item, ("file", "ipa"), where)
    file = _string(_get(table, "file", where), where)
    return ImageFile(folder / file, _number(_get(table, "ipa", where), where))


def _devices(table: Mapping[str, object], place: _Place) -> tuple[DeviceKind, ...]:
    names = table.get("devices", ["pl011"])
    where = place.of("devices")
    if not isinstance(names, list):
        raise UserError("is not a list", where=where, fix='write ["pl011"]')
    found: list[DeviceKind] = []
    for name in names:
        kind = DEVICES.get(name) if isinstance(name, str) else None
        if kind is None:
            raise UserError(
                f"no device {name!r}", where=where, fix=f"known devices: {', '.join(DEVICES)}"
            )
        found.append(kind)
    return tuple(found)


def _dtb(table: Mapping[str, object], place: _Place, folder: Path) -> DtbChoice | Path:
    value = _string(table.get("dtb", "auto"), place.of("dtb"))
    choice = next((c for c in DtbChoice if c.value == value), None)
    return folder / value if choice is None else choice


def _config(value: object, where: str) -> tuple[tuple[str, ConfigValue], ...]:
    if not isinstance(value, dict):
        raise UserError("is not a table", where=where, fix="write { name = value }")
    entries: list[tuple[str, ConfigValue]] = []
    for name, item in value.items():
        if not _CONFIG_NAME.fullmatch(name):
            raise UserError(f"{name!r} cannot name a property", where=where, fix="rename it")
        if isinstance(item, str):
            entries.append((name, _string(item, where)))
        elif isinstance(item, int) and not isinstance(item, bool) and -(2**31) <= item < 2**32:
            entries.append((name, item))
        else:
            raise UserError(
                f"{name} is neither a string nor a 32-bit number", where=where, fix="give one"
            )
    return tuple(entries)


def _refuse_unknown(
    table: Mapping[str, object], known: Sequence[str], where: str, place: _Place | None = None
) -> None:
    for key in table:
        if key not in known:
            raise UserError(
                f"unknown key {key!r}",
                where=where if place is None else place.of(key).rpartition(": ")[0],
                fix=f"known keys: {', '.join(known)}",
            )


def _inline_table(item: object, known: Sequence[str], where: str) -> Mapping[str, object]:
    if not isinstance(item, dict):
        raise UserError(f"{_shown(item)} is not a table", where=where, fix=_table_form(known))
    _refuse_unknown(item, known, where)
    return item


def _table_form(known: Sequence[str]) -> str:
    return f"write {{ {', '.join(f'{k} = ...' for k in known)} }}"


def _need(table: Mapping[str, object], key: str, place: _Place) -> object:
    return _get(table, key, str(place))


def _get(table: Mapping[str, object], key: str, where: str) -> object:
    if key not in table:
        raise UserError(f"key {key!r} is missing", where=where, fix="add it")
    return table[key]


def _list(table: Mapping[str, object], key: str, place: _Place) -> list[object]:
    value = _need(table, key, place)
    if not isinstance(value, list):
        raise UserError("is not a list", where=place.of(key), fix="write [{ ... }]")
    return value


def _shown(value: object) -> str:
    """A value for an error line: short, whatever it is."""
    try:
        text = repr(value)
    except ValueError:  # a number with too many digits to be written in decimal
        return "a number that long"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _string(value: object, where: str) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise UserError(
            f"{_shown(value)} is not a line of text", where=where, fix="write it in quotes"
        )
    return value


def _optional_number(table: Mapping[str, object], key: str, place: _Place) -> int | None:
    return _number(table[key], place.of(key)) if key in table else None


def _number(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise UserError(
            f"{_shown(value)} is not a number",
            where=where,
            fix="write it without quotes, as 0x40000000",
        )
    if not 0 <= value < _NUMBER_LIMIT:
        raise UserError(f"{_shown(value)} is out of range", where=where, fix="give one below 2^63")
    return value
