# SPDX-License-Identifier: Apache-2.0
"""The option --guest-loader, as QEMU's `-device guest-loader` is written."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch.foreign import QemuStyle
from aether_edgecloud.emulator.launch.guest_loader import Module, ModuleKind, parse
from aether_edgecloud.emulator.qemu.command import foreign_arguments

TEXTS = st.text(st.characters(exclude_characters="\0"), min_size=1)


@given(
    st.integers(0, 1 << 40),
    TEXTS.filter(lambda text: str(Path(text)) == text),
    st.sampled_from(ModuleKind),
    st.none() | TEXTS,
)
def test_what_is_written_for_qemu_is_read_back(
    address: int, file: str, kind: ModuleKind, bootargs: str | None
) -> None:
    words = bootargs if kind is ModuleKind.KERNEL else None
    module = Module(address, Path(file), kind, words)
    arguments = foreign_arguments(QemuStyle(Path("k"), modules=(module,)), icount=False)
    assert parse(arguments[arguments.index("-device") + 1]) == module


def test_as_a_person_writes_it() -> None:
    assert parse("addr=0x49000000,kernel=Image,bootargs=console=hvc0 a=b,,c") == Module(
        0x4900_0000, Path("Image"), ModuleKind.KERNEL, "console=hvc0 a=b,c"
    )
    assert parse("initrd=cpio,addr=0x4c000000").kind is ModuleKind.RAMDISK


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'' is not known"),
        ("kernel=Image", "there is no addr"),
        ("addr=0x49000000", "there is no kernel and no initrd"),
        ("addr=1,kernel=a,initrd=b", "kernel and initrd exclude each other"),
        ("addr=1,kernel=", "kernel names no file"),
        ("addr=soon,kernel=a", "'soon' is no address"),
        ("addr=-1,kernel=a", "'-1' is no address"),
        ("addr=1,addr=2,kernel=a", "addr is given twice"),
        ("addr=1,initrd=a,bootargs=b", "bootargs are for a kernel"),
        ("addr=1,kernel=a,b", "'b' is not known"),
        ("addr=1,kernel=a,colour=red", "'colour=red' is not known"),
    ],
)
def test_what_is_refused(text: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(text)
    assert str(caught.value).startswith(f"--guest-loader: {words}; write addr=ADDR,")
