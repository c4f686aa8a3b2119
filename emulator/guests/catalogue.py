# SPDX-License-Identifier: Apache-2.0
"""Which guests there are, where they come from, and the VM each one wants.

A stub is named `NAME[:CASE][=COUNT]`: some do one of several things, some count their rounds.
"""

import difflib
import re
from dataclasses import dataclass, replace

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.bundle.build import KERNEL_MEMORY
from aether_edgecloud.emulator.bundle.description import (
    Content,
    ImageBytes,
    ImageFile,
    VmDescription,
)
from aether_edgecloud.emulator.bundle.manifest import DeviceKind, Memory
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.guests import initramfs, store
from aether_edgecloud.guest_stubs import catalogue as stubs
from aether_edgecloud.guest_stubs.catalogue import Stub

DEFAULT = "hello"

_STUB_PREFIX = "stub:"
_MEMORY_IPA = 0x4000_0000
_IMAGE_IPA = 0x4020_0000
_STUB = re.compile(r"(?P<name>[^:=]+)(?::(?P<case>[^:=]+))?(?:=(?P<count>[0-9]{1,9}))?")


@dataclass(frozen=True, slots=True)
class PackagedFile:
    """A file of a Debian package. In both names `*` may stand for a version number."""

    package: str
    file: str


@dataclass(frozen=True, slots=True)
class PackagedGuest:
    """A guest inside Debian packages: its image first, then what it needs besides."""

    name: str
    summary: str
    parts: tuple[PackagedFile, ...]

    @property
    def package(self) -> str:
        """Where its image comes from."""
        return self.parts[0].package


U_BOOT = PackagedGuest(
    name="u-boot",
    summary="U-Boot for QEMU's virt board, unmodified",
    parts=(PackagedFile("u-boot-qemu", "usr/lib/u-boot/qemu_arm64/u-boot.bin"),),
)
LINUX = PackagedGuest(
    name="linux",
    summary="Linux 6.1 for clouds, unmodified, with an initramfs of busybox",
    parts=(
        PackagedFile("linux-image-6.1.0-*-cloud-arm64", "boot/vmlinuz-*"),
        PackagedFile("busybox-static", "bin/busybox"),
    ),
)
XEN = PackagedGuest(
    name="xen",
    summary="Xen, unmodified, with its symbols: no guest, runs at EL2 itself (--bare)",
    parts=(
        PackagedFile("xen-hypervisor-*-arm64", "boot/xen-*-arm64"),
        PackagedFile("xen-hypervisor-*-arm64-dbg", "usr/lib/debug/boot/xen-syms-*-arm64"),
    ),
)
PACKAGED = (U_BOOT, LINUX, XEN)


def stub_names() -> tuple[str, ...]:
    """The embedded guests, by name."""
    return tuple(stub.name for stub in stubs.STUBS)


def packaged(name: str) -> PackagedGuest:
    """The guest of that name which comes from a package. UserError when there is none."""
    for guest in PACKAGED:
        if guest.name == name:
            return guest
    if name in stub_names():
        raise UserError(
            f"{name!r} is embedded and needs no fetching", fix=f"run `aether run {name}`"
        )
    raise _unknown(name, tuple(g.name for g in PACKAGED))


def description(
    name: str, *, cpus: int | None = None, memory: int | None = None, then: str | None = None
) -> VmDescription:
    """The VM for the guest `name`, its image built or found in the store.

    `cpus` vCPUs, `memory` bytes in place of what the guest has anyway. `then` is for `linux`: what
    its /init does in the end, one of `initramfs.THEN`. Raises UserError for an unknown guest and
    for one that has not been fetched.
    """
    found = _described(name)
    if memory is not None:
        found = replace(found, memory=(replace(found.memory[0], size=memory), *found.memory[1:]))
    if then is not None:
        if name != LINUX.name or then not in initramfs.THEN:
            raise UserError(
                f"{name!r} has no end {then!r}", fix=f"linux has {', '.join(initramfs.THEN)}"
            )
        found = replace(found, bootargs=f"{found.bootargs} aether.then={then}")
    return found if cpus is None else replace(found, vcpus=cpus)


def _described(name: str) -> VmDescription:
    match name:
        case U_BOOT.name:
            return _u_boot()
        case LINUX.name:
            return _linux()
        case XEN.name:
            fix = f"`aether guests copy {XEN.name} FOLDER` gives its files"
            raise UserError(f"{name!r} is a hypervisor, to be run with --bare --kernel", fix=fix)
        case _:
            return _stub(name)


def _u_boot() -> VmDescription:
    return VmDescription(
        name=U_BOOT.name,
        memory=(Memory(_MEMORY_IPA, 64 << 20),),
        # This build reads its environment from flash at 0x04000000 without asking the DTB. Blank
        # memory there makes it say "bad CRC" and take its default one, as with blank flash.
        hidden_memory=(Memory(0x0400_0000, 0x4_0000),),
        images=(ImageFile(store.image(U_BOOT.name), _IMAGE_IPA),),
        # Straight to the prompt: its countdown would take piped input for keys that stop it.
        config=(("bootdelay", -1),),
        where=f"guest {U_BOOT.name}",
    )


def _linux() -> VmDescription:
    kernel, busybox = store.files(LINUX.name)
    return VmDescription(
        name=LINUX.name,
        memory=(KERNEL_MEMORY,),
        kernel=kernel,
        ramdisk=Content("initramfs.cpio", initramfs.build(busybox.read_bytes())),
        # What it says before its driver of the console is there comes out too.
        bootargs="earlycon",
        where=f"guest {LINUX.name}",
    )


def _stub(name: str) -> VmDescription:
    match = _STUB.fullmatch(name)
    stub = next((s for s in stubs.STUBS if match and s.name == match["name"]), None)
    if match is None or stub is None:
        raise _unknown(name, stub_names() + tuple(g.name for g in PACKAGED))
    return _stub_description(name, stub, match["case"], match["count"])


def _stub_description(
    target: str, stub: Stub, case: str | None, count: str | None
) -> VmDescription:
    numbers = {c.name: c.number for c in stub.cases}
    if case is not None and case not in numbers:
        listed = f"its cases: {', '.join(numbers)}" if numbers else "it has none: leave `:` out"
        raise UserError(f"stub {stub.name!r} has no case {case!r}", fix=listed)
    if count is not None and stub.default_parameter is None:
        raise UserError(f"stub {stub.name!r} counts nothing", fix="leave `=` out")
    image = stubs.patched(
        toolchain.artefact(_STUB_PREFIX + stub.name).flat.read_bytes(),
        case=0 if case is None else numbers[case],
        parameter=0 if count is None else int(count),
    )
    return VmDescription(
        name=vm_name(stub.name),
        memory=(Memory(stub.memory_base, stub.memory_size),),
        images=(ImageBytes(f"{stub.name}.bin", image, stub.entry),),
        vcpus=stub.vcpus,
        devices=(DeviceKind.VGICV2, DeviceKind.VPL011) if stub.gic else None,
        where=f"guest {target}",
    )


def vm_name(name: str) -> str:
    """A guest's name as that of a VM: 1 to 15 of a-z, 0-9 and '-'."""
    return re.sub(r"[^a-z0-9-]", "-", name.lower())[:15]


def _unknown(name: str, known: tuple[str, ...]) -> UserError:
    close = difflib.get_close_matches(name, known, n=1)
    listed = "`aether guests` lists them; FILE.toml and FILE.bundle work too"
    fix = f"did you mean {close[0]!r}? {listed}" if close else listed
    return UserError(f"no guest is called {name!r}", fix=fix)
