"""The rooms know only what they may: imports are acyclic, and heavy packages stay where they belong."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterable
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tuner.definition.study_file import TUNER_KEYS

ROOT = Path(__file__).parent.parent
SPEC = importlib.util.spec_from_file_location("draw_architecture", ROOT / "docs" / "draw_architecture.py")
assert SPEC is not None and SPEC.loader is not None
picture = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(picture)
DOTTED = re.compile(r"(model|tuner|ensemble|inference)\.[a-z_]+(\.[a-z_]+)*(:\w+)?")
ROOMS = tuple(picture.ROOMS)  # from left to right: each imports those to its left
FLOORS = tuple(picture.FLOORS)  # of the engine, from the ground: each imports those below it
HEAVY = ("torch", "optuna", "wandb", "pandas", "sklearn", "matplotlib", "plotly")
OPTUNA_PRIVATE = "tuner/storage/optuna_private.py"
WANDB_PRIVATE = "tuner/workloads/child/tuner_wandb_private.py"
WANDB_FILES = ("tuner/tracking/", "tuner/workloads/child/")


def modules() -> list[Path]:
    return sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imports_of(path: Path, *, top_only: bool = False, types: bool = True) -> set[str]:
    """Dotted names that a file imports; with `top_only` just those that run when the module is imported.

    Without `types` those that only annotations need are left out.
    """
    if top_only:
        nodes: Iterable[ast.AST] = top_level(tree_of(path).body)
    else:
        nodes = ast.walk(
            tree_of(path) if types else WithoutTypes().visit(ast.parse(path.read_text(encoding="utf-8")))
        )
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                inner = ROOT / (node.module.replace(".", "/") + f"/{alias.name}.py")
                found.add(f"{node.module}.{alias.name}" if inner.exists() else node.module)
    return found


@functools.cache
def named_modules(path: Path) -> set[str]:
    """Dotted names of modules that a file imports, or names in a string (to import later, or to start)."""
    found = set(imports_of(path))
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and DOTTED.fullmatch(node.value):
            name = node.value.partition(":")[0]
            place = ROOT / name.replace(".", "/")
            if place.is_dir() or place.with_suffix(".py").is_file():  # `tuner.pruner` is a study file's key
                found.add(name)
    return found


class WithoutTypes(ast.NodeTransformer):
    """Takes out what stands under `if TYPE_CHECKING`."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if "TYPE_CHECKING" in ast.unparse(node.test) else self.generic_visit(node)


def top_level(body: list[ast.stmt]) -> list[ast.stmt]:
    """Statements that run on import: not those in functions, nor under `if TYPE_CHECKING`."""
    out: list[ast.stmt] = []
    for node in body:
        if isinstance(node, ast.If):
            if "TYPE_CHECKING" not in ast.unparse(node.test):
                out += top_level(node.body) + top_level(node.orelse)
        elif isinstance(node, ast.Try | ast.ClassDef):
            out += top_level(node.body)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            out.append(node)
    return out


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_rooms_to_its_left(room: str) -> None:
    wrong = []
    for path in modules():
        if name_of(path).startswith(f"{room}/"):
            rooms = {name.split(".")[0] for name in named_modules(path)} & set(ROOMS)
            allowed = {*ROOMS[: ROOMS.index(room) + 1]}
            wrong += [f"{name_of(path)} imports {other}" for other in sorted(rooms - allowed)]
    assert not wrong


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_of_the_engine_imports_only_those_below_it(floor: str) -> None:
    allowed = {*FLOORS[: FLOORS.index(floor) + 1]}
    wrong = []
    for path in (ROOT / "tuner" / floor).rglob("*.py"):
        floors = {name.split(".")[1] for name in named_modules(path) if name.startswith("tuner.")}
        wrong += [f"{name_of(path)} imports tuner.{other}" for other in sorted(floors - allowed)]
    assert not wrong


def test_the_picture_shows_the_code() -> None:
    assert picture.PICTURE.read_text(encoding="utf-8") == picture.draw(), "run docs/draw_architecture.py"


