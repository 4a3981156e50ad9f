"""The referee of loops: what it keeps is better, and it reads what loops write."""

import json
import math
import random
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tuner.__main__ import main
from tuner.base.errors import InputError
from tuner.plugins.referee import history, own, show
from tuner.plugins.referee.arms import Run
from tuner.plugins.referee.duel import known, limits
from tuner.plugins.referee.judge import Referee, share
from tuner.show.report.blocks import Table


def played(gains: list[float], *, noise: float = 1.0, seed: int = 0) -> Referee:
    """A loop that runs each candidate once, and then whatever the referee asks for."""
    rng, true = random.Random(seed), {"base": 0.0}
    referee = Referee(maximize=True)

    def run(name: str) -> None:
        referee.add(Run(name, true[name] + rng.gauss(0, noise)))

    run("base")
    run("base")
    for i, gain in enumerate(gains):
        assert referee.incumbent is not None
        true[f"c{i}"] = true[referee.incumbent.name] + gain
        run(f"c{i}")
        while (following := referee.next_run()) is not None:
            run(following.name)
    return referee


def test_of_changes_that_change_nothing_hardly_any_is_kept() -> None:
    false = sum(played([0.0] * 12, seed=seed).kept > 0 for seed in range(40))
    assert false <= 4  # 5 % of 40 is 2


def test_a_large_gain_is_kept_with_few_runs_and_never_taken_back() -> None:
    for seed in range(8):
        referee = played([6.0, *[0.0] * 8], seed=seed)
        assert referee.arms["c0"].kept
        assert len(referee.arms["c0"].scores) <= 12
        assert referee.ruling("c0").word == "keep"
        assert referee.ruling("c0").low > 0


def test_a_loss_is_discarded_without_many_runs() -> None:
    referee = played([-6.0] * 8)
    assert {referee.ruling(f"c{i}").word for i in range(8)} == {"discard"}
    assert sum(len(arm.scores) for arm in referee.arms.values()) < 30


def test_less_is_better_where_the_metric_says_so() -> None:
    runs = [Run("a", v) for v in (1.0, 1.1, 0.9, 1.05)] + [Run("b", v) for v in (0.1, 0.2, 0.15, 0.12)]
    assert Referee(runs, maximize=False).ruling("b").word == "keep"
    assert Referee(runs, maximize=True).ruling("b").word == "discard"


def test_the_shares_of_all_places_sum_to_one() -> None:
    assert math.isclose(sum(share(place) for place in range(1, 50 * (2**12 - 1) + 1)), 1 - 2**-12)
    assert share(1) > share(51) > share(151)


def test_one_run_of_each_without_a_spread_says_run_the_baseline_again() -> None:
    referee = Referee([Run("a", 1.0), Run("b", 2.0)], maximize=True)
    assert referee.ruling("b").word == "run again"
    following = referee.next_run()
    assert following is not None and following.name == "a"


def test_repeats_that_agree_digit_for_digit_are_exact() -> None:
    runs = [Run(arm, value) for arm, value in (("a", 1.0), ("b", 2.0)) for _ in range(3)]
    assert Referee(runs, maximize=True).ruling("b").word == "keep"


def test_pairs_on_one_seed_tell_more_where_a_seed_does_the_same_to_all_arms() -> None:
    rng = random.Random(0)
    seeds = [(str(seed), rng.gauss(0, 1)) for seed in range(6)]
    runs = [
        Run(arm, luck + gain + rng.gauss(0, 0.01), seed)
        for seed, luck in seeds
        for arm, gain in (("a", 0.0), ("b", 0.3))
    ]
    assert Referee(runs, maximize=True).ruling("b").word == "keep"
    assert Referee([Run(r.arm, r.value) for r in runs], maximize=True).ruling("b").word != "keep"
    low = Referee(runs, maximize=True).ruling("b").low
    assert 0.2 < low < 0.3
    equal = [Run(r.arm, round(r.value or 0.0), r.seed) for r in runs[::2]]
    equal += [Run("b", (r.value or 0.0) + 1, r.seed) for r in equal]
    found = Referee(equal, maximize=True).ruling("b")
    assert (found.word, found.low, found.high) == ("keep", 1.0, 1.0)


