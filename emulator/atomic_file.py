# SPDX-License-Identifier: Apache-2.0
"""Writing a file whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from aether_edgecloud.emulator.errors import UserError


def write(path: Path, data: bytes) -> None:
    """Makes `data` the content of `path`, as `replacing` does."""
    with replacing(path) as file:
        file.write(data)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file whose content becomes that of `path` when the block ends, through a temporary file
    beside it.

    A reader sees the old content or the new one, never a part; on any failure `path` is as it was
    and no temporary file stays. What is no regular file (a pipe, /dev/null) is written directly.
    Raises UserError when the place cannot be written.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            with path.open("wb") as file:
                yield file
        else:
            with _beside(path) as file:
                yield file
    except OSError as e:
        raise UserError(
            f"cannot be written ({e.strerror})", where=str(path), fix="name a file you may write"
        ) from None


@contextmanager
def _beside(path: Path) -> Iterator[BinaryIO]:
    if path.is_dir():
        raise IsADirectoryError(21, "it is a directory")
    target = path.resolve()
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, _mode(target))
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


def _mode(target: Path) -> int:
    """The permissions the file has, or those a plainly created file would get."""
    if target.exists():
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
