# SPDX-License-Identifier: Apache-2.0
"""The hypervisor maintains the caches where it has to: with caches that do not agree it does what
it does without. Not so if its cache maintenance is left out."""

import ctypes as c
import functools
import re
from pathlib import Path

import pytest

from aether_edgecloud.emulator.adversary.plan import Plan
from aether_edgecloud.emulator.arch import sysregs
from aether_edgecloud.emulator.cpu import hooks, views
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.hooks import SysregAction
from aether_edgecloud.emulator.launch import binary, machine, request
from aether_edgecloud.emulator.machine import Machine, StopKind
from aether_edgecloud.properties.adversary.cached_programs import adversary_of

_LIMIT = 3_000_000


def _boot(plan: Plan | None) -> Machine:
    return machine.build_machine(request.build_request("hello", binary.load(None), adversary=plan))


@functools.cache
def _expected() -> bytes:
    plain = _boot(None)
    assert plain.run(_LIMIT).kind is StopKind.SYSTEM_OFF
    return bytes(plain.console.output)


@pytest.mark.parametrize(("seed", "rate"), [(0, 0), (1, 128), (0, 256)])
def test_the_hypervisor_and_a_guest(seed: int, rate: int) -> None:
    of = _boot(Plan(caches=True, seed=seed, rate=rate))
    assert of.run(_LIMIT).kind is StopKind.SYSTEM_OFF
    assert bytes(of.console.output) == _expected()
    assert not adversary_of(of).uninitialised
    of.close()


def test_its_maintenance_is_needed() -> None:
    of = _boot(Plan(caches=True, rate=256))
    for op in sysregs.SYSOPS:
        if op.name.startswith("DC ") and op.name != "DC ZVA":
            key = reg.key(1, op.op1, op.crn, op.crm, op.op2)
            of.cpu.engine.tables.actions[key] = SysregAction.NATIVE
    of.run(_LIMIT)
    assert bytes(of.console.output) != _expected()
    of.close()


@pytest.mark.usefixtures("kind_machine")
def test_a_machine_without_it_does_what_it_did() -> None:
    of = _boot(None)
    assert not of.attachments
    assert not of.cpu.state.views
    assert of.cpu.translation.walker is None
    of.close()


HEADER = Path(hooks.__file__).with_name("views.h").read_text(encoding="utf-8")


def test_the_mirror_of_the_views() -> None:
    body = re.search(r"struct views \{(.*?)\n\};", re.sub(r"//.*", "", HEADER), re.DOTALL)
    assert body is not None
    found = []
    for declaration in filter(None, (d.strip() for d in body[1].split(";"))):
        kind, name = declaration.rsplit(maxsplit=1)
        is_pointer = name.startswith("*") or kind.endswith("_fn")
        number = c.c_uint64 if kind == "uint64_t" else c.c_uint32
        found.append((name.lstrip("*"), c.c_void_p if is_pointer else number))
    assert [tuple(field[:2]) for field in views.Views._fields_] == found


@pytest.mark.parametrize(
    ("prefix", "mirror"), [("LOOK_", views.Look), ("MAINTAIN_", views.Maintain)]
)
def test_the_mirror_of_numbers(prefix: str, mirror: type[views.Look]) -> None:
    stated = dict(re.findall(rf"{prefix}(\w+)(?: =)? (\d+)u?\b", HEADER))
    assert {n: int(v) for n, v in stated.items()} == {m.name: m.value for m in mirror}


def test_the_bits_of_a_page() -> None:
    stated = dict(re.findall(r"#define PAGE_(\w+) (\d+)u", HEADER))
    assert {n: int(v) for n, v in stated.items()} == {m.name: m.value for m in views.PageBit}
