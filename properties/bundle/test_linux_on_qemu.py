# SPDX-License-Identifier: Apache-2.0
"""The real kernel with what it is given here, on QEMU without a hypervisor: QEMU's virt board has
GIC, timer, UART and PSCI where a VM has them, so DTB and initramfs are judged by Linux alone."""

import subprocess
from pathlib import Path

import pytest

from aether_edgecloud.emulator.bundle import build
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.guests import catalogue, store

LIMIT_S = 240


@pytest.fixture(scope="module")
def kernel() -> Path:
    """The guest `linux`, or a skip."""
    try:
        return store.image("linux")
    except UserError as error:
        pytest.skip(str(error))


def boot(qemu: Path, kernel: Path, folder: Path, then: str, cpus: int) -> list[str]:
    """What a boot says, line by line."""
    vm = catalogue.description("linux", cpus=cpus, then=then)
    _, bundle = build.open_bundle(build.build((vm,), where="x"), where="x")
    for name in ("initramfs.cpio", "linux.dtb"):
        data = next(blob.data for blob in bundle.blobs if blob.name == name)
        (folder / name).write_bytes(data)
    command = [
        str(qemu), "-M", "virt,gic-version=2", "-cpu", "cortex-a72", "-smp", str(cpus),
        "-m", "128M", "-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot",
        "-nodefaults", "-kernel", str(kernel), "-initrd", str(folder / "initramfs.cpio"),
        "-dtb", str(folder / "linux.dtb"),
    ]  # fmt: skip
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode("latin-1").replace("\r", "").splitlines()


def test_linux_gets_to_userspace_and_powers_off(qemu: Path, kernel: Path, tmp_path: Path) -> None:
    lines = boot(qemu, kernel, tmp_path, "poweroff", 2)
    text = "\n".join(lines)
    assert "aether: userspace, 2 cpus" in lines
    assert lines[-1].endswith("reboot: Power down")
    assert "arch_timer: cp15 timer(s) running at 62.50MHz (virt)" in text
    assert "ttyAMA0 at MMIO 0x9000000" in text, "the console has its driver, and its interrupt"
    assert "Root IRQ handler: gic_handle_irq" in text


@pytest.mark.nightly
@pytest.mark.parametrize("cpus", [1, 4, 8])
@pytest.mark.parametrize(
    ("then", "words"),
    [
        ("reboot", "reboot: Restarting system"),
        ("sysrq", "Kernel panic - not syncing: sysrq triggered crash"),
        ("wild-store", "aether: store to 0x20000000"),
    ],
)
def test_every_end(
    qemu: Path, kernel: Path, tmp_path: Path, then: str, words: str, cpus: int
) -> None:
    lines = boot(qemu, kernel, tmp_path, then, cpus)
    assert f"aether: userspace, {cpus} cpus" in lines
    assert any(words in line for line in lines)
