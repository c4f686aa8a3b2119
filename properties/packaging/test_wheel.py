# SPDX-License-Identifier: Apache-2.0
"""The built distributions: everything is in them, and the same binary comes out of each."""

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from aether_edgecloud.emulator import toolchain

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("el2", "emulator", "guest_stubs", "properties", "stage2")

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and the wheel built from it, in fresh environments."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return out


def tracked(*folders: str) -> set[str]:
    """The files that git knows, or would take, below some folders."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *folders]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout: clone the repository")
    return {name for name in done.stdout.splitlines() if (ROOT / name).is_file()}


def test_the_sdist_holds_the_whole_project(distributions: Path) -> None:
    (path,) = distributions.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    others = {"LICENSE", "NOTICE", "README.md", "Makefile", "pyproject.toml", "setup.py", "tox.ini"}
    assert not (tracked(*FOLDERS, "docs", ".ci") | others) - inside


def test_the_wheel_holds_every_file_of_the_packages(distributions: Path) -> None:
    (path,) = distributions.glob("*.whl")
    inside = set(zipfile.ZipFile(path).namelist())
    assert not {f"aether_edgecloud/{name}" for name in tracked(*FOLDERS)} - inside


def test_the_wheel_carries_every_artefact(distributions: Path) -> None:
    (path,) = distributions.glob("*.whl")
    wheel = zipfile.ZipFile(path)
    shipped = {}
    for name in wheel.namelist():
        if "/toolchain/shipped/" in name and name.endswith((".bin", ".so")):
            shipped[Path(name).parent.name] = hashlib.sha256(wheel.read(name)).hexdigest()
    for name in toolchain.recipe_names(ROOT):
        artefact = toolchain.artefact(name, root=ROOT)
        assert shipped.pop(artefact.flat.parent.name) == artefact.sha256, name
    assert not shipped