def test_an_arm_with_a_run_that_was_stopped_is_never_kept() -> None:
    runs = [Run("a", v) for v in (1.0, 1.1, 0.9, 1.05)]
    stopped = Run("b", None, stopped="its curve fell behind")
    better = [Run("b", v) for v in (9.0, 9.1, 9.2, 9.05)]
    for ordered in ([*better[:2], stopped, *better[2:]], [stopped, *better], [stopped]):
        referee = Referee([*runs, *ordered], maximize=True)
        ruling = referee.ruling("b")
        assert (ruling.word, ruling.reason, referee.kept) == ("discard", "its curve fell behind", 0)
    assert Referee([*runs, *better], maximize=True).kept == 1


def test_below_a_hopeless_score_the_next_run_of_an_arm_discards_it() -> None:
    runs = [*(Run("a", v) for v in (1.0, 1.1, 0.9, 1.05, 0.95)), Run("b", 1.0)]
    least = Referee(runs, maximize=True).hopeless("b")
    assert least is not None
    assert Referee([*runs, Run("b", least - 0.3)], maximize=True).ruling("b").word == "discard"
    assert least < 1.0


def test_a_run_is_ended_only_where_no_gain_seen_so_far_could_help_it() -> None:
    complete = [[0.0, 5.0, 8.0], [1.0, 5.0, 9.0], [0.0, 6.0, 8.5]]
    assert limits(complete[:1], complete[1:], 7.0, slack=0.0) == [
        -1.5,
        3.0,
    ]  # at most 8.5 and 4.0 were gained from there
    assert limits(complete[1:], complete[:1], 7.0, slack=1.0) == [-2.0, 1.5]
    assert limits(complete[:1], complete[:1], 7.0) == limits([], complete, 7.0) == []


# -- what loops write


def test_a_table_of_autoresearch_is_read(tmp_path: Path) -> None:
    (tmp_path / "results.tsv").write_text(
        "commit\tval_bpb\tmemory_gb\tstatus\tdescription\n"
        "1e12345\t0.9979\t44.0\tkeep\tbaseline\n"
        "b2c3d4e\t0.9932\t44.2\tkeep\tincrease LR to 0.04\n"
        "d4e5f6a\t0.0000\t0.0\tcrash\tdouble model width (OOM)\n"
    )
    found = history.read(tmp_path)
    assert (found.metric, found.maximize, found.source) == ("val_bpb", False, "results.tsv")
    assert [run.arm for run in found.runs] == [
        "1e12345",
        "b2c3d4e",
        "d4e5f6a",
    ]  # no number, though it could be
    assert [run.value for run in found.runs] == [0.9979, 0.9932, None]
    assert found.runs[1].note == "increase LR to 0.04"


