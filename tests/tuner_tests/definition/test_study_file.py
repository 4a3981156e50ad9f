"""Study files: what is read, what a bad one says, and that the shipped ones are whole."""

import pickle
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from model.config import Config
from tuner.base.errors import InputError
from tuner.definition import yaml_source
from tuner.definition.constraints import Constraint
from tuner.definition.distributions import KINDS
from tuner.definition.loading import FOLDER, load_study_file, shipped, shipped_campaign
from tuner.definition.metric import Metric

CAMPAIGN = shipped_campaign().studies

MINIMAL = """\
method: random
program: train.py
metric: {name: loss, goal: minimize}
parameters:
  lr: {min: 1e-5, max: 1e-1, distribution: log_uniform_values}
"""


@pytest.fixture
def load(tmp_path):
    """Loads a study of the given text."""

    def load(text):
        path = tmp_path / "sweep.yaml"
        path.write_text(textwrap.dedent(text))
        return load_study_file(path)

    return load


def test_numbers_are_read_as_yaml_1_2(load):
    """PyYAML reads 1e-5 as a word."""
    (lr,) = load(MINIMAL).space.parameters
    assert lr.distribution.bounds == (1e-5, 1e-1)


def test_a_wandb_file_becomes_a_study(load):
    study = load(MINIMAL + "run_cap: 12\nearly_terminate: {type: hyperband, min_iter: 3}\nname: My sweep!\n")
    assert (study.name, study.run_cap, study.sampler, study.program) == ("My-sweep", 12, "random", "train.py")
    assert study.metric == Metric("loss", "minimize")
    assert (study.pruner.kind, study.pruner.min_iter, study.pruner.eta, study.pruner.strict) == (
        *("wandb_hyperband", 3, 3, True),
    )


def test_our_pruner_goes_before_early_terminate(load):
    study = load(
        MINIMAL
        + "early_terminate: {type: hyperband, min_iter: 3}\n"
        + "tuner: {max_epochs: 27, pruner: {type: hyperband}}\n"
    )
    assert (study.pruner.kind, study.pruner.max_resource) == ("hyperband", 27)


def test_several_objectives_keep_the_metric_first(load):
    study = load(
        MINIMAL + "tuner:\n  objectives:\n  - {name: loss}\n  - {name: parameters, goal: minimize}\n"
    )
    assert [metric.name for metric in study.objectives] == ["loss", "parameters"]


def test_auto_takes_what_suits_the_space(load):
    numbers = MINIMAL.replace("random", "bayes")
    assert load(numbers + "run_cap: 50\ntuner: {sampler: auto}\n").sampler == "gp"
    assert load(numbers + "  kind: {values: [a, b]}\ntuner: {sampler: auto}\n").sampler == "tpe"
    stopping = (
        numbers + "early_terminate: {type: hyperband, min_iter: 2}\ntuner: {sampler: auto, max_epochs: 9"
    )
    assert load(stopping + "}\n").sampler == "freeze_thaw"
    assert load(stopping + ", seeds: 2}\n").sampler == "gp"
    assert load(stopping + ", constraints: ['loss < 1']}\n").sampler == "gp"


@pytest.mark.parametrize(
    ("text", "found", "why"),
    [
        ("run_cap: 50\n", "gp", "all parameters are numbers"),
        ("run_cap: 500\n", "tpe", "there are more than 250"),
        ("  kind: {values: [a, b]}\n", "tpe", "some parameters are choices"),
        ("early_terminate: {type: hyperband, min_iter: 2}\n", "freeze_thaw", "there is a pruner"),
    ],
)
def test_auto_says_why_in_one_line(load, text, found, why):
    study = load(MINIMAL.replace("random", "bayes") + text + "tuner: {sampler: auto, max_epochs: 9}\n")
    (line,) = [note for note in study.notes if note.startswith("sampler")]
    assert study.sampler == found and line.startswith(f"sampler auto: {found}, because ") and why in line
    assert not any("sampler" in note for note in load(MINIMAL + text).notes)


