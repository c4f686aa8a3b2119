# SPDX-License-Identifier: Apache-2.0
"""One [[vm]] of a TOML description."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from aether_edgecloud.emulator.bundle import toml_values
from aether_edgecloud.emulator.bundle.build import KERNEL_MEMORY
from aether_edgecloud.emulator.bundle.description import (
    ConfigValue,
    DtbChoice,
    ImageFile,
    Passthrough,
    VmDescription,
)
from aether_edgecloud.emulator.bundle.manifest import DeviceKind, Memory, Restart
from aether_edgecloud.emulator.bundle.toml_values import Place, number, string
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.guests import catalogue

KEYS = (
    "name", "guest", "kernel", "ramdisk", "bootargs", "memory", "vcpus", "cpus", "restart",
    "devices", "images", "entry", "dtb", "dtb_ipa", "config",
    "start", "manages", "peers", "uuid",
)  # fmt: skip
DEVICES = {
    "gic": DeviceKind.VGICV2,
    "pl011": DeviceKind.VPL011,
    "telemetry": DeviceKind.TELEMETRY,
}
PASSTHROUGH_KEYS = ("host", "size", "ipa", "interrupts", "name", "compatible")
STARTS = ("auto", "manual")
RESTARTS = {restart.name.lower(): restart for restart in Restart}

_CONFIG_NAME = re.compile(r"[A-Za-z][A-Za-z0-9,._+?#-]{0,30}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NODE_NAME = re.compile(r"[a-z][a-z0-9,._+-]{0,30}")


def read(table: object, place: Place, folder: Path) -> VmDescription:
    """The VM. Raises UserError with the line of what is wrong."""
    if not isinstance(table, dict):
        raise UserError("is not a table", where=str(place), fix="begin a VM with [[vm]]")
    toml_values.refuse_unknown(table, KEYS, str(place), place)
    name = string(toml_values.get(table, "name", str(place)), place.of("name"))
    base = _base(table, place, folder)
    memory, hidden = _memory(table, place, base)
    dtb = _dtb(table, place, folder)
    found = replace(
        base,
        name=name,
        memory=memory,
        hidden_memory=hidden,
        vcpus=number(table.get("vcpus", base.vcpus), place.of("vcpus")),
        cpus=_cpus(table, place),
        entry=_optional_number(table, "entry", place, base.entry),
        devices=_devices(table, place) if "devices" in table else base.devices,
        dtb=dtb,
        dtb_ipa=_optional_number(table, "dtb_ipa", place, base.dtb_ipa),
        bootargs=_bootargs(table, place, base),
        config=_config(table["config"], place.of("config")) if "config" in table else base.config,
        ramdisk=_file(table, "ramdisk", place, folder) or base.ramdisk,
        restart=_restart(table, place, base),
        peers=_names(table, "peers", place) if "peers" in table else base.peers,
        uuid=_uuid(table, place),
        manages=_names(table, "manages", place) if "manages" in table else base.manages,
        manual_start=_starts_by_hand(table, place),
        where=str(place),
        where_keys={key: place.before(key) for key in table},
    )
    _check_together(table, place, found)
    return found


def _base(table: Mapping[str, object], place: Place, folder: Path) -> VmDescription:
    """What the VM starts from: a guest of the catalogue, a kernel, or images."""
    if "guest" in table:
        for key in ("kernel", "images", "entry"):
            if key in table:
                raise UserError("comes from the guest", where=place.of(key), fix="remove one")
        name = string(table["guest"], place.of("guest"))
        try:
            return catalogue.description(name)
        except UserError as error:
            raise UserError(error.what, where=place.of("guest"), fix=error.fix) from None
    images = [
        _image(item, place.of("images"), folder)
        for item in toml_values.items(table.get("images", []), place.of("images"))
    ]
    kernel = _file(table, "kernel", place, folder)
    if kernel is None:
        if "images" not in table:
            raise UserError(
                "a VM with nothing to run", where=str(place), fix="say guest, kernel or images"
            )
        toml_values.get(table, "memory", str(place))
    memory = (KERNEL_MEMORY,) if kernel is not None else ()
    return VmDescription("", memory, tuple(images), kernel=kernel)


def _check_together(table: Mapping[str, object], place: Place, vm: VmDescription) -> None:
    """Refuses keys that would be ignored."""
    if vm.kernel is None and "ramdisk" in table:
        raise UserError("goes with a kernel", where=place.of("ramdisk"), fix="say kernel = ...")
    generated = ["config"] if vm.kernel is not None else ["bootargs", "config"]
    for key in generated:
        if key in table and vm.dtb is not DtbChoice.AUTO:
            raise UserError(
                "goes into a generated DTB only", where=place.of(key), fix='say dtb = "auto"'
            )
    if vm.dtb is DtbChoice.NONE:
        if "dtb_ipa" in table:
            raise UserError("there is no DTB to place", where=place.of("dtb_ipa"), fix="remove it")
        if vm.kernel is not None:
            raise UserError("a kernel needs a DTB", where=place.of("dtb"), fix="remove it")


def _memory(
    table: Mapping[str, object], place: Place, base: VmDescription
) -> tuple[tuple[Memory, ...], tuple[Memory, ...]]:
    """Memory and hidden memory. A size alone stands for the first range of what was there."""
    if "memory" not in table:
        return base.memory, base.hidden_memory
    value, where = table["memory"], place.of("memory")
    if isinstance(value, str | int) and not isinstance(value, bool):
        first = base.memory[0] if base.memory else KERNEL_MEMORY
        resized = replace(first, size=toml_values.byte_count(value, where))
        return (resized, *base.memory[1:]), base.hidden_memory
    ranges = [_range(item, where) for item in toml_values.items(value, where)]
    return (
        tuple(m for m, hidden in ranges if not hidden),
        tuple(m for m, hidden in ranges if hidden),
    )


def _range(item: object, where: str) -> tuple[Memory, bool]:
    """A memory range, and whether it is hidden."""
    table = toml_values.inline_table(item, ("ipa", "size", "host", "hidden"), where)
    host = number(table["host"], where) if "host" in table else None
    hidden = table.get("hidden", False)
    if not isinstance(hidden, bool):
        raise UserError("`hidden` is neither true nor false", where=where, fix="write one of them")
    ipa = number(toml_values.get(table, "ipa", where), where)
    size = toml_values.byte_count(toml_values.get(table, "size", where), where)
    return Memory(ipa, size, host), hidden


def _image(item: object, where: str, folder: Path) -> ImageFile:
    table = toml_values.inline_table(item, ("file", "ipa"), where)
    file = string(toml_values.get(table, "file", where), where)
    return ImageFile(folder / file, number(toml_values.get(table, "ipa", where), where))


def _file(table: Mapping[str, object], key: str, place: Place, folder: Path) -> Path | None:
    return folder / string(table[key], place.of(key)) if key in table else None


def _cpus(table: Mapping[str, object], place: Place) -> tuple[int, ...] | None:
    if "cpus" not in table:
        return None
    where = place.of("cpus")
    return tuple(number(cpu, where) for cpu in toml_values.items(table["cpus"], where))


def _devices(table: Mapping[str, object], place: Place) -> tuple[DeviceKind | Passthrough, ...]:
    where = place.of("devices")
    found: list[DeviceKind | Passthrough] = []
    for item in toml_values.items(table["devices"], where):
        kind = DEVICES.get(item) if isinstance(item, str) else None
        if isinstance(item, dict):
            found.append(_passthrough(item, where))
        elif kind is not None:
            found.append(kind)
        else:
            known = f"known devices: {', '.join(DEVICES)}, and {{ host = ..., size = ... }}"
            raise UserError(f"no device {toml_values.shown(item)}", where=where, fix=known)
    return tuple(found)


def _passthrough(item: object, where: str) -> Passthrough:
    table = toml_values.inline_table(item, PASSTHROUGH_KEYS, where)
    name = string(table.get("name", "device"), where)
    if not _NODE_NAME.fullmatch(name):
        raise UserError(f"{name!r} cannot name a device", where=where, fix="rename it")
    interrupts = toml_values.items(table.get("interrupts", []), where)
    compatible = toml_values.items(table.get("compatible", []), where)
    return Passthrough(
        number(toml_values.get(table, "host", where), where),
        toml_values.byte_count(toml_values.get(table, "size", where), where),
        number(table["ipa"], where) if "ipa" in table else None,
        tuple(number(intid, where) for intid in interrupts),
        name,
        tuple(string(word, where) for word in compatible),
    )


def _dtb(table: Mapping[str, object], place: Place, folder: Path) -> DtbChoice | Path:
    value = string(table.get("dtb", "auto"), place.of("dtb"))
    choice = next((c for c in DtbChoice if c.value == value), None)
    return folder / value if choice is None else choice


def _bootargs(table: Mapping[str, object], place: Place, base: VmDescription) -> str | None:
    """The user's words behind those that a guest of the catalogue has."""
    if "bootargs" not in table:
        return base.bootargs
    words = string(table["bootargs"], place.of("bootargs"))
    return words if base.bootargs is None else f"{base.bootargs} {words}"