def test_json_lines_and_a_csv_with_seeds_are_read(tmp_path: Path) -> None:
    rows = [{"name": "wide", "seed": s, "accuracy": 0.9 + s / 100, "seconds": 3.0} for s in (0, 1)]
    (tmp_path / "runs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = history.read(tmp_path)
    assert (found.metric, found.maximize) == ("accuracy", True)
    assert [run.seed for run in found.runs] == ["0", "1"]
    (tmp_path / "other.csv").write_text("Name,Accuracy\nwide,0.9\n")
    assert history.read(tmp_path, tmp_path / "other.csv").runs[0].arm == "wide"
    with pytest.raises(InputError, match=r"several tables; name one of other\.csv, runs\.jsonl"):
        history.read(tmp_path)


@pytest.mark.parametrize("told", ["message", "file"])
def test_a_metric_in_each_commit_is_read(tmp_path: Path, told: str) -> None:
    def git(*words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        subprocess.run(["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True)

    git("init")
    for value in (0.5, 0.4):
        (tmp_path / "metrics.json").write_text(json.dumps({"val_loss": value}))
        if told == "message":
            git("commit", "--allow-empty", "-m", f"try it\n\nval_loss: {value}")
        else:
            git("add", ".")
            git("commit", "-m", "try it")
    found = history.read(tmp_path)
    assert [run.value for run in found.runs] == [0.5, 0.4]
    assert (found.metric, found.source) == ("val_loss", "the git history")


def test_descriptions_may_have_quotes_and_branches_slashes(tmp_path: Path) -> None:
    rows = ["branch\tval_loss\tdescription", 'feat/a b\t1.0\t"gelu" for relu', 'feat/c\t2.0\t"unclosed']
    (tmp_path / "results.tsv").write_text("\n".join(rows))
    found = history.read(tmp_path).runs
    assert [(run.arm, run.note) for run in found] == [
        ("feat/a b", '"gelu" for relu'),
        ("feat/c", '"unclosed'),
    ]


@pytest.mark.slow
def test_ten_thousand_rows_are_judged_in_seconds() -> None:
    rng = random.Random(0)
    for arms, repeats in ((10_000, 1), (1_000, 10)):
        runs = [Run(f"a{i}", rng.gauss(0, 1)) for i in range(arms) for _ in range(repeats)]
        begin = time.process_time()
        assert Referee(runs, maximize=True).kept == 0
        assert time.process_time() - begin < 5


def test_arms_that_edit_what_measures_are_not_compared(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        return subprocess.check_output(["git", "-C", str(tmp_path), *who, *words], text=True).strip()

    git("init", "--quiet")
    lines = ["commit,accuracy"]
    for number in range(3):
        (tmp_path / ("evaluate.py" if number == 1 else "train.py")).write_text(f"print({number})\n")
        git("add", ".")
        git("commit", "--quiet", "-m", "x")
        lines += [f"{git('rev-parse', '--short', 'HEAD')},{number + i / 100}" for i in range(4)]
    (tmp_path / "results.csv").write_text("\n".join(lines))
    referee = history.refereed(tmp_path, history.read(tmp_path))
    first, second, third = referee.rulings.values()
    assert (first.word, second.word, third.word) == ("baseline", "not comparable", "not comparable")
    assert "evaluate.py" in second.reason
    referee = history.refereed(tmp_path, history.read(tmp_path), ["other.py"])
    assert [each.word for each in referee.rulings.values()] == ["baseline", "keep", "keep"]


def test_a_line_that_was_cut_off_costs_no_other(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("name,loss\na,1.0\n")
    own.append(tmp_path, {"kind": "run", "arm": "b", "value": 0.5, "metric": "loss"})
    with (tmp_path / own.OWN).open("a") as file:
        file.write('{"kind": "run", "ar')
    own.append(tmp_path, {"kind": "run", "arm": "c", "value": 0.4, "metric": "loss"})
    assert [run.arm for run in history.read(tmp_path).runs] == ["a", "b", "c"]


# -- what trackers keep


RUNS = [(0.1, 0, 0.5), (0.1, 1, 0.6), (0.2, 0, 0.7), (0.2, 1, None)]  # lr, seed, the last accuracy


def mlflow_files(folder: Path) -> Path:
    for number, (lr, seed, value) in enumerate(RUNS):
        run = folder / "mlruns" / "0" / f"{9 - number}abcdefghij"  # the folders are not in their order
        for name, text in (
            ("meta.yaml", f"run_id: x\nlifecycle_stage: active\nstart_time: {number}\nstatus: 3\n"),
            ("params/opt/lr", str(lr)),
            ("params/seed", str(seed)),
            ("metrics/val/acc", "" if value is None else f"17 0.1 0\n18 {value} 1\n"),
        ):
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            (run / name).write_text(text)
    return folder / "mlruns"


def mlflow_database(folder: Path) -> Path:
    with closing(sqlite3.connect(folder / "mlflow.db")) as made, made:
        made.executescript(
            "CREATE TABLE experiments (x); CREATE TABLE params (run_uuid, key, value);"
            "CREATE TABLE runs (run_uuid, name, status, start_time, lifecycle_stage);"
            "CREATE TABLE metrics (run_uuid, key, value, timestamp, step, is_nan);"
        )
        for number, (lr, seed, value) in enumerate(RUNS):
            status = "FINISHED" if value else "FAILED"
            made.execute("INSERT INTO runs VALUES (?, 'a', ?, ?, 'active')", (f"r{number}", status, number))
            for key, text in (("opt/lr", lr), ("seed", seed)):
                made.execute("INSERT INTO params VALUES (?, ?, ?)", (f"r{number}", key, str(text)))
            for step, told in enumerate((0.1, value or 0.2)):
                row = (f"r{number}", "val/acc", told, step, step)
                made.execute("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, 0)", row)
    return folder / "mlflow.db"


def trackio_database(folder: Path) -> Path:
    (folder / "trackio").mkdir()
    with closing(sqlite3.connect(folder / "trackio" / "p.db")) as made, made:
        made.execute("CREATE TABLE configs (id INTEGER PRIMARY KEY, run_name, config)")
        made.execute("CREATE TABLE metrics (id INTEGER PRIMARY KEY, run_name, step, metrics)")
        for number, (lr, seed, value) in enumerate(RUNS):
            config = json.dumps({"opt/lr": lr, "seed": seed, "_Created": str(number)}).encode()
            made.execute("INSERT INTO configs VALUES (NULL, ?, ?)", (f"r{number}", config))
            for step, told in enumerate((0.1, value or "NaN")):
                row = (f"r{number}", step, json.dumps({"val/acc": told}).encode())
                made.execute("INSERT INTO metrics VALUES (NULL, ?, ?, ?)", row)
    return folder / "trackio"


@pytest.mark.parametrize("tracker", [mlflow_files, mlflow_database, trackio_database])
def test_what_a_tracker_keeps_is_read_without_it(tmp_path: Path, tracker: Callable[[Path], Path]) -> None:
    path = tracker(tmp_path)
    found = history.read(tmp_path)
    assert (found.source, found.metric, found.maximize) == (path.name, "val/acc", True)
    assert [(run.arm, run.seed, run.value) for run in found.runs] == [
        (f"opt/lr={lr}", str(seed), value) for lr, seed, value in RUNS
    ]
    (tmp_path / "results.csv").write_text("name,loss\na,1.0\n")  # a table goes before
    assert history.read(tmp_path).source == "results.csv"
    assert len(history.read(tmp_path, path).runs) == 4


def test_what_is_not_clear_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no runs found; expected results\.tsv"):
        history.read(tmp_path)
    with pytest.raises(InputError, match=r"none\.db: nothing there; expected a table"):
        history.read(tmp_path, tmp_path / "none.db")
    trackio_database(tmp_path)
    mlflow_database(tmp_path)
    with pytest.raises(InputError, match=r"several trackers; name one: --source mlflow\.db or trackio"):
        history.read(tmp_path)
    (tmp_path / "results.csv").write_text("commit,train_loss,other_loss\na,1,2\n")
    with pytest.raises(
        InputError, match="which metric counts\\? --metric NAME, one of train_loss, other_loss"
    ):
        history.read(tmp_path)
    with pytest.raises(InputError, match="no metric 'train_lss'; did you mean 'train_loss'"):
        history.read(tmp_path, metric="train_lss")
    (tmp_path / "results.csv").write_text("commit,quality\na,1\n")
    with pytest.raises(InputError, match="is less better, or more\\? --goal"):
        history.read(tmp_path)
    (tmp_path / "results.csv").write_text("what,loss\na,1\n")
    with pytest.raises(InputError, match="which column names the arm"):
        history.read(tmp_path)


# -- the command


def test_the_command_rules_prints_and_writes_its_line_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"base,{v}" for v in (0.50, 0.52, 0.49, 0.51)] + [f"better,{v}" for v in (0.80, 0.81, 0.79, 0.82)]
    (tmp_path / "results.csv").write_text("\n".join(["name,accuracy", *rows, "worse,0.1"]))
    monkeypatch.chdir(tmp_path)
    assert main(["referee", "--candidate", "better", "--report", "board.html"]) == 0
    told = capsys.readouterr().out
    assert "better: KEEP" in told
    assert "★ better" in told
    assert main(["referee", "--json"]) == 10
    answer = json.loads(capsys.readouterr().out)
    assert answer["verdict"]["arm"] == "worse"
    assert (answer["incumbent"], answer["kept"], answer["groups"][0]) == ("better", 1, ["better"])
    main(["referee", "--json"])
    lines = [json.loads(line) for line in (tmp_path / "referee.jsonl").read_text().splitlines()]
    assert [(line["kind"], line["arm"], line["word"]) for line in lines] == [
        ("ruling", "better", "keep"),
        ("ruling", "worse", "discard"),
    ]
    page = (tmp_path / "board.html").read_text()
    assert "Leaderboard" in page and "better" in page


def test_failed_runs_are_counted_on_the_terminal_and_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["a,0.5,ok,1", "b,,crash,2", "b,0.9,crash,2", "a,0.6,ok,1", "a,,oom,1"]
    (tmp_path / "results.csv").write_text("\n".join(["name,accuracy,status,seed", *rows]))
    monkeypatch.chdir(tmp_path)
    assert main(["referee", "--metric", "accuracy", "--candidate", "a", "--report", "board.html"]) == 0
    told = capsys.readouterr().out
    assert "2 runs and 3 that failed of 2 arms" in told
    assert "0 of 1 change kept" in told
    for kind in ("html", "pdf"):
        main(["referee", "--metric", "accuracy", "--candidate", "b", "--report", f"board.{kind}"])
    found = history.refereed(tmp_path, history.read(tmp_path, metric="accuracy"))
    assert {name: (each.runs, each.failed) for name, each in found.rulings.items()} == {
        "a": (2, 1),
        "b": (0, 2),
    }
    page = show.document(found, history.read(tmp_path, metric="accuracy"), found.ruling("b"))
    (table,) = (block for block in page.sections[0].blocks if isinstance(block, Table))
    assert [row[:5] for row in table.rows] == [
        ["1", "★ a", "baseline", "2", "1"],
        ["–", "b", "failed", "0", "2"],
    ]
    assert (tmp_path / "board.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(SystemExit):
        main(["referee", "--report", "board.txt"])


def test_where_no_run_has_a_value_the_page_has_a_table_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "results.tsv").write_text("commit\tval_loss\tstatus\na\t\tcrash\n")
    monkeypatch.chdir(tmp_path)
    for kind in ("html", "pdf"):
        assert main(["referee", "--metric", "val_loss", "--report", f"board.{kind}"]) == 12
        assert (tmp_path / f"board.{kind}").stat().st_size > 1000


def test_a_table_with_headings_alone_hides_no_runs_of_the_referee(tmp_path: Path) -> None:
    (tmp_path / "results.tsv").write_text("commit\tval_loss\n")
    with pytest.raises(history.NoRuns, match="no rows"):
        history.read(tmp_path)
    assert known(tmp_path, None, metric="val_loss", goal=None).runs == ()
    own.append(tmp_path, {"kind": "run", "arm": "b", "value": 0.5, "metric": "val_loss"})
    assert [run.arm for run in history.read(tmp_path).runs] == ["b"]
    assert known(tmp_path, None, metric="val_acc", goal=None).runs == ()  # it has runs of another metric


def test_runs_of_the_referee_itself_count(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("name,loss\na,1.0\nb,0.5\n")
    own.append(tmp_path, {"kind": "run", "arm": "b", "value": 0.52, "seed": 1, "metric": "loss"})
    assert [(run.arm, run.value, run.seed) for run in history.read(tmp_path).runs][2] == ("b", 0.52, "1")
