"""Rows that a script logs, and how those of an interrupted run come before those of the one that goes on."""

from tuner.definition.metric import Metric
from tuner.workloads.history import History
from tuner.workloads.script_trial import _rows


def logged(begin: int, end: int) -> History:
    """Each epoch logs a row of training, then one with the objective and the epoch."""
    history = History(Metric("loss", "minimize"))
    for epoch in range(begin, end):
        history.log("run", {"train": 1.0}, None, None)
        history.log("run", {"loss": 1 / (epoch + 1), "epoch": epoch}, None, None)
    return history


def test_a_row_without_the_objective_has_the_place_at_which_it_was_logged() -> None:
    """However late the rows are taken, after all epochs or after each."""
    assert [row["epoch"] for row in _rows(logged(0, 3), all_of_it=True)] == [0, 0, 1, 1, 2, 2]


def test_no_value_is_lost_where_a_run_goes_on_after_a_row_of_training() -> None:
    before = logged(0, 6)
    before.log("run", {"train": 1.0}, None, None)  # of an epoch that did not end
    rows = _rows(before, all_of_it=True)
    after = logged(6, 8)
    kept, shift = after.go_on(rows)
    assert (kept, shift) == (12, 12)
    assert after.values == [1 / (epoch + 1) for epoch in range(8)]
    assert [row["epoch"] for row in _rows(after, all_of_it=True, shift=shift)] == [6, 6, 7, 7]


def test_epochs_that_run_again_replace_those_before() -> None:
    rows = _rows(logged(0, 6), all_of_it=True)
    after = logged(4, 5)
    kept, _ = after.go_on(rows)
    assert kept == 8 and len(after.values) == 5
    from_the_start = logged(0, 1)
    assert from_the_start.go_on(rows)[0] == 0 and len(from_the_start.values) == 1
