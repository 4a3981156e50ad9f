"""The keys of a study file, with what they mean. The tables in docs/study_files.md are written from here."""

from __future__ import annotations

from typing import NamedTuple


class Key(NamedTuple):
    """What a key means and what holds without it, in Markdown."""

    meaning: str
    default: str


# at the top of the file: those of W&B's schema (sweeps 0.3.0)
WANDB_KEYS: dict[str, Key] = {
    "program": Key(
        "the script that a trial runs, relative to the file's folder",
        "–",
    ),
    "command": Key(
        "the words of the command that starts it, with W&B's macros (`${env}`, `${interpreter}`, "
        "`${program}`, `${args}` …)",
        "W&B's",
    ),
    "method": Key(
        "`bayes`, `random`, `grid`; `custom` with `metrics` or a `scheduler`",
        "required",
    ),
    "parameters": Key(
        "the [parameters](study_files.md#parameters) to search, by name",
        "required",
    ),
    "metric": Key(
        "`{name: …, goal: minimize or maximize, target: …}`; the study stops once a trial reaches the target",
        "required for `bayes` and for early stopping",
    ),
    "metrics": Key(
        "several metrics, for `method: custom`",
        "–",
    ),
    "run_cap": Key(
        "how many finished trials make the study complete",
        "until it is stopped; a grid: all points",
    ),
    "early_terminate": Key(
        "W&B's Hyperband: `{type: hyperband, min_iter: 3, eta: 3}`; `tuner: {pruner: …}` has more kinds",
        "no trial is stopped",
    ),
    "name": Key(
        "the name of the study",
        "the file's name",
    ),
    "description": Key(
        "a description, kept for reports",
        "–",
    ),
    "scheduler": Key(
        "`{engine: optuna, …}`: its sampler and pruner ([what is understood](from_wandb_sweeps.md#limits))",
        "–",
    ),
    "project": Key(
        "project of the W&B runs",
        "W&B's",
    ),
    "entity": Key(
        "entity of the W&B runs",
        "W&B's",
    ),
    "apiVersion": Key(
        "accepted, has no effect",
        "–",
    ),
    "kind": Key(
        "`sweep`; has no effect",
        "–",
    ),
    "controller": Key(
        "accepted, has no effect: there is no server",
        "–",
    ),
    "job": Key(
        "W&B Launch: refused without a `program` or `command`",
        "–",
    ),
    "image_uri": Key(
        "as `job`",
        "–",
    ),
}