def test_every_folder_of_the_engine_is_a_floor() -> None:
    folders = {path.name for path in (ROOT / "tuner").iterdir() if path.is_dir() and path.name[0] != "_"}
    assert folders == set(FLOORS)


def test_only_the_tuner_knows_optuna() -> None:
    users = [
        name_of(p) for p in modules() if any(i.split(".")[0] == "optuna" for i in imports_of(p, types=False))
    ]
    assert users
    assert [u for u in users if not u.startswith("tuner/")] == []


def private_names_of_optuna() -> set[str]:
    """The underscore attributes of studies and trials, in every form in which Optuna hands them out."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage)
    forms = [study, study.ask(), *study.trials, *optuna.get_all_study_summaries(storage)]
    names = {name for form in [*forms, *storage.get_all_studies()] for name in dir(form)}
    return {name for name in names if name.startswith("_") and not name.startswith("__")}


def optuna_private_in(path: Path, names: set[str]) -> list[str]:
    """Private modules of Optuna that a file uses, and attributes with one of `names` that are not its own."""
    found, no_trials = [], {"self"}
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            no_trials |= {alias.asname or alias.name for alias in node.names}
            module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            used = [f"{module}{alias.name}" for alias in node.names]
            found += [name for name in used if re.match(r"optuna\..*\b_", name)]
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            text, of = ast.unparse(node), ast.unparse(node.value)
            if re.match(r"optuna\..*\b_", text) or (node.attr in names and of not in no_trials):
                found.append(text)
    return found


def test_private_names_of_optuna_are_used_in_one_file() -> None:
    names = private_names_of_optuna()
    found = {name_of(path): optuna_private_in(path, names) for path in (ROOT / "tuner").rglob("*.py")}
    assert found.pop(OPTUNA_PRIVATE)
    assert {name: used for name, used in found.items() if used} == {}


@pytest.mark.parametrize(
    "line",
    ["import optuna.storages._rdb", "from optuna.storages._rdb import models", "study._study_id",
     "from optuna.storages import _CachedStorage", "self._study._study_id", "study.ask()._trial_id",
     "optuna.study._frozen.FrozenStudy", "from optuna import _typing"],
)  # fmt: skip
def test_the_search_for_private_names_of_optuna_finds_them(line: str, tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(line + "\n")
    assert optuna_private_in(tmp_path / "module.py", private_names_of_optuna())


def names_in_docstrings(path: Path) -> set[str]:
    """Dotted names below our packages, and paths of Python files, in backticks."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    text = "\n".join(ast.get_docstring(n) or "" for n in ast.walk(tree_of(path)) if isinstance(n, kinds))
    rooms = "|".join(ROOMS)
    return set(re.findall(rf"`((?:{rooms})(?:\.\w+)+|(?:\w+/)+\w+\.py)`", text))


def is_there(name: str, user: Path) -> bool:
    """Whether a docstring of `user` names a module, what one defines, a file, or a key of study files."""
    if name.endswith(".py"):
        places = [user.parent, ROOT, *(ROOT / room for room in ROOMS)]
        return name == "tuner.py" or any((place / name).is_file() for place in places)
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        folder = ROOT.joinpath(*parts[:count])
        file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
        if file.is_file():
            words = set(re.findall(r"\w+", file.read_text(encoding="utf-8")))
            return set(parts[count : count + 1]) <= words or (count == 1 and parts[1] in TUNER_KEYS)
    return False


def test_docstrings_name_only_what_is_there() -> None:
    named = {(name_of(path), name) for path in modules() for name in names_in_docstrings(path)}
    assert len(named) > 20
    assert [(file, name) for file, name in sorted(named) if not is_there(name, ROOT / file)] == []


def test_only_tracking_knows_wandb() -> None:
    users = [name_of(p) for p in modules() if any(i.split(".")[0] == "wandb" for i in imports_of(p))]
    assert users
    assert [u for u in users if not u.startswith(WANDB_FILES)] == []


