"""The rooms know only what they may: imports are acyclic, and heavy packages stay where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("model", "tuner", "ensemble", "inference")
# room → the rooms that it may import
MAY_IMPORT = {
    "model": {"model"},
    "ensemble": {"ensemble", "model"},
    "tuner": {"tuner", "model"},
    "inference": {"inference", "model", "ensemble"},
}
HEAVY = ("torch", "optuna", "wandb", "pandas", "sklearn", "matplotlib", "plotly")
STUDY_MACHINERY = "inference/tune"  # the one place outside `tuner` that may use studies
OPTUNA_ROOMS = ("tuner/", STUDY_MACHINERY)
WANDB_FILES = ("tuner/tracking/", "tuner/external/child/")


def modules() -> list[Path]:
    return sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def imports_of(path: Path, *, top_only: bool = False, types: bool = True) -> set[str]:
    """Dotted names that a file imports; with `top_only` just those that run when the module is imported.

    Without `types` those that only annotations need are left out.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = top_level(tree.body) if top_only else ast.walk(tree if types else WithoutTypes().visit(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                inner = ROOT / (node.module.replace(".", "/") + f"/{alias.name}.py")
                found.add(f"{node.module}.{alias.name}" if inner.exists() else node.module)
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
def test_a_room_imports_only_the_rooms_it_may(room: str) -> None:
    wrong = []
    for path in modules():
        if not name_of(path).startswith(f"{room}/"):
            continue
        allowed = MAY_IMPORT[room] | ({"tuner"} if name_of(path).startswith(STUDY_MACHINERY) else set())
        rooms = {name.split(".")[0] for name in imports_of(path)} & set(ROOMS)
        if rooms - allowed:
            wrong.append(f"{name_of(path)} imports {sorted(rooms - allowed)}")
    assert not wrong


# folder of the tuner → the others that it may import; those not named here build on all of them
LAYERS = {
    "definition": set(),
    "tracking": set(),
    "storage": {"definition"},
    "search": {"definition", "storage"},
    "artifacts": {"definition", "storage", "search"},
    "external": {"definition", "tracking"},
}


@pytest.mark.parametrize("folder", LAYERS)
def test_the_tuners_folders_are_layers(folder: str) -> None:
    wrong = []
    for path in (ROOT / "tuner" / folder).rglob("*.py"):
        modules_of_tuner = {name for name in imports_of(path, types=False) if name.startswith("tuner.")}
        if above := {name.split(".")[1] for name in modules_of_tuner} - LAYERS[folder] - {folder}:
            wrong.append(f"{name_of(path)} imports tuner.{', '.join(sorted(above))}")
    assert not wrong


def test_only_the_tuner_knows_optuna() -> None:
    users = [name_of(p) for p in modules() if any(i.split(".")[0] == "optuna" for i in imports_of(p))]
    assert users
    assert [u for u in users if not u.startswith(OPTUNA_ROOMS)] == []


def test_only_tracking_knows_wandb() -> None:
    users = [name_of(p) for p in modules() if any(i.split(".")[0] == "wandb" for i in imports_of(p))]
    assert users
    assert [u for u in users if not u.startswith(WANDB_FILES)] == []


def test_imports_at_module_level_have_no_cycle() -> None:
    names = {name_of(p).removesuffix(".py").removesuffix("/__init__").replace("/", "."): p for p in modules()}
    graph = {name: (imports_of(path, top_only=True) & set(names)) - {name} for name, path in names.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


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


CLUSTER = "tuner/executors/"  # orders and messages between workers of Dask or Ray, which pickle all they send
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
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name, options = ast.unparse(node.func), [ast.unparse(keyword) for keyword in node.keywords]
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
    assert {name: dangers for name, dangers in found.items() if dangers} == {}


@pytest.mark.parametrize(
    "line",
    ["import pickle", "torch.load(p)", "yaml.load(s)", "np.load(p)", "np.load(p, allow_pickle=True)",
     "YAML()", "run(c, shell=True)", "eval(s)"],
)  # fmt: skip
def test_the_search_for_dangers_finds_them(line: str, tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(line + "\n")
    assert dangers_of(tmp_path / "module.py")
