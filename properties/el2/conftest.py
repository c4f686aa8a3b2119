# SPDX-License-Identifier: Apache-2.0
"""The hypervisor's readers as a program of this machine, and QEMU runs of the hypervisor."""

import shutil
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from aether_edgecloud.emulator.toolchain import Artefact

from .host_console import Console
from .host_readers import Readers

ROOT = Path(__file__).resolve().parents[2]
READERS = ("host/readers.c", "board.c", "bundle.c", "fdt.c", "manifest.c", "uart.c")
CONSOLE = ("host/console.c", "console.c", "vpl011.c")
FLAGS = (
    "-std=c11",
    "-O1",
    "-g",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Werror",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
)
QEMU_LIMIT_S = 120


def host_build(target: Path, sources: tuple[str, ...], includes: tuple[str, ...]) -> Path:
    """A program of this machine, with sanitizers, from files of el2/."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no compiler with ASan: apt-get install gcc")
    paths = [f"-I{path}" for path in includes] + [f"el2/{name}" for name in sources]
    subprocess.run([compiler, *FLAGS, *paths, "-o", str(target)], cwd=ROOT, check=True)
    return target


@pytest.fixture(scope="session")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Generator[Readers, None, None]:
    target = tmp_path_factory.mktemp("readers") / "readers"
    program = host_build(target, READERS, ("el2/include", "stage2/include"))
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield Readers(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait() == 0


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Console]:
    """Starts the console of so many VMs."""
    target = tmp_path_factory.mktemp("console") / "console"
    includes = ("el2/host/include", "el2/include", "stage2/include")
    program = host_build(target, CONSOLE, includes)
    return lambda vms: Console(program, vms)


@pytest.fixture(scope="session")
def boot(qemu: Path, el2: Artefact, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """The console of the hypervisor on QEMU with these bytes as its bundle, to the end."""

    def run(
        bundle: bytes | None,
        *,
        memory: str = "256M",
        machine: str = "gic-version=2",
        cpu: str = "cortex-a72",
    ) -> str:
        command = [str(qemu), "-M", f"virt,virtualization=on,{machine}", "-cpu", cpu]
        command += ["-m", memory, "-nographic", "-kernel", str(el2.flat)]
        if bundle is not None:
            file = tmp_path_factory.mktemp("boot") / "bundle"
            file.write_bytes(bundle)
            command += ["-initrd", str(file)]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=QEMU_LIMIT_S
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode("latin-1")

    return run