def test_private_names_of_wandb_are_used_in_one_file() -> None:
    found = {
        name_of(path): [ast.unparse(node) for node in ast.walk(tree_of(path))
                        if isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr)
                        and ast.unparse(node.value) not in ("self", "os")]
        for path in (ROOT / "tuner/workloads/child").glob("*.py")
    }  # fmt: skip
    assert found.pop(WANDB_PRIVATE)
    assert {name: used for name, used in found.items() if used} == {}


def test_no_file_imports_itself_through_others() -> None:
    names = {name_of(p).removesuffix(".py").removesuffix("/__init__").replace("/", "."): p for p in modules()}
    graph = {name: (imports_of(path) & set(names)) - {name} for name, path in names.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


def test_no_folder_imports_itself_through_others() -> None:
    """Of the folders of all rooms: each one's own files, without those in folders below it."""
    graph: dict[str, set[str]] = {}
    for path in modules():
        own = path.parent.relative_to(ROOT).as_posix()
        for name in imports_of(path):
            target = ROOT / (name.replace(".", "/") + ".py")
            other = target.parent.relative_to(ROOT).as_posix() if target.exists() else name.replace(".", "/")
            if (ROOT / other).is_dir() and other != own:
                graph.setdefault(own, set()).add(other)
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("room", ROOMS)
def test_help_imports_nothing_heavy(room: str) -> None:
    """`-h` answers at once because each command imports what it uses."""
    code = (
        "import sys, runpy\n"
        f"sys.argv = ['{room}', '--help']\n"
        f"try: runpy.run_module('{room}', run_name='__main__')\n"
        "except SystemExit: pass\n"
        f"heavy = set({HEAVY!r}) & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout


CLUSTER = (
    "tuner/plugins/pools/"  # orders and messages between workers of Dask or Ray, which pickle all they send
)
GIVEN = "tuner/workloads/given.py"  # what this process was given in Python, for the agents that it starts
UNSAFE = {
    "torch.load": "weights are safetensors",
    "torch.save": "weights are safetensors",
    "pickle": "nothing that is read from a file may run code",
    "joblib.load": "it unpickles",
    "joblib.dump": "it pickles",
    "yaml.load": "yaml.safe_load, or tuner.definition.yaml_source",
    "yaml.unsafe_load": "yaml.safe_load, or tuner.definition.yaml_source",
    "yaml.full_load": "yaml.safe_load, or tuner.definition.yaml_source",
    "eval": "tuner.definition.expressions",
    "exec": "nothing that is read from a file may run code",
    "shell=True": "a list of arguments",
}


def dangers_of(path: Path) -> list[str]:
    """What a file uses of `UNSAFE`, and each `np.load` that may unpickle."""
    found = [name for name in ("pickle", "cloudpickle", "dill", "marshal") if name in imports_of(path)]
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        options = [ast.unparse(k) for k in node.keywords if k.arg in ("allow_pickle", "shell", "typ")]
        if name in UNSAFE:
            found.append(name)
        if name in ("np.load", "numpy.load") and "allow_pickle=False" not in options:
            found.append("np.load without allow_pickle=False")
        if name.endswith("YAML") and not {"typ='safe'", "typ='rt'"} & set(options):
            found.append("ruamel's YAML of another kind than safe or rt")
        if "shell=True" in options:
            found.append("shell=True")
    return found


def test_nothing_that_is_read_can_run_code() -> None:
    found = {name_of(path): set(dangers_of(path)) for path in modules()}
    for name in found:
        if name.startswith(CLUSTER):
            found[name] -= {"pickle", "cloudpickle"}
    found[GIVEN] -= {"cloudpickle"}
    assert {name: dangers for name, dangers in found.items() if dangers} == {}


@pytest.mark.parametrize(
    "line",
    ["import pickle", "torch.load(p)", "yaml.load(s)", "np.load(p)", "np.load(p, allow_pickle=True)",
     "YAML()", "run(c, shell=True)", "eval(s)"],
)  # fmt: skip
def test_the_search_for_dangers_finds_them(line: str, tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(line + "\n")
    assert dangers_of(tmp_path / "module.py")
