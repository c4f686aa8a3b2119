# SPDX-License-Identifier: Apache-2.0
"""VMs and their schedule as people write them, in TOML.

    [schedule]                                      # default: equal shares of 10 ms
    frame = "10ms"
    window = "64us"
    cpus = [[{ vm = "linux", length = "6ms" }, { vm = "u-boot", length = "4ms" }]]

    [[vm]]
    name = "linux"
    kernel = "Image"                                # or guest = "linux", or images
    ramdisk = "initramfs.cpio"
    bootargs = "quiet"
    memory = "128MiB"
    vcpus = 1
    restart = "crash"                               # or "always", or "never"

    [[vm]]
    name = "u-boot"
    memory = [{ ipa = 0x40000000, size = "64MiB" }]
    images = [{ file = "u-boot.bin", ipa = 0x40200000 }]

Files are looked for beside the TOML file. `manifest.schema.json` beside this file says the same to
programs, and the manual of the manifest says it to people.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from aether_edgecloud.emulator.bundle import toml_values, toml_vm
from aether_edgecloud.emulator.bundle.description import (
    Description,
    ScheduleDescription,
    SlotDescription,
)
from aether_edgecloud.emulator.bundle.schedule import FRAME_US, WINDOW_US
from aether_edgecloud.emulator.bundle.toml_values import Place
from aether_edgecloud.emulator.errors import UserError

KEYS = ("vm", "schedule")
SCHEDULE_KEYS = ("frame", "window", "cpus")
SLOT_KEYS = ("vm", "vcpu", "length")
SCHEMA = Path(__file__).with_name("manifest.schema.json")
"""The same rules as a JSON Schema."""

_SYNTAX = re.compile(r"(.*) \(at line (\d+), column (\d+)\)")


def load(path: Path) -> Description:
    """What a TOML file describes. Raises UserError with file and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as e:
        raise UserError(
            f"cannot be read ({e.strerror})", where=str(path), fix="name a file that exists"
        ) from None
    except UnicodeDecodeError:
        raise UserError("is not UTF-8 text", where=str(path), fix="give a TOML file") from None
    return parse(text, file=str(path), folder=path.parent)


def parse(text: str, *, file: str, folder: Path) -> Description:
    """What TOML text describes; `file` names it in messages, `folder` is where its files lie."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, ValueError) as e:
        raise _syntax_error(str(e), text, file) from None
    except RecursionError:
        raise UserError("is nested too deeply", where=file, fix="write it flat") from None
    toml_values.refuse_unknown(document, KEYS, file)
    tables = document.get("vm")
    if not isinstance(tables, list) or not tables:
        raise UserError("describes no VM", where=file, fix="begin one with [[vm]]")
    places = toml_values.find_places(text, file, len(tables))
    vms = tuple(toml_vm.read(t, p, folder) for t, p in zip(tables, places.vms, strict=True))
    if "schedule" not in document:
        return Description(vms, ScheduleDescription(where=file))
    return Description(vms, _schedule(document["schedule"], places.schedule))


def _syntax_error(message: str, text: str, file: str) -> UserError:
    """tomllib's message, which ends with the place, as ours, which begins with it."""
    if match := _SYNTAX.fullmatch(message):
        return UserError(match[1], where=f"{file}:{match[2]}:{match[3]}", fix="correct the TOML")
    last = len(text.splitlines())
    words = message.removesuffix(" (at end of document)")
    return UserError(words, where=f"{file}:{last}", fix="correct the TOML")


def _schedule(table: object, place: Place) -> ScheduleDescription:
    if not isinstance(table, dict):
        raise UserError("is not a table", where=str(place), fix="begin it with [schedule]")
    toml_values.refuse_unknown(table, SCHEDULE_KEYS, str(place), place)
    cpus = None
    if "cpus" in table:
        where = place.of("cpus")
        cpus = tuple(
            tuple(
                _slot(item, f"{where}: CPU {cpu}, slot {index}")
                for index, item in enumerate(toml_values.items(slots, where))
            )
            for cpu, slots in enumerate(toml_values.items(table["cpus"], where))
        )
    return ScheduleDescription(
        _time(table, "frame", place, FRAME_US),
        _time(table, "window", place, WINDOW_US),
        cpus,
        place.of("cpus") if "cpus" in table else place.of("schedule"),
    )


def _time(table: Mapping[str, object], key: str, place: Place, default: int) -> int:
    return toml_values.time(table[key], place.of(key)) if key in table else default


def _slot(item: object, where: str) -> SlotDescription:
    table = toml_values.inline_table(item, SLOT_KEYS, where)
    if "vm" not in table and "vcpu" in table:
        raise UserError("a vCPU of no VM", where=where, fix="say vm = ...")
    return SlotDescription(
        toml_values.string(table["vm"], where) if "vm" in table else None,
        toml_values.number(table["vcpu"], where) if "vcpu" in table else None,
        toml_values.time(toml_values.get(table, "length", where), where),
        where,
    )
