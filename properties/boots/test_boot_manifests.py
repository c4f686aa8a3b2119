# SPDX-License-Identifier: Apache-2.0
"""The real binary on any manifest: guests as described, or one line and the end; and it takes what
the Python side takes."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.bundle import check, fdt, format, manifest
from aether_edgecloud.emulator.bundle.manifest import Image, Manifest, Memory, Restart, Vm
from aether_edgecloud.emulator.bundle.schedule import CpuSlots, Schedule, Slot
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.properties.boots.booting import Refused, boot, layout
from aether_edgecloud.properties.boots.invariants import assert_as_described, assert_sound
from aether_edgecloud.properties.boots.manifests import (
    CPUS,
    RAM_SIZE,
    Case,
    broken,
    manifests,
    rearranged,
)
from aether_edgecloud.properties.el2.damage import damaged

EXAMPLES = settings().max_examples // 12
BOARD = virt(RAM_SIZE, CPUS)
ONLY_OF_THE_TOOLS = (
    "list each CPU once, from CPU 0 on",
    "is started by hand, and no VM manages it",
    "is not as one is",  # a host-address where none is looked for
)
"""Rules that spare a user a surprise, and on which the hypervisor does not rely."""


def packed(tree: bytes, blobs: tuple[bytes, ...]) -> bytes:
    return format.pack(format.Bundle(tree, tuple(format.Blob("blob", blob) for blob in blobs)))


@dataclass(frozen=True, slots=True)
class Reading:
    """What the tools make of a manifest: None where its shape is not as they write it; and why they
    would not run it."""

    manifest: Manifest | None
    refusal: str | None


def read(tree: bytes, blobs: tuple[bytes, ...], size: int) -> Reading:
    try:
        found = manifest.decode(tree, where="test")
    except UserError as error:
        return Reading(None, str(error))
    try:
        where = [f"vm@{i}" for i in range(len(found.vms))] or ["test"]
        sizes = [len(blob) for blob in blobs]
        check.check(found, sizes, where=where, host=layout(BOARD, size))
    except UserError as error:
        return Reading(found, str(error))
    return Reading(found, None)


def judge(tree: bytes, blobs: tuple[bytes, ...], *, boots: bool = False) -> None:
    """Boots it, and checks whatever comes of it."""
    bundle = packed(tree, blobs)
    reading = read(tree, blobs, len(bundle))
    found = boot(BOARD, bundle)
    if isinstance(found, Refused):
        # Python does not find places for memory.
        known = reading.refusal is not None or "no free range of that size" in found.line
        assert known and not boots, found.line
        return
    try:
        assert_sound(found)
        if reading.manifest is None:
            return  # the hypervisor passes over what it does not know
        assert reading.refusal is None or any(
            rule in reading.refusal for rule in ONLY_OF_THE_TOOLS
        ), f"the hypervisor takes what the tools refuse: {reading.refusal}"
        assert_as_described(found, reading.manifest, blobs)
    finally:
        found.machine.close()


@settings(max_examples=EXAMPLES)
@given(manifests())
def test_a_sound_manifest_boots(case: Case) -> None:
    whole, blobs = case
    judge(manifest.encode(whole), blobs, boots=True)


@pytest.mark.parametrize("restart", Restart)
def test_a_guest_that_executes_nothing_boots(restart: Restart) -> None:
    """Its entry is in front of its image, an undefined instruction, and its vectors nowhere."""
    entry = 0x4034_0000
    vm = Vm(
        name="z",
        vcpus=1,
        entry=entry,
        dtb_address=0,
        memory=(Memory(entry, 0x6000),),
        images=(Image(0, entry + 0x400),),
        devices=(),
        restart=restart,
    )
    schedule = Schedule(1000, 100, (CpuSlots(0, (Slot(0, 0, 1000),)),))
    judge(manifest.encode(Manifest((vm,), schedule)), (b"\0\0\0\x14",), boots=True)


@settings(max_examples=EXAMPLES)
@given(manifests().flatmap(lambda case: st.tuples(broken(case[0]), st.just(case[1]))))
def test_a_manifest_with_one_value_wrong(case: Case) -> None:
    whole, blobs = case
    judge(manifest.encode(whole), blobs)


@settings(max_examples=EXAMPLES)
@given(st.data())
def test_a_manifest_with_nodes_moved(data: st.DataObject) -> None:
    whole, blobs = data.draw(manifests(most=2))
    root = fdt.read(manifest.encode(whole), where="test")
    for _ in range(data.draw(st.integers(1, 3))):
        root = data.draw(rearranged(root))
    judge(fdt.write(root), blobs)


@settings(max_examples=EXAMPLES)
@given(st.data())
def test_a_damaged_manifest(data: st.DataObject) -> None:
    whole, blobs = data.draw(manifests(most=2))
    judge(data.draw(damaged(manifest.encode(whole))) or b"x", blobs)