BAD = {
    "method: hyperopt\nparameters: {a: {value: 1}}": (
        1,
        "'method': expected one of bayes, random, grid, custom",
    ),
    "parameters: {a: {value: 1}}": (1, "'method': missing"),
    MINIMAL + "metrc: {name: x}": (6, "'metrc': unknown key; did you mean 'metric'?"),
    MINIMAL + "  dropout: {min: 0.5, max: 0.1}": (
        6,
        "'parameters.dropout.max': expected more than min (0.5)",
    ),
    MINIMAL + "  dropout:\n    mim: 0.5\n    max: 0.6": (
        7,
        "'parameters.dropout.mim': unknown key; did you mean 'min'?",
    ),
    MINIMAL + "  dropout:\n    distribution: unifrom": (7, "did you mean 'uniform'?"),
    MINIMAL + "run_cap: many": (6, "'run_cap': expected a whole number from 1, got 'many'"),
    MINIMAL + "tuner: {prunner: none}": (6, "'tuner.prunner': unknown key; did you mean 'pruner'?"),
    MINIMAL + "tuner:\n  pruner: hyperbund": (7, "'tuner.pruner': expected one of hyperband"),
    MINIMAL + "tuner:\n  pruner: {type: Percentile, percentile: 25}": (7, "did you mean 'PercentilePruner'?"),
    MINIMAL + "tuner:\n  sampler: NSGAIII": (7, "did you mean 'NSGAIIISampler'?"),
    MINIMAL + "tuner:\n  requires: ['lr <']": (7, "'tuner.requires': not an expression"),
    MINIMAL + "tuner:\n  requires: ['__import__(\"os\")']": (7, "is not allowed in"),
    MINIMAL + "tuner:\n  when: {lrr: lr > 1}": (7, "'tuner.when.lrr': unknown parameter; did you mean 'lr'?"),
    MINIMAL + "tuner:\n  when: {lr: rl > 1}": (7, "'rl' is not a parameter of this study"),
    MINIMAL + "tuner:\n  constraints: [loss]": (7, "expected a metric, a comparison and a number"),
    MINIMAL + "tuner:\n  objective: train": (7, "expected package.module:function"),
    MINIMAL + "tuner:\n  sampler: tpee": (7, "did you mean 'tpe'?"),
    MINIMAL + "tuner:\n  run: best": (7, "'tuner.run': expected one of first, last, mean"),
    MINIMAL + "tuner:\n  hypotheses:\n  - claim: x": (8, "'tuner.hypotheses.where': missing"),
    MINIMAL.replace("random", "grid"): (4, "parameter 'lr': a grid needs values"),
    "method: bayes\nparameters: {dropout: {min: 0.0, max: 0.5}}": (1, "'metric': missing"),
    "method: random\nparameters: [1, 2": (2, "not YAML"),
    "method: random\nparameters:\n a: 1\n a: 2": (4, "not YAML: found duplicate key"),
    "- 1": (1, "expected a mapping with 'method' and 'parameters'"),
    "method: random\njob: x\nparameters: {a: {value: 1}}": (2, "'job': is for W&B Launch"),
}


@pytest.mark.parametrize("text", BAD, ids=lambda text: BAD[text][1][:40])
def test_a_bad_file_is_one_line_with_file_line_key_and_what_was_expected(load, text):
    line, message = BAD[text]
    with pytest.raises(InputError) as caught:
        load(text)
    found = str(caught.value)
    assert "\n" not in found and message in found
    assert f"sweep.yaml:{line}: " in found


def test_a_name_that_is_no_study_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="no study named 'los_weighting'; did you mean 'loss_weighting'"):
        load_study_file("los_weighting")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_study_file(tmp_path / "absent.yaml")


def test_the_digest_is_of_the_content_and_not_of_its_layout(load):
    first = load(MINIMAL).digest()
    assert load("# a comment\n" + MINIMAL.replace("1e-5", "1.0e-05")).digest() == first
    assert load(MINIMAL + "run_cap: 3\n").digest() != first


@pytest.mark.parametrize(
    ("text", "metrics", "violation"),
    [
        ("command_acc >= 1.0", {"val/command_acc": 0.98}, 0.02),
        ("command_acc >= 1.0", {"val/command_acc": 1.0}, 0.0),
        ("size <= 10", {"size": 12}, 2.0),
        ("size == 10", {"size": 8}, 2.0),
        ("size <= 10", {}, float("inf")),
        ("size <= 10", {"size": float("nan")}, float("inf")),
    ],
)
def test_a_constraint_says_how_far_a_trial_is_from_it(text, metrics, violation):
    assert Constraint.parse(text).violation(metrics) == pytest.approx(violation)


def test_a_strict_bound_is_not_met_by_equality():
    assert Constraint.parse("size < 10").violation({"size": 10}) > 0


@pytest.mark.parametrize("name", CAMPAIGN)
def test_a_shipped_study_is_whole(name):
    study = load_study_file(name)
    assert name in shipped() and study.name == name
    assert study.purpose and study.cost and study.expectation and study.description
    only_seeds = [parameter.name for parameter in study.space.parameters] == ["seed"]
    assert only_seeds != bool(study.hypotheses)
    assert study.path.read_text().startswith("# ")
    assert pickle.loads(pickle.dumps(study)) == study  # agents get it through a pipe


