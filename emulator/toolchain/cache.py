# SPDX-License-Identifier: Apache-2.0
"""The user's cache folder. What appears in it appears whole: it is built aside and renamed."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aether_edgecloud.emulator.errors import UserError


def cache_root() -> Path:
    """`AETHER_CACHE`, else `XDG_CACHE_HOME`/aether-edgecloud, else ~/.cache/aether-edgecloud."""
    chosen = os.environ.get("AETHER_CACHE")
    if chosen:
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache").absolute() / "aether-edgecloud"


def cache_folder(name: str) -> Path:
    """A sub-folder of the cache, made if need be. UserError if that cannot be done."""
    folder = cache_root() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the cache folder cannot be made: {error.strerror}",
            where=str(folder),
            fix="set AETHER_CACHE to a folder you may write to",
        ) from error
    return folder


@contextmanager
def aside(parent: Path) -> Iterator[Path]:
    """A fresh folder beside the final ones, for `publish`; removed if it was not published."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".building-", dir=parent))
    except OSError as error:
        raise UserError(
            f"nothing can be written here: {error.strerror}",
            where=str(parent),
            fix="set AETHER_CACHE to a folder you may write to",
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(folder: Path, final: Path) -> bool:
    """Rename `folder` to `final`; False if something lies there already."""
    folder.chmod(0o755)
    try:
        folder.rename(final)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            return False
        raise UserError(
            f"the built files cannot be put in place: {error.strerror}",
            where=str(final),
            fix="set AETHER_CACHE to a folder you may write to",
        ) from error
    return True
