"""The disk as a power cut leaves it: whatever no fsync had asked for is gone.

A preloaded shim keeps, at each fsync and fdatasync below a folder, a copy of the file, or of a
folder's list of names. It kills the process just before the n-th takes effect. What was kept by
then is the disk after the cut, at its worst: no byte and no name that was not synced. (A kinder
disk has some of the rest; `disk_after` can throw dice for that.)
"""

import atexit
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from sandbox_client import Control

from crash import KILLED, MODELS, Api, Batch, Driver, Fault

SHIM = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
static long seen;

static void keep_names(int fd, FILE *to) {
    DIR *folder = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY));
    struct dirent *entry;
    while ((entry = readdir(folder)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            fprintf(to, "%c%lu %s\n", entry->d_type == DT_DIR ? 'd' : 'f',
                    (unsigned long)entry->d_ino, entry->d_name);
    closedir(folder);
}

static void keep_bytes(const char *path, FILE *to) {
    char block[65536];
    size_t size;
    FILE *from = fopen(path, "rb");
    while (from && (size = fread(block, 1, sizeof block, from)) > 0)
        fwrite(block, 1, size, to);
    if (from)
        fclose(from);
}

static void keep(int fd) {
    const char *below = getenv("CUT_BELOW"), *kept = getenv("CUT_KEPT"), *at = getenv("CUT_AT");
    char link[64], path[4096], name[4200];
    struct stat about;
    ssize_t length;
    FILE *to;
    if (!below || !kept || !at)
        return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0 || fstat(fd, &about))
        return;
    path[length] = 0;
    if (strncmp(path, below, strlen(below)))
        return;
    pthread_mutex_lock(&one);
    if (++seen == atol(at))
        kill(getpid(), SIGKILL);
    snprintf(name, sizeof name, "%s/%c%lu", kept, S_ISDIR(about.st_mode) ? 'd' : 'f',
             (unsigned long)about.st_ino);
    to = fopen(name, "wb");
    if (S_ISDIR(about.st_mode))
        keep_names(fd, to);
    else
        keep_bytes(path, to);
    fclose(to);
    pthread_mutex_unlock(&one);
}

int fsync(int fd) {
    keep(fd);
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}

int fdatasync(int fd) {
    keep(fd);
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
"""


def compiled(folder: Path) -> Path:
    """Build the shim; raises CalledProcessError where that is impossible."""
    source, library = folder / "powercut.c", folder / "powercut.so"
    source.write_text(SHIM)
    command = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
    subprocess.run([*command, "-lpthread"], check=True, capture_output=True)
    return library


@cache
def shimmed() -> Driver:
    """The driver whose runs have the shim, which all tests of this process share; skips the test
    where the shim cannot be built."""
    if not sys.platform.startswith("linux") or shutil.which("gcc") is None:
        pytest.skip("the power-cut shim needs Linux and gcc")
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    try:
        library = compiled(Path(folder.name))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"gcc cannot build the power-cut shim: {error.stderr[-200:]!r}")
    found = Driver({"LD_PRELOAD": str(library)})
    atexit.register(found.close)
    return found


class PoweredBatch(Batch):
    """A batch whose folder is on a disk that loses its power."""

    make_driver = staticmethod(shimmed)

    def __init__(
        self,
        root: Path,
        reach: Sequence[str],
        sandbox: Control,
        rows: int = 3,
        *,
        api: Api = MODELS,
    ) -> None:
        super().__init__(root, reach, sandbox, rows, api=api)
        self.disk, self.copies = root / "disk", root / "kept"
        self.out = self.disk / "out"
        self.words[self.words.index("--out") + 1] = str(self.out)

    def begin_again(self) -> None:
        shutil.rmtree(self.disk, ignore_errors=True)
        self.disk.mkdir()
        self.sandbox.reset()

    def cut(self, n: int, *faults: Fault) -> bool:
        """Run until the n-th fsync is to take effect; False if the run ended before that."""
        shutil.rmtree(self.copies, ignore_errors=True)
        self.copies.mkdir()
        told = {"CUT_BELOW": str(self.disk), "CUT_KEPT": str(self.copies), "CUT_AT": str(n)}
        os.environ.update(told)
        try:
            code = self.run(*faults)
        finally:
            for name in told:
                del os.environ[name]
        assert code in (KILLED, 0, 1), self.said()
        return code == KILLED


def disk_after(top: Path, kept: Path, dice: random.Random | None = None) -> None:
    """Make the folder `top` what a power cut leaves of it. `top` itself was there for long.

    dice: None is the worst disk; otherwise each file that was synced once keeps, or does not, what
        was written to it since.
    """
    now = {path.stat().st_ino: path for path in top.rglob("*") if path.is_file()}
    rest = top.with_name(f"{top.name}.rest")
    before = top.stat().st_ino
    top.rename(rest)
    now = {number: rest / path.relative_to(top) for number, path in now.items()}
    _restore(before, top, kept, now, dice)
    shutil.rmtree(rest)


def _restore(
    number: int, place: Path, kept: Path, now: dict[int, Path], dice: random.Random | None
) -> None:
    place.mkdir(mode=0o700)
    names = kept / f"d{number}"
    for line in names.read_text().splitlines() if names.exists() else []:
        entry, _, name = line.partition(" ")
        found = int(entry[1:])
        if entry[0] == "d":
            _restore(found, place / name, kept, now, dice)
        elif dice is not None and dice.random() < 0.5 and found in now:
            shutil.copy(now[found], place / name)
        elif (kept / entry).exists():
            shutil.copy(kept / entry, place / name)
        else:
            (place / name).touch(mode=0o600)