def test_the_shipped_studies_have_the_guides_sizes():
    sizes = {name: load_study_file(name).run_cap for name in CAMPAIGN}
    assert sizes == {
        "vocabulary_bucketing": 24,
        "augmentation_optimization": 50,
        "warmup_optimization": 30,
        "architecture_sweep": 80,
        "loss_weighting": 40,
        "ensemble_members": 10,
        "inference_parameters": 50,
        "head_temperatures": 40,
    }


@pytest.mark.parametrize("name", CAMPAIGN)
def test_every_hypothesis_of_a_shipped_study_has_two_sides_in_its_space(name):
    import optuna

    study = load_study_file(name)
    configs = study.space.grid() if study.method == "grid" else []
    if not configs:
        sampler = optuna.samplers.RandomSampler(seed=1)
        random_trials = optuna.create_study(sampler=sampler)
        configs = [study.space.suggest(random_trials.ask()) for _ in range(300)]
    for hypothesis in study.hypotheses:
        sides = {hypothesis.side({**Config().to_dict(), **config}) for config in configs}
        assert {"where", "against"} <= sides, hypothesis.claim


def test_a_grid_study_of_our_model_makes_configurations_that_it_takes():
    study = load_study_file("warmup_optimization")
    points = study.space.grid()
    assert len({tuple(sorted(point.items())) for point in points}) == 30
    for point in points:
        Config.from_dict(point)
    assert not any("warmup_epochs" in point for point in points if point["scheduler"] == "onecycle")


DOCS = (FOLDER.parent / "docs" / "study_files.md").read_text()


def test_the_documented_example_is_a_study(load):
    study = load(re.search(r"```yaml\n(# try_dropout.yaml.*?)```", DOCS, re.DOTALL)[1])
    assert (study.run_cap, study.metric.target, study.pruner.kind) == (20, 0.95, "hyperband")
    assert study.space.conditional and study.requires and study.constraints


def test_every_distribution_is_documented():
    section = DOCS.partition("## Parameters")[2].partition("\n## ")[0]
    rows = " ".join(line.split("|")[1] for line in section.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(\w+)`", rows)) == set(KINDS)


def of_values(count: int) -> str:
    """A study file of `count` values in all; 18 are not those of the list."""
    values = ", ".join(map(str, range(count - 18)))
    head = "method: random\nmetric: {name: score}\nprogram: train.py\n"
    return f"{head}parameters: {{x: {{values: [{values}]}}}}\n"


def test_a_study_file_of_the_most_values_is_read_and_of_one_more_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    base = of_values(18 + 2)
    events = [e for e in yaml.parse(base) if isinstance(e, yaml.ScalarEvent | yaml.CollectionStartEvent)]
    spare = yaml_source.MOST_VALUES - len(events)
    for more, fine in ((0, True), (1, False)):
        text = of_values(18 + 2 + spare + more)
        if fine:
            yaml_source.check_measure(text, path)
        else:
            with pytest.raises(InputError, match="more than 10,000 values, aliases expanded"):
                yaml_source.check_measure(text, path)


@pytest.mark.parametrize("head", ["", "tuner:\n"])
def test_aliases_count_as_what_they_expand_to(tmp_path: Path, head: str) -> None:
    """Before they are expanded: a kilobyte can stand for millions of values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 7)]
    indent = "  " if head else ""
    text = head + "".join(f"{indent}{line}\n" for line in lines)
    read = 0

    def counted(events: Iterator[yaml.Event]) -> Iterator[yaml.Event]:
        nonlocal read
        for event in events:
            read += 1
            yield event

    with pytest.raises(InputError, match="aliases expanded"):
        yaml_source._check_events(counted(yaml.parse(text)), tmp_path / "bomb.yaml")
    assert read < 100, "it stops at the first alias that goes too far"


def test_a_file_of_too_many_bytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(of_values(30) + "#" * yaml_source.MOST_BYTES)
    with pytest.raises(InputError, match="KiB; expected at most 512"):
        load_study_file(path)


def test_a_file_without_a_metric_says_that_nothing_is_ranked(load):
    text = "method: grid\nparameters: {x: {values: [1, 2]}}\n"
    assert any(note.startswith("no metric is named") for note in load(text).notes)
    assert load(f"{text}metric: {{name: loss}}\n").notes == ()