# under `tuner:`
TUNER_KEYS: dict[str, Key] = {
    "purpose": Key(
        "the question of the study, in a sentence, for `list`, `--dry-run` and reports",
        "–",
    ),
    "cost": Key(
        "what it costs, in words, for the same places",
        "–",
    ),
    "expectation": Key(
        "what you expect to come out, in words, for the same places",
        "–",
    ),
    "objective": Key(
        "a function `package.module:function` (or `file.py:function` next to the study file): "
        "`train(config, report) -> metrics`, or an objective of Optuna's, `objective(trial)`",
        "–",
    ),
    "workload": Key(
        "a class that runs the trials, `package.module:Class` or `file.py:Class`. It extends "
        "`tuner.Workload` ([architecture.md](architecture.md)). The shipped studies use "
        "`model.workload:Training` and `inference.workload:Decoding`",
        "the installed workload `default` (our network), unless the file names a program or an objective",
    ),
    "folder": Key(
        "where `program` or `command` runs, relative to the study file",
        "the file's folder, or the current folder if only that one has the program",
    ),
    "resources": Key(
        "resources of one trial: `{gpus: 1, cpus: 4, memory: 8GiB}`. With `gpus: 0.5` two trials share a "
        "GPU. As many agents run as fit, and each sees only its own GPU. Studies that run at the same "
        "time share the GPUs of the machine: an agent waits until there is room for its share, and says "
        "who has the GPUs. If you ask for more `--agents` than fit, they share further",
        "one GPU if there are any, one core",
    ),
    "weights": Key(
        'patterns of files that only the best trials keep in their run folders (`["*.pt"]`)',
        "the usual endings of weights",
    ),
    "seed": Key(
        "the name of the parameter that seeds a run, for retrainings and matched pairs",
        "`seed`; scripts without this parameter get no seed",
    ),
    "trial_timeout": Key(
        "how long a trial may take (`90s`, `30m`, `2h`), counted again when it continues from a checkpoint. "
        "A trial that takes longer fails with that reason and is not tried again. A script is ended at "
        "once, a function at its next report; one that never reports is ended with its agent, `grace` and"
        " 15 seconds later",
        "no limit",
    ),
    "grace": Key(
        "how long a trial has for its next report when the study stops (`--timeout`, Ctrl-C, SIGTERM). A "
        "trial that does not report in this time is ended and returns to the queue; it loses what it did "
        "since its last [checkpoint](checkpoints.md)",
        "`30s`",
    ),
    "run": Key(
        "which W&B run counts if a script makes several in one trial: `first` (of rank 0), `last`, or the"
        " `mean` of all (then nothing is pruned)",
        "`first`",
    ),
    "score": Key(
        "which value of a run is its [score](study_files.md#the-score-of-a-run): `last`, the value at its "
        "end, or `best`, the best of all epochs, as W&B's search takes it. It cannot change later",
        "`last`",
    ),
    "sampler": Key(
        "`tpe`, [`freeze_thaw`](search.md) (trials are paused and resumed), `random`, `grid`, `gp`, `cmaes`, "
        "`nsgaii`, `qmc`, or `auto`: freeze_thaw with a pruner, `max_epochs` and one objective without "
        "constraints; else a Gaussian process for up to 250 trials of numbers, NSGA-II for "
        "long studies of several objectives, else TPE",
        "by `method`",
    ),
    "epoch_budget": Key(
        "with `freeze_thaw`: the epochs that all `run_cap` trials may use together; more or fewer with "
        "`--trials`",
        "a quarter of whole runs",
    ),
    "learn_from": Key(
        "with `freeze_thaw`: names of studies in the same storage with the same parameters. The search "
        "starts from what their trials reached, and trusts it as far as its own trials agree",
        "–",
    ),
    "pruner": Key(
        "`hyperband`, `successive_halving`, `median`, `wandb_hyperband` or `none`; or a mapping with "
        "`type` and settings",
        "`early_terminate`; without it `none`",
    ),
    "patience": Key(
        "epochs without a better value after which a trial is pruned, in addition to `pruner`. A pruned "
        "trial cannot become the best trial, so leave room: with 5, a curve may stand still for four "
        "epochs",
        "–",
    ),
    "stop": Key(
        "`{no_gain: 20}`: the study stops when none of the latest 20 finished trials was better than the best"
        " before. `{lead: 0.95, after: 10}`: it stops when the best trial's lead over every other trial is "
        "above 0 with 95 % confidence, after at least 10 finished trials. This needs [`seeds` or "
        "`folds`](study_files.md#several-seeds-or-folds-as-one-trial): trials are compared seed by seed and "
        "fold by fold (a paired t interval). `{levels: {digits: 0.99}}`, for a grid: if a value of `digits` "
        "is worse than another one at two equal points or more, and its next point would be worse with "
        "99 % confidence (a prediction interval), its further points are pruned before they run. You can "
        "change `stop` later, and the study continues",
        "–",
    ),
    "max_epochs": Key(
        "epochs of a full run (`epochs` of the model)",
        "the model's",
    ),
    "seeds": Key(
        "a number: how many seeds each configuration is run with, [as one "
        "trial](study_files.md#several-seeds-or-folds-as-one-trial). A list: seeds of the first rounds in"
        " which the best are retrained; a race continues with the next ones",
        "`[1]`",
    ),
    "folds": Key(
        "how many folds each configuration is run on, as one trial; `{split: 5}` if the parameter is not "
        "called `fold`",
        "–",
    ),
    "aggregate": Key(
        "the value of a trial of several runs: `mean`, `median` or `worst`",
        "`mean`",
    ),
    "base": Key(
        "values below those of the space: options of the model, and `winner of: STUDY`",
        "the defaults",
    ),
    "requires": Key(
        "expressions that every configuration must fulfil",
        "–",
    ),
    "when": Key(
        "for a parameter: it exists only if this expression over other parameters is true",
        "always",
    ),
    "points": Key(
        "for a grid: the configurations to run instead of the full product (a design)",
        "the product",
    ),
    "shuffle": Key(
        "for a grid: true runs its points in a random order. The study's name decides the order, so it is"
        " the same for all agents and after every restart",
        "false: W&B's order",
    ),
    "first": Key(
        "configurations that a new study runs first, in order: `[{lr: 0.1}, {lr: 0.01, layers: 2}]`. The "
        "sampler draws what one leaves out. If the defaults are known, they are trial 0 all the same",
        "–",
    ),
    "defaults": Key(
        "the value that earlier trials had of a parameter that is new in the file: `{layers: 2}` ([a "
        "study that changes](study_files.md#a-study-that-changes))",
        "`base`, then the program's defaults",
    ),
    "constraints": Key(
        "bounds on logged metrics, `metric >= number`; the prefix `val/` is optional. Trials that meet "
        "them rank first, then those that miss them least. For TPE this holds for complete trials. Pruned"
        " trials are ranked by the epoch they reached (Optuna would use the constraint after, say, two "
        "epochs)",
        "–",
    ),
    "objectives": Key(
        "several objectives for the sampler, the metric first. Trials are pruned by the first",
        "the metric",
    ),
    "front": Key(
        "further metrics. The report draws a Pareto front of them and the objective. Pruning still works",
        "–",
    ),
    "matters": Key(
        "the largest difference of the metric that does not matter to you, for verdicts on claims",
        "the noise between seeds, where runs were repeated",
    ),
    "deterministic": Key(
        "`true`: repeated runs of a configuration give the same score, so one run is the truth, and "
        "`verdict` compares single runs",
        "runs differ by their seed",
    ),
    "hypotheses": Key(
        "[claims](study_files.md#claims) about the result",
        "–",
    ),
}
