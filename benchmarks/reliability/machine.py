"""Scenarios of a machine that misbehaves: torn files, full and read-only disks, clocks that jump."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from reliability.bench import ROOT, Bench, Outcome, end, wait_for


def torn_metrics(folder: Path) -> Outcome:
    """A metrics file whose last line was cut off by a kill is read without that line."""
    from tuner.base.run_folder import METRICS, read_metrics

    bench = Bench(folder, trials=3)
    bench.finish()
    path = bench.folder / "results" / "runs" / bench.name / "0" / METRICS
    whole = read_metrics(path)
    with path.open("a") as file:
        file.write('{"epoch": 99, "sco')
    found = [] if read_metrics(path) == whole else ["the torn line was not left out"]
    return Outcome(found + bench.problems(), f"{len(whole)} whole lines read")


def disk_full(folder: Path) -> Outcome:
    """The disk fills up in the middle of a study; space is made, and the study goes on."""
    with tmpfs(folder, megabytes=4) as mounted:
        if not mounted:
            return Outcome([], "mounting a tmpfs is not allowed here", skipped=True)
        bench = Bench(folder, trials=40, pause=0.05)
        process = bench.start()
        try:
            wait_for(lambda: len(bench.finished()) >= 5 if bench.states() else False)
            seen = bench.finished()
            fill(folder / "ballast")
            status = process.wait(120)
        finally:
            end(process)
        words = (
            bench.output().strip().splitlines()[-1] if bench.output().strip() else "(its log is cut off too)"
        )
        found = [] if status == 1 else [f"exit status {status} instead of 1"]
        (folder / "ballast").unlink()
        if bench.finish():
            found.append("it could not be resumed")
        return Outcome(found + bench.problems(seen=seen), f"stopped with: {words[:150]}")


def read_only(folder: Path) -> Outcome:
    """The storage becomes read-only between two starts."""
    with tmpfs(folder, megabytes=64) as mounted:
        if not mounted:
            return Outcome([], "mounting a tmpfs is not allowed here", skipped=True)
        bench = Bench(folder, trials=6)
        bench.finish()
        Bench(folder, trials=8)
        log = folder.parent / "read_only.log"
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        command = [sys.executable, "-m", "tuner", "study", str(folder / f"{bench.name}.yaml")]
        command += ["--wandb", "off", "--results", str(folder / "results")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with log.open("w") as output:
            run = subprocess.run(
                command, cwd=folder, env=environment, stderr=output, stdout=output, check=False
            )
        status = run.returncode
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
        lines = log.read_text().strip().splitlines()
        found = [] if status == 1 and len(lines) <= 3 else [f"status {status}, {len(lines)} lines"]
        again = Bench(folder, trials=8)
        again.finish()
        return Outcome(found + again.problems(), f"stopped with: {lines[-1][:150]}")


CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long offset(void) {
  long seconds = 0;
  FILE *file = fopen(getenv("CLOCK_OFFSET_FILE"), "r");
  if (file) { if (fscanf(file, "%ld", &seconds) != 1) seconds = 0; fclose(file); }
  return seconds;
}
int clock_gettime(clockid_t id, struct timespec *spec) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int status = real(id, spec);
  if (id == CLOCK_REALTIME) spec->tv_sec += offset();
  return status;
}
int gettimeofday(struct timeval *restrict value, void *restrict zone) {
  struct timespec spec;
  clock_gettime(CLOCK_REALTIME, &spec);
  value->tv_sec = spec.tv_sec; value->tv_usec = spec.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *out) {
  struct timespec spec;
  clock_gettime(CLOCK_REALTIME, &spec);
  if (out) *out = spec.tv_sec;
  return spec.tv_sec;
}
"""


def clock_jump(folder: Path) -> Outcome:
    """The wall clock of all processes jumps a day ahead, then two back, while trials run."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return Outcome([], "needs a C compiler", skipped=True)
    folder.mkdir(parents=True)
    (folder / "clock.c").write_text(CLOCK)
    library, offset = folder / "clock.so", folder / "offset"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, folder / "clock.c", "-ldl"], check=True)
    offset.write_text("0")
    bench = Bench(
        folder,
        trials=16,
        pause=0.1,
        term=5.0,
        environment={"LD_PRELOAD": str(library), "CLOCK_OFFSET_FILE": str(offset)},
    )
    process = bench.start()
    try:
        for jump in (86_400, -86_400):
            target = len(bench.finished()) + 3 if bench.states() else 3
            wait_for(lambda target=target: len(bench.finished()) >= target if bench.states() else False)
            offset.write_text(str(jump))
        status = process.wait(120)
    finally:
        end(process)
    found = bench.problems()
    lost = [t for t in bench.trials_in_storage() if t.user_attrs.get("agent_lost")]
    if status or lost:
        found.append(f"exit status {status}, {len(lost)} trials given up")
    days = {t.datetime_start.date() for t in bench.trials_in_storage() if t.datetime_start}
    return Outcome(found, f"trials of {len(days)} different days, none given up")


@contextlib.contextmanager
def tmpfs(folder: Path, *, megabytes: int) -> Iterator[bool]:
    """A small file system at `folder`; False where mounting is not allowed."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(path: Path) -> None:
    """Writes a file until no space is left."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)
