"""Studies of the sweeps that a script makes itself, with `wandb.sweep` and `wandb.agent(id, function)`.

`tuner run train.py` runs the script and answers its calls. Each sweep becomes a study file in
`results/sweeps`, whose trials run the script again up to its agent (`workloads/child/tuner_sweeps.py`): a
trial is a process of its own, as of any script. It is pruned, several run at a time, and the study resumes.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import selectors
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tuner.base.errors import InputError, nearest
from tuner.base.files import make_folder, read_object, write_json
from tuner.base.wandb_files import environment, wandb_folder
from tuner.base.words import slug
from tuner.definition.loading import from_plain, load_study_file
from tuner.definition.study_file import StudyFile
from tuner.run.launch import Result
from tuner.storage.access import find_records
from tuner.storage.study import find_study
from tuner.storage.study_store import is_of_another_file
from tuner.workloads.script_trial import HOOK

FOLDER = "sweeps"  # in the results folder
LOOK_SECONDS = 0.2  # between looks whether the script has ended


@dataclass(frozen=True)
class Program:
    """A Python script or module, and how it is started again.

    Attributes:
        name: the script's path, or the module's dotted name. folder: where it was started.
    """

    name: str
    arguments: tuple[str, ...]
    folder: Path
    module: bool = False

    @classmethod
    def this_process(cls) -> Program:
        """The one that runs.

        Raises:
            InputError: it is no script (a notebook, say), which could not be started again for a trial.
        """
        main = sys.modules["__main__"]
        spec = getattr(main, "__spec__", None)
        if spec is not None:
            return cls(spec.name.removesuffix(".__main__"), tuple(sys.argv[1:]), Path.cwd(), module=True)
        file = getattr(main, "__file__", None)
        if file is None or not Path(file).is_file():
            raise InputError(
                "wandb.sweep: trials start the script again; there is no script here. Use tuner.study"
            )
        return cls(os.path.relpath(file), tuple(sys.argv[1:]), Path.cwd())

    @property
    def words(self) -> list[str]:
        """The command behind the interpreter."""
        return [*(["-m"] if self.module else []), self.name, *self.arguments]

    @property
    def stem(self) -> str:
        """What its studies are called where their sweeps have no name."""
        return self.name.rpartition(".")[2] if self.module else Path(self.name).stem

    @property
    def file(self) -> str:
        """The file that runs, as far as its name tells."""
        return f"{self.name.replace('.', '/')}.py" if self.module else self.name


class ScriptSweeps:
    """The sweeps of one run of a script.

    Args:
        run: called with a study file and how many finished trials are wanted in all (None: as it says).
    """

    def __init__(
        self, program: Program, results: Path, *, url: str, run: Callable[[StudyFile, int | None], Result]
    ) -> None:
        self.program, self._url, self._run = program, url, run
        self._folder = results.resolve() / FOLDER
        self._made: dict[str, Mapping[str, Any]] = {}  # configuration by id, in the order of the calls
        self._calls = 0
        self._wanted: Counter[str] = Counter()
        self.failed: list[str] = []  # why studies ended badly

    @property
    def made(self) -> bool:
        """Whether the script made a sweep."""
        return bool(self._made)

    def sweep(self, config: Any, *, entity: str | None = None, project: str | None = None) -> str:
        """The id of a sweep, which is its study's name. The same sweep of the same script has the same id.

        Raises:
            InputError: it is no sweep.
        """
        if not isinstance(config, Mapping):
            raise InputError(f"wandb.sweep: expected a dictionary, got {type(config).__name__}")
        self._calls += 1
        told = {"project": project, "entity": entity}
        whole = {**config, **{name: value for name, value in told.items() if value}}
        wanted = slug(str(whole.get("name") or self.program.stem))
        for count in itertools.count(1):
            name = wanted if count == 1 else f"{wanted}-{count}"
            path = self._path(name)
            if name not in self._made and self._is_free(path, name, whole):
                break
        content = self._through_agent(name, whole)
        from_plain(content, name=name, path=path)  # a mistake is one line, and no file
        self._made[name] = whole
        if not path.exists():
            make_folder(path.parent)
            write_json(path, content)
        return name

    def agent(self, sweep_id: str, *, count: int | None, calls: bool) -> Result:
        """Runs the study of a sweep.

        Args:
            count: of a sweep that this script made: finished trials in all, together with those of agents
                before. Of another sweep: trials on top of those that it has.
            calls: the agent has a function; else the sweep's own program runs.

        Raises:
            InputError: there is no such sweep, or it has nothing to run.
        """
        path = self._path(sweep_id)
        if not path.is_file():
            known = sorted(found.stem for found in self._folder.glob("*.yaml"))
            raise InputError(
                f"wandb.agent: no sweep '{sweep_id}' in {self._folder}{nearest(sweep_id, known)} "
                f"(there are: {', '.join(known) or 'none'})"
            )
        made = self._made.get(sweep_id)
        if made is not None and not calls:
            write_json(path, self._by_itself(sweep_id, made))
        wanted = None
        if count is not None:
            if sweep_id not in self._wanted and made is None:
                study = find_study(find_records(self._url), sweep_id)
                self._wanted[sweep_id] = 0 if study is None else study.finished()
            self._wanted[sweep_id] += count
            wanted = self._wanted[sweep_id]
        result = self._run(load_study_file(path), wanted)
        if not result.fine:
            self.failed.append(f"{sweep_id}: {result.reason}")
        return result

    def drive(self) -> int:
        """Runs the script to its end, answers its calls one at a time, and returns its exit status.

        Raises:
            InputError: there is no such script.
            KeyboardInterrupt: after Ctrl-C, once the script has ended.
        """
        program = self.program
        if not program.module and not (program.folder / program.name).is_file():
            raise InputError(f"{program.name}: no such script in {program.folder}")
        folder = wandb_folder(self._folder.parent, program.stem)
        make_folder(folder)
        with TemporaryDirectory() as scratch, socket.socket(socket.AF_UNIX) as server:
            path = f"{scratch}/sweeps"  # a path of 108 bytes at most: the results folder's may be too long
            server.bind(path)
            server.listen()
            sys.stdout.flush()
            variables = {  # those of a trial's script, so that its W&B is offline
                **environment(folder),
                "WANDB_MODE": "offline",
                "WANDB_CONSOLE": "off",
                "TUNER_EVENTS": os.devnull,  # what it logs itself belongs to no trial
                "TUNER_SWEEPS": path,
                "PYTHONPATH": os.pathsep.join([str(HOOK), *filter(None, [os.environ.get("PYTHONPATH")])]),
            }
            command = [sys.executable, *program.words]
            with subprocess.Popen(command, cwd=program.folder, env=variables) as child:
                try:
                    return self._serve(server, child)
                except KeyboardInterrupt:  # the terminal has told the script, too
                    with contextlib.suppress(KeyboardInterrupt):
                        child.wait()
                    raise
                finally:
                    if child.poll() is None:
                        child.terminate()

    def _serve(self, server: socket.socket, child: subprocess.Popen[bytes]) -> int:
        with selectors.DefaultSelector() as selector:
            selector.register(server, selectors.EVENT_READ)
            while child.poll() is None:
                if not selector.select(LOOK_SECONDS):
                    continue
                connection, _ = server.accept()
                with connection, connection.makefile("rb") as lines:
                    line = lines.readline()
                    found = self.answer(json.loads(line)) if line else {}
                    with contextlib.suppress(OSError):  # the script has gone meanwhile
                        connection.sendall(json.dumps(found).encode() + b"\n")
        return child.returncode

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a call in the script."""
        try:
            if request["do"] == "sweep":
                made = self.sweep(request["config"], entity=request["entity"], project=request["project"])
                return {"id": made}
            result = self.agent(request["id"], count=request["count"], calls=request["calls"])
            return {"interrupted": result.interrupted}
        except InputError as error:
            return {"error": str(error)}

    def _path(self, name: str) -> Path:
        return self._folder / f"{slug(name)}.yaml"

    def _is_free(self, path: Path, name: str, config: Mapping[str, Any]) -> bool:
        """Whether no other sweep, and no study of another file, has this name."""
        if not path.exists():
            return not is_of_another_file(find_records(self._url), name, path, self._folder.parent)
        here = json.loads(json.dumps([self._through_agent(name, config), self._by_itself(name, config)]))
        return read_object(path) in here

    def _through_agent(self, name: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """The study file of trials that run the script up to its agent."""
        variables = [f"TUNER_SWEEP={name}", f"TUNER_SWEEP_CALL={self._calls}"]
        command = ["env", *variables, "${interpreter}", *self.program.words]
        exists = (self.program.folder / self.program.file).is_file()
        program = {"program": self.program.file} if exists else {}
        return {**self._by_itself(name, config), **program, "command": command}

    def _by_itself(self, name: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """The study file of trials that run what the sweep names itself."""
        own = config.get("tuner") if isinstance(config.get("tuner"), Mapping) else {}
        folder = os.path.relpath(self.program.folder.resolve(), self._folder)
        return {**config, "name": name, "tuner": {"folder": folder, **(own or {})}}
