"""The wall clock jumps by an hour while trials run: nothing that decides anything is measured with it."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from reliability.faulty import Faulty

from tuner.search import stopping

HOUR = timedelta(hours=1)
ROOT = Path(__file__).resolve().parents[3]


class JumpingClock(datetime):
    """`datetime` whose `now` is an hour ahead and an hour back by turns."""

    _jumps = itertools.cycle([HOUR, -HOUR, timedelta()])

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        return datetime(2026, 1, 5, 12) + next(cls._jumps)


@pytest.mark.hostile("clocks that jump")
@pytest.mark.usefixtures("agents_in_this_process")
def test_a_study_ends_as_it_would_and_its_durations_are_no_less_than_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sql_queue", "second_record", "study_store"):
        monkeypatch.setattr(f"tuner.storage.{module}.datetime", JumpingClock)
    study = Faulty(tmp_path)
    assert study.run() == 0, study.said
    assert study.problems({}) == []
    assert study.command(["status", "faulty", "--json"]) == 0
    assert json.loads(study.said)[0]["cost"]["seconds"] >= 0
    assert study.command(["report", "faulty", "--output", str(tmp_path / "report.html")]) == 0, study.said


def ended(state: TrialState, number: int, at: timedelta) -> FrozenTrial:
    trial = create_trial(
        state=state,
        value=1.0 if state is TrialState.COMPLETE else None,
        params={"x": 0.5},
        distributions={"x": FloatDistribution(0.0, 1.0)},
        user_attrs={"error": "no such file"} if state is TrialState.FAIL else {},
    )
    trial.number = number
    trial.datetime_complete = datetime(2026, 1, 5, 12) + at
    return trial


@pytest.mark.hostile("clocks that jump")
@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_failures_before_a_jump_are_not_the_latest(jump: timedelta) -> None:
    failed = [ended(TrialState.FAIL, number, HOUR) for number in range(3)]
    assert "in a row failed" in str(stopping.failures(failed))
    complete = [ended(TrialState.COMPLETE, number, HOUR + jump) for number in range(3, 6)]
    assert stopping.failures([*failed, *complete]) is None
    assert "in a row failed" in str(stopping.failures([*complete, *failed]))


JUMPS = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <stdio.h>
#include <sys/time.h>
#include <time.h>

/* The wall clock is another at each call: by an hour, a day, years, and before 1980. */
static long jump(void) {
    static const long by[] = {0, -3600, 86400, -34560000, 259200000, -1500000000};
    static unsigned calls;
    return by[calls++ % 6];
}
int clock_gettime(clockid_t which, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(which, at);
    if (which == CLOCK_REALTIME) at->tv_sec += jump();
    return result;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    at->tv_sec = found.tv_sec, at->tv_usec = found.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *at) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (at) *at = found.tv_sec;
    return found.tv_sec;
}
"""
VERBS = {  # the exit status of each
    "study study.yaml --agents 2": 0, "list": 0, "status": 0, "best clock": 0,
    "verify clock --top 2 --seeds 1": 0,
    "verdict clock": 4, "enqueue clock x=0.5": 0, "pause clock": 0, "stop clock": 0, "agent clock": 0,
    "export clock --output winner.yaml": 0, "report --output report.html": 0,
    "import --study clock runs.csv": 0,
    "gc": 0, "doctor": 0, "doctor --repair": 0, "fetch": 0,
}  # fmt: skip


@pytest.mark.hostile("clocks that jump")
@pytest.mark.slow
def test_each_command_does_its_work_while_the_clock_jumps(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    (tmp_path / "jumps.c").write_text(JUMPS)
    command = [compiler, "-shared", "-fPIC", "-o", "jumps.so", "jumps.c", "-ldl"]
    subprocess.run(command, cwd=tmp_path, check=True)
    (tmp_path / "objective.py").write_text("def train(config, report):\n    return {'score': config['x']}\n")
    (tmp_path / "runs.csv").write_text("x,score\n0.5,0.5\n")
    (tmp_path / "study.yaml").write_text(
        "{name: clock, method: random, run_cap: 4, metric: {name: score, goal: maximize}, parameters: "
        "{x: {min: 0.0, max: 1.0}}, tuner: {objective: 'objective.py:train', trial_timeout: 90s}}"
    )
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "LD_PRELOAD": str(tmp_path / "jumps.so")}
    for verb, status in VERBS.items():
        words = [sys.executable, "-m", "tuner", *verb.split()]
        how: dict[str, Any] = {"cwd": tmp_path, "env": variables, "capture_output": True, "text": True}
        done = subprocess.run(words, timeout=120, check=False, **how)
        assert done.returncode == status and "Traceback" not in done.stderr, (verb, done.stdout, done.stderr)
