"""A campaign file (YAML): studies and commands to run in order, and claims about the campaign's result.

steps:
  - study: vocabulary            # a shipped study, or a file next to this one
  - study: warmup.yaml           # starts from the previous winner (`tuner: base: {winner of: vocabulary}`)
  - run: tuner ensemble build --name best --study ${studies} --results ${results}
    creates: ensembles/best      # in the results folder; the step is done once this exists
  - study: decoding
    data: ${results}/ensembles/best
  - study: hypotheses            # decides the claims of the studies above that are still open
    budget: 15m
claims:
  - {claim: the winner reads 70 % of the tokens, metric: val/overall_acc, at_least: 0.7}
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from tuner.definition import yaml_source
from tuner.definition.yaml_source import YamlPart

HYPOTHESES = "hypotheses"  # the step that decides the open claims of the studies


@dataclass(frozen=True)
class Step:
    """A study, the claims of all studies, or a command.

    Attributes:
        study: name or file of the study, or `hypotheses`.
        run: words of the command.
        creates: the file or folder that the command creates.
        data: the data set that the trials read.
        budget: of the step `hypotheses`: seconds, in all; None: until every claim is decided.
        why: a sentence that is printed before the step.
    """

    study: str | None = None
    run: tuple[str, ...] = ()
    creates: str | None = None
    data: str | None = None
    budget: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Claim:
    """A claim about the best winner of the campaign: `metric` is at least `at_least`."""

    claim: str
    metric: str
    at_least: float


@dataclass(frozen=True)
class CampaignFile:
    """A checked campaign file."""

    path: Path
    steps: tuple[Step, ...]
    claims: tuple[Claim, ...]
    purpose: str = ""

    @property
    def studies(self) -> tuple[str, ...]:
        """Names or files of the studies, in order."""
        return tuple(step.study for step in self.steps if step.study not in (None, HYPOTHESES))  # type: ignore[misc]


def is_campaign(path: Path) -> bool:
    """Whether a file is a campaign: it has `steps` and no `parameters`."""
    top = yaml_source.read(path)
    return "steps" in top and "parameters" not in top


def read_campaign(path: Path) -> CampaignFile:
    """Reads and checks a campaign file.

    Raises:
        InputError: the file is wrong. The message has the file, the line, the key and what was expected.
    """
    top = yaml_source.read(path)
    top.only(("purpose", "steps", "claims"), "key")
    steps = tuple(_step(section) for section in top.sections("steps"))
    if not steps:
        top.fail("steps", "expected at least one step, {study: NAME} or {run: COMMAND}")
    claims = tuple(_claim(section) for section in top.sections("claims"))
    return CampaignFile(path, steps, claims, top.text("purpose", "").strip())


def _step(section: YamlPart) -> Step:
    section.only(("study", "run", "creates", "data", "budget", "why"), "key")
    study, command = section.text("study"), section.text("run")
    if (study is None) == (command is None):
        section.fail("study", "expected either 'study' or 'run' in a step")
    for key, needs in (("data", study), ("creates", command)):
        if key in section and needs is None:
            section.fail(key, f"is only allowed in a step with '{'study' if key == 'data' else 'run'}'")
    try:
        words = tuple(shlex.split(command or ""))
    except ValueError as error:
        section.fail("run", f"expected a shell command ({error})")
    if "budget" in section and study != HYPOTHESES:
        section.fail("budget", f"is only allowed in the step 'study: {HYPOTHESES}'")
    budget = section.duration("budget", "15m")
    return Step(study, words, section.text("creates"), section.text("data"), budget, section.text("why", ""))


def _claim(section: YamlPart) -> Claim:
    section.only(("claim", "metric", "at_least"), "key")
    for key in ("claim", "metric", "at_least"):
        if key not in section:
            section.fail(key, "missing; a claim needs 'claim', 'metric' and 'at_least'")
    return Claim(section.text("claim"), section.text("metric"), float(section.number("at_least")))
