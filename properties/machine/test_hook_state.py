# SPDX-License-Identifier: Apache-2.0
"""The state that the C hooks share with Python is written down twice: field by field the same."""

import ctypes as c
import re
from enum import IntEnum
from pathlib import Path

import pytest

from aether_edgecloud.emulator.cpu import hooks
from aether_edgecloud.emulator.cpu.hooks import (
    ExitRecord,
    FilledPage,
    HookState,
    KeptAnswer,
    KeptFault,
    StopReason,
    SysregAction,
    TlbEntry,
    WatchedBlock,
)

HEADER = Path(hooks.__file__).with_name("hooks.h").read_text(encoding="utf-8")
CODE = re.sub(r"//.*", "", HEADER)
TYPES = {"uint8_t": c.c_uint8, "uint64_t": c.c_uint64, "uint32_t": c.c_uint32, "int32_t": c.c_int32}


def fields(struct: str) -> list[tuple[str, object]]:
    """Name and ctypes type of each member of a struct in hooks.h; pointers are void pointers."""
    body = re.search(rf"struct {struct} \{{(.*?)\n\}};", CODE, re.DOTALL)
    assert body is not None
    found: list[tuple[str, object]] = []
    for declaration in body[1].split(";"):
        words = re.fullmatch(r"(struct )?(\w+) (\*?)(\w+)(?:\[(\d+)\])?", declaration.strip())
        if words is None:
            assert not declaration.strip(), declaration
            continue
        _, kind, pointer, name, length = words.groups()
        base = c.c_void_p if pointer or kind.endswith("_fn") else TYPES[kind]
        found.append((name, base * int(length) if length else base))
    return found


@pytest.mark.parametrize(
    ("struct", "mirror"),
    [
        ("hook_state", HookState),
        ("watched_block", WatchedBlock),
        ("kept_answer", KeptAnswer),
        ("exit_record", ExitRecord),
        ("kept_fault", KeptFault),
        ("tlb_entry", TlbEntry),
        ("uc_tlb_entry", FilledPage),
    ],
)
def test_the_mirror_of_a_struct(struct: str, mirror: type[c.Structure]) -> None:
    assert [tuple(field[:2]) for field in mirror._fields_] == fields(struct)


@pytest.mark.parametrize(
    ("name", "prefix", "mirror"),
    [("stop_reason", "STOP_", StopReason), ("sysreg_action", "SYSREG_", SysregAction)],
)
def test_the_mirror_of_an_enum(name: str, prefix: str, mirror: type[IntEnum]) -> None:
    body = re.search(rf"enum {name} \{{(.*?)\}};", CODE, re.DOTALL)
    assert body is not None
    stated = {n: int(v) for n, v in re.findall(rf"{prefix}(\w+) = (\d+)", body[1])}
    assert stated == {member.name: member.value for member in mirror}
