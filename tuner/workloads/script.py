"""The workload of scripts: finds the script of a study file, and its defaults. `script_trial` runs it."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.base.errors import InputError
from tuner.base.run_folder import Report
from tuner.workloads import macros
from tuner.workloads.script_defaults import defaults_in
from tuner.workloads.script_trial import Script
from tuner.workloads.workload import Inputs, Say, Workload, names_wandb

if TYPE_CHECKING:
    from tuner.definition.study_file import StudyFile


class ScriptWorkload(Workload):
    """Runs the script of a study file with `program:` or `command:`, once a trial."""

    own_tracking = True
    scores = True

    def inputs(self, chosen: Path | None, results: Path, say: Say) -> Inputs:
        if (program := self._program) is None:
            return Inputs()
        return Inputs(program.name, hashlib.sha256(program.read_bytes()).hexdigest())

    @property
    def uses_wandb(self) -> bool:
        return self._program is None or names_wandb(self._program)

    def defaults(self) -> Mapping[str, Any] | None:
        """What the script's own parser or `wandb.init(config=…)` would give the searched parameters."""
        return self._defaults({parameter.name for parameter in self.file.space.searched})

    def seeded(self, config: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """A script gets a seed only where the study file or its own text says that it takes one."""
        name = self.file.seed or ("seed" if "seed" in config or self._has_seed else None)
        return {} if name is None else {name: seed}

    @cached_property
    def _has_seed(self) -> bool:
        return self._defaults({"seed"}) is not None

    def _defaults(self, names: Collection[str]) -> dict[str, Any] | None:
        program = self._program
        return None if program is None or program.suffix != ".py" else defaults_in(program, names)

    def run(
        self,
        config: Mapping[str, Any],
        report: Report,
        *,
        run_folder: Path,
        inputs: Path | None,
        checkpoint: Path | None,
    ) -> Mapping[str, float]:
        file = self.file
        script = Script(
            study=file.name,
            program=file.program,
            command=tuple(file.command) if file.command else None,
            folder=folder_of(file),
            metric=file.metric,
            project=file.raw.get("project"),
            entity=file.raw.get("entity"),
            results=self.results_of(run_folder),
            wandb=self.wandb,
            counts=file.run,
            pairs=file.metrics_from == "stdout",
        )
        return script(config, report, run_folder=run_folder, checkpoint=checkpoint)

    def command_line(self, config: Mapping[str, Any]) -> str:
        """The script's command. Variables stay names (`$KEY`), because their values may be secrets."""
        names = macros.variables(self.file.command)
        command = macros.expand(
            self.file.command,
            program=self.file.program,
            config=config,
            json_file=Path("arguments.json"),
            environment={name: f"${name}" for name in names},
            interpreter="python",
        )
        return shlex.join(part for part in command if part != "/usr/bin/env")

    @property
    def _program(self) -> Path | None:
        """The script's file; None where the command names none that is there. Errors: `folder_of`."""
        folder = folder_of(self.file)
        module = macros.module_in(self.file.command, self.file.program)
        words = [
            self.file.program,
            module and f"{module.replace('.', '/')}.py",
            *(str(part) for part in self.file.command or ()),
        ]
        return next((folder / word for word in words if word and (folder / word).is_file()), None)


def folder_of(file: StudyFile) -> Path:
    """Where the script of a study runs.

    Raises:
        InputError: the folder, or the program, is not there.
    """
    if file.folder is None:
        return working_folder(file.path, file.program, file.command)
    folder = (Path(file.path).resolve().parent / file.folder).resolve()
    if not folder.is_dir():
        raise InputError(f"{file.path}: 'tuner.folder': {folder} does not exist")
    return folder


def working_folder(path: Path | None, program: str | None, command: Any) -> Path:
    """Where the script runs: the study file's folder, or the current one where only that has the program.

    `wandb agent` runs it in the current folder; a sweep file found deep in a repository often counts on that.
    """
    beside = Path(path).resolve().parent if path else Path.cwd()
    module = macros.module_in(command, program)
    if module is not None and (_has_module(Path.cwd(), module) or module == program):
        return beside if _has_module(beside, module) else Path.cwd()
    if not macros.uses(command, "program"):
        files = [str(part) for part in command or () if str(part).endswith((".py", ".sh"))]
        here = any((Path.cwd() / file).is_file() for file in files)
        return Path.cwd() if here and not any((beside / file).is_file() for file in files) else beside
    if program is None:
        raise InputError(f"{path}: the command has ${{program}} but the file has no 'program'")
    for folder in (beside, Path.cwd()):
        if (folder / program).is_file():
            return folder
    found = next((path for base in (Path.cwd(), beside.parent) for path in base.glob(f"*/{program}")), None)
    start = f"; it is in {found.parent}: start the command there" if found else ""
    places = f"not in {beside}" if beside == Path.cwd() else f"neither in {beside} nor in {Path.cwd()}"
    raise InputError(f"{path}: program '{program}' is {places}{start}")


def _has_module(folder: Path, name: str) -> bool:
    """Whether Python, started in `folder`, finds there what `-m name` runs."""
    place = folder / name.replace(".", "/")
    return place.is_dir() or place.with_suffix(".py").is_file()
