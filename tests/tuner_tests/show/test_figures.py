"""The charts of a study as numbers: what is drawn, and a sentence where there is nothing to draw."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState, create_trial

from tuner.claims.material import Study, read_study
from tuner.definition.study_file import StudyFile
from tuner.show.report import figures, over_time, palette
from tuner.show.report.charts import Chart, Panel, Parallel
from tuner.show.report.importance import Importances
from tuner.storage import study_store
from tuner.storage.records import Records

MakeStudy = Callable[..., StudyFile]

STUDY = """
method: random
run_cap: 40
metric: {name: score, goal: maximize}
parameters:
  x: {min: 0.0, max: 1.0}
  kind: {values: [a, b]}
tuner:
  objective: "objective.py:train"
  max_epochs: 2
  front: [{name: seconds, goal: minimize}]
"""


@pytest.fixture
def study(records: Records, make_study: MakeStudy, tmp_path: Path) -> Callable[..., Study]:
    """`study(count)`: a study with `count` complete trials, in which a higher x is better and slower."""

    def make(count: int, text: str = STUDY, state: TrialState = TrialState.COMPLETE) -> Study:
        file = make_study(text)
        found = study_store.open_study(records, file, study_store.Origin({}))
        for i in range(count):
            x = (i + 0.5) / count
            found.add_trial(
                create_trial(
                    state=state,
                    value=x if state is TrialState.COMPLETE else None,
                    params={"x": x, "kind": "ab"[i % 2]},
                    distributions=file.space.distributions(),
                    user_attrs={"metrics": {"score": x, "seconds": 10 * x if i else 99.0}},
                )
            )
        return read_study(found, tmp_path / "results")

    return make


def test_a_study_without_trials_has_sentences_for_charts(study: Callable[..., Study]) -> None:
    made = figures.charts(study(0))
    assert all(isinstance(each, str) and each.startswith("No ") for each in made)
    assert "No history: no trial has reported a value yet." in made
    assert "No charts of parameters: they need 4 complete trials." in made


def test_a_trial_that_misses_a_constraint_has_a_symbol_of_its_own(study: Callable[..., Study]) -> None:
    found = study(12)
    odd = tuple(replace(t, violation=0.5 * (t.number % 2)) for t in found.ranked)
    found = replace(found, ranked=odd, trials=odd)
    for draw in (figures.history, figures.slices, figures.distribution):
        chart = draw(found)
        assert isinstance(chart, Chart) and isinstance(chart.plots[0], Panel)
        (missing,) = [s for s in chart.plots[0].series if s.name == palette.MISSES]
        assert sorted(missing.trials) == [1, 3, 5, 7, 9, 11], chart.title
    assert palette.mark(palette.MISSES, 0) != palette.mark("complete", 0)


def test_lines_are_coloured_by_the_metric(study: Callable[..., Study]) -> None:
    chart = figures.parallel(study(9))
    assert isinstance(chart, Chart) and isinstance(chart.plots[0], Parallel)
    plot = chart.plots[0]
    value = dict(zip(plot.trials, plot.shade, strict=True))
    assert [value[i] for i in range(9)] == pytest.approx([0, 0, 0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])
    assert plot.ends == ("0.2778 or worse", "0.9444")


def test_importances_are_one_measure_and_what_the_other_says() -> None:
    found = Importances({"rate": 0.64, "size": 0.36}, {"rate": 0.30, "size": 0.35})
    assert (found.first[0], found.names) == ("PED-ANOVA", ["rate", "size"])
    assert found.compared.endswith("disagrees: rate 0.30 in place of 0.64.")
    assert "agrees within 0.2" in Importances({"rate": 0.64}, {"rate": 0.50}).compared
    assert Importances({"rate": 1.0}, {}).compared == ""
    assert Importances({}, {"rate": 1.0}).first[0] == "fANOVA"


def test_the_front_shows_each_metric_that_was_measured(study: Callable[..., Study]) -> None:
    found = study(10)
    made = figures.front(found)
    assert isinstance(made, Chart)
    (panel,) = made.plots
    assert isinstance(panel, Panel)
    assert (panel.x, panel.y) == ("seconds", "score")
    off, on = panel.series
    assert (len(off.x), len(on.x)) == (1, 9), "the first trial is slow and bad, the others trade"
    assert list(on.x) == sorted(on.x)
    assert "9 of 10 complete trials are on the front" in made.caption


@pytest.mark.parametrize(
    ("count", "text", "says"),
    [
        (1, STUDY, "needs two complete trials"),
        (4, STUDY.replace("seconds", "never_measured"), "no trial has measured its metrics"),
    ],
)
def test_a_front_that_cannot_be_drawn_says_why(
    study: Callable[..., Study], count: int, text: str, says: str
) -> None:
    assert says in str(figures.front(study(count, text)))


def test_a_study_of_one_objective_has_no_front(study: Callable[..., Study]) -> None:
    assert figures.front(study(3, STUDY[: STUDY.index("  front")])) is None


def test_sensitivity_splits_numbers_at_the_median_and_words_by_word(study: Callable[..., Study]) -> None:
    rows = {row[0]: row[1] for row in figures.sensitivity(study(40))}
    assert rows["x"] == "≤ 0.5: 0.2500 (20)   > 0.5: 0.7500 (20)"
    assert rows["kind"] == "a: 0.4875 (20)   b: 0.5125 (20)"


def test_trials_without_an_agent_are_packed_into_lanes() -> None:
    assert over_time._packed([0.0, 1.0, 2.0, 2.5], [2.0, 3.0, 1.0, 1.0]) == [0, 1, 0, 2]
