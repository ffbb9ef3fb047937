"""The shape of the tree, checked: budgets, layers' homes, names, lazy imports."""

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import usermodel

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "usermodel"
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_FILE, MEDIAN_FILE, MAX_FUNCTION, MAX_PARAMETERS, MAX_DEPTH, MAX_INHERITANCE = 300, 120, 50, 8, 2, 2


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_no_file_is_longer_than_the_budget():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in FILES}
    assert {name: n for name, n in lengths.items() if n > MAX_FILE} == {}
    assert (
        statistics.median(n for name, n in lengths.items() if not name.endswith("__init__.py")) <= MEDIAN_FILE
    )


def test_no_function_is_longer_than_the_budget():
    # The parameters of a CLI command are its published options: the declaration is not counted (decision 0002).
    long = {}
    for path in FILES:
        for node in functions(path):
            start = node.body[0].lineno if path.parent.name == "cli" else node.lineno
            if node.end_lineno - start + 1 > MAX_FUNCTION:
                long[f"{path.name}:{node.name}"] = node.end_lineno - start + 1
    assert long == {}


def test_no_function_takes_more_parameters_than_the_budget():
    wide = {}
    for path in FILES:
        if path.parent.name == "cli":
            continue
        for node in functions(path):
            args = node.args
            names = [
                a.arg
                for a in [*args.posonlyargs, *args.args, *args.kwonlyargs]
                if a.arg not in {"self", "cls"}
            ]
            if len(names) > MAX_PARAMETERS:
                wide[f"{path.name}:{node.name}"] = len(names)
    assert wide == {}


def test_folders_are_at_most_two_deep():
    assert [str(path) for path in FILES if len(path.relative_to(PACKAGE).parts) > MAX_DEPTH] == []


def test_sub_package_inits_hold_a_docstring_and_nothing_else():
    for path in PACKAGE.glob("*/__init__.py"):
        body = ast.parse(path.read_text()).body
        assert isinstance(body[0], ast.Expr), path
        if path.parent.name != "recipes":  # decision 0002: um.recipes.next_item() needs a module __getattr__
            assert len(body) == 1, path


def test_inheritance_is_shallow():
    """Classes of ours above a class, outside libraries not counted."""
    bases: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = [base.id for base in node.bases if isinstance(base, ast.Name)]

    def depth(name: str) -> int:
        return 1 + max((depth(base) for base in bases[name] if base in bases and base != name), default=-1)

    assert {name: depth(name) for name in bases if depth(name) > MAX_INHERITANCE} == {}


def test_data_and_benchmarks_are_not_packages():
    """A package named `datasets` in the working folder would shadow another well-known one."""
    for folder in ("datasets", "benchmarks"):
        assert not list((ROOT / folder).rglob("__init__.py"))


def test_every_module_has_a_docstring():
    assert [str(path) for path in FILES if ast.get_docstring(ast.parse(path.read_text())) is None] == []


def test_public_names_are_few_and_all_load():
    assert len(usermodel.__all__) <= 15
    for name in usermodel.__all__:
        assert getattr(usermodel, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        usermodel.nonsense  # noqa: B018


@pytest.mark.parametrize(
    "module", ["usermodel", "usermodel.events.readers", "usermodel.store.build", "usermodel.cli.main"]
)
def test_light_modules_do_not_load_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_pickle_and_no_eval():
    """safetensors, npy, Parquet and JSON only."""
    banned = (
        "import pickle",
        "torch.save(",
        "torch.load(",
        "allow_pickle=True",
        "yaml.load",
        " eval(",
        "import joblib",
    )
    found = [
        (str(path.relative_to(PACKAGE)), word)
        for path in FILES
        for word in banned
        if word in path.read_text()
    ]
    # A program that runs alone, with limits, to read other people's checkpoints.
    assert found == [("encoders/torch_file.py", "torch.load(")]


def test_the_one_call_of_torch_load_reads_weights_only():
    tree = ast.parse((PACKAGE / "encoders" / "torch_file.py").read_text())
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    options = [{word.arg: ast.unparse(word.value) for word in call.keywords} for call in calls]
    assert options == [{"map_location": "'cpu'", "weights_only": "True"}]


def test_no_machine_paths_in_tracked_files():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    marker = str(ROOT.parent) + "/"
    texts = {name: (ROOT / name).read_text(errors="ignore") for name in listed if (ROOT / name).is_file()}
    assert [name for name, text in texts.items() if marker in text] == []
