"""The shape of the project: what lies where, and which module may import which."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sqla_artifacts"

TOP = {
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "docs",
    "migrations",
    "pyproject.toml",
    "sqla_artifacts",
    "tests",
}

# A module imports from those above it only. A package counts as one module.
LEVELS = (
    "errors",
    "progress",
    "digest",
    "durable",
    "copying",
    "reference",
    "upload",
    "share",
    "recent",
    "payload",
    "datatypes",
    "member",
    "tree",
    "selection",
    "folder",
    "leftovers",
    "stat_cache",
    "packing",
    "contents",
    "directory",
    "archive",
    "placing",
    "unpacking",
    "backends",
    "transfer",
    "cache",
    "identity",
    "location",
    "reading",
    "store",
    "window",
    "read_ahead",
    "ledger",
    "source",
    "fetching",
    "checkout",
    "proxy",
    "lazy",
    "rows",
    "stored_member",
    "stored_path",
    "mapped",
    "comparison",
    "pending",
    "assignment",
    "validation",
    "reference_type",
    "types",
    "artifact_list",
    "prefetch",
    "attach",
    "plugin",
    "inventory",
    "collect",
    "verify",
    "salvage",
    "repair",
    "erase",
    "cli",
    "ext",
    "__init__",
    "testing",
)

# Convenience methods that reach upwards, from inside the function.
EXCEPTIONS = {("datatypes", "DataType.column_type"), ("store", "ArtifactStore.attach")}

LINES = 300
LONGER = {}  # a module that is longer, and why it is one noun all the same

OPTIONAL = {
    "PIL",
    "adlfs",
    "aiosqlite",
    "alembic",
    "asyncpg",
    "cloudpickle",
    "dill",
    "django",
    "flask",
    "gcsfs",
    "numpy",
    "obstore",
    "psycopg",
    "pyarrow",
    "pytest",
    "rich",
    "s3fs",
    "safetensors",
    "starlette",
    "torch",
    "tqdm",
}


MODULES = sorted(PACKAGE.rglob("*.py"))


def level(path):
    """The name in LEVELS that a file goes by."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def name(path):
    return path.relative_to(PACKAGE).as_posix()


def imports(node, scope=()):
    """Every import below a node that takes place, with the names of the functions around it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, ".".join(scope)
        elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            yield from imports(ast.Module(child.orelse, []), scope)
        elif isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imports(child, (*scope, child.name))
        else:
            yield from imports(child, scope)


def targets(node, path):
    """The levels that an import statement in a file of the package reaches."""
    if isinstance(node, ast.Import):
        modules = [alias.name.split(".") for alias in node.names]
    else:
        package = ["sqla_artifacts", *path.relative_to(PACKAGE).parent.parts]
        start = package[: len(package) - node.level + 1] if node.level else []
        module = start + (node.module.split(".") if node.module else [])
        # `from . import x`: a module of the package, or a name that its __init__ gathers.
        single = module == ["sqla_artifacts"]
        modules = [[*module, alias.name] for alias in node.names] if single else [module]
    for root, *rest in modules:
        if root == "sqla_artifacts":
            yield rest[0] if rest and rest[0] in LEVELS else "__init__"


def upward_imports(path):
    """The imports of a module that its level does not allow."""
    mine = level(path)
    tree = ast.parse(path.read_text(encoding="utf-8"), path)
    return [
        f"{name(path)}:{node.lineno} imports {other}"
        for node, function in imports(tree)
        for other in targets(node, path)
        if LEVELS.index(other) > LEVELS.index(mine)
        if (mine, function) not in EXCEPTIONS
    ]


def test_the_top_level_holds_only_what_it_should():
    listing = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    top = {line.strip('"').split("/")[0] for line in listing.stdout.splitlines()}
    assert {name for name in top if not name.startswith(".")} <= TOP


def test_every_module_has_a_level():
    assert {level(path) for path in MODULES} - set(LEVELS) == set()


@pytest.mark.parametrize("path", [path for path in MODULES if level(path) in LEVELS], ids=name)
def test_a_module_imports_only_from_those_above_it(path):
    assert upward_imports(path) == []


@pytest.mark.parametrize(
    ("where", "source", "rejected"),
    [
        ("store", "from .digest import hasher", False),
        ("digest", "from .store import ArtifactStore", True),
        ("digest", "from sqla_artifacts.store import ArtifactStore", True),
        ("digest", "import sqla_artifacts.store", True),
        ("digest", "from . import store", True),
        ("digest", "from . import ArtifactStore", True),
        ("digest", "from .reference import parse", True),
        ("backends/local", "from ..store import ArtifactStore", True),
        ("backends/local", "from . import Backend\nfrom .. import digest", False),
        ("backends/__init__", "from .local import LocalBackend\nfrom ..digest import x", False),
        ("digest", "def f():\n    from .store import ArtifactStore", True),
        ("digest", "if TYPE_CHECKING:\n    from .store import ArtifactStore", False),
        ("digest", "if TYPE_CHECKING:\n    pass\nelse:\n    from .store import x", True),
        ("store", "class ArtifactStore:\n    def attach(self):\n        from . import x", False),
        ("store", "class ArtifactStore:\n    def other(self):\n        from . import x", True),
        ("__init__", "from .types import Artifact", False),
        ("__init__", "from .testing import StoreTests", True),
    ],
)
def test_the_check_itself(tmp_path, monkeypatch, where, source, rejected):
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    path = tmp_path / f"{where}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(source)
    assert bool(upward_imports(path)) is rejected


def test_modules_stay_short():
    lines = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {module for module, count in lines.items() if count > LINES} == set(LONGER)


def test_importing_the_package_imports_no_optional_dependency():
    code = "import json, sys, sqla_artifacts; print(json.dumps(list(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert {name.split(".")[0] for name in json.loads(run.stdout)} & OPTIONAL == set()