def _restart(table: Mapping[str, object], place: Place, base: VmDescription) -> Restart:
    if "restart" not in table:
        return base.restart
    return RESTARTS[toml_values.choice(table["restart"], tuple(RESTARTS), place.of("restart"))]


def _names(table: Mapping[str, object], key: str, place: Place) -> tuple[str, ...]:
    where = place.of(key)
    names = tuple(string(name, where) for name in toml_values.items(table[key], where))
    if len(set(names)) != len(names):
        raise UserError("names a VM twice", where=where, fix="name each once")
    return names


def _uuid(table: Mapping[str, object], place: Place) -> UUID | None:
    if "uuid" not in table:
        return None
    where = place.of("uuid")
    if "peers" not in table:
        raise UserError("goes with peers", where=where, fix="say peers = [...]")
    text = string(table["uuid"], where)
    if not _UUID.fullmatch(text):
        raise UserError(
            f"{toml_values.shown(text)} is not a UUID",
            where=where,
            fix='write "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx" in hexadecimal digits',
        )
    return UUID(text)


def _starts_by_hand(table: Mapping[str, object], place: Place) -> bool:
    if "start" not in table:
        return False
    return toml_values.choice(table["start"], STARTS, place.of("start")) == "manual"


def _config(value: object, where: str) -> tuple[tuple[str, ConfigValue], ...]:
    if not isinstance(value, dict):
        raise UserError("is not a table", where=where, fix="write { name = value }")
    entries: list[tuple[str, ConfigValue]] = []
    for name, item in value.items():
        if not _CONFIG_NAME.fullmatch(name):
            raise UserError(f"{name!r} cannot name a property", where=where, fix="rename it")
        if isinstance(item, str):
            entries.append((name, string(item, where)))
        elif isinstance(item, int) and not isinstance(item, bool) and -(2**31) <= item < 2**32:
            entries.append((name, item))
        else:
            raise UserError(
                f"{name} is neither a string nor a 32-bit number", where=where, fix="give one"
            )
    return tuple(entries)


def _optional_number(
    table: Mapping[str, object], key: str, place: Place, base: int | None
) -> int | None:
    return number(table[key], place.of(key)) if key in table else base
