"""Nothing that is read may run, and nobody on the network may read along."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from trilight.sw.errors import ClusterError
from trilight.sw.workers import open_executor

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {path: path.read_text(encoding="utf-8") for folder in ("hw", "sw", "sim", "boards")
           for path in sorted((ROOT / folder).rglob("*.py"))}

UNPICKLING = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib",
              # These unpickle what another process sends.
              "distributed", "dask", "multiprocessing", "concurrent.futures.process",
              "ProcessPoolExecutor"}
ALLOWED = {
    # Pipes to processes of its own, which nobody else can write to.
    "sw/workers.py": {"imports multiprocessing", "imports ProcessPoolExecutor",
                      # By TLS with certificates only; see test_schedulers_are_trusted.
                      "imports distributed", "imports distributed.security"},
    "sim/explore/cluster.py": {"imports concurrent.futures.process"},
    "sw/checkpoint/many.py": {"imports concurrent.futures.process"},
    "sim/verify/faults/campaign.py": {"imports ProcessPoolExecutor"},
    # Beside the source or in the user's own cache, as Python keeps its own compiled code.
    "sw/bench/baselines/compiled.py": {"keeps compiled code in a pickle"},
    "sw/checkpoint/kernel.py": {"keeps compiled code in a pickle"},
}
"""What is unpickled all the same, and why it comes from nobody else."""

EVALUATING = {"eval", "exec", "compile", "__import__"}
RELOADING = {("numpy", "load"), ("np", "load"), ("yaml", "load")}
"""What may unpickle or build objects of any kind, unless it is told otherwise."""

SERVERS = {"socketserver", "http.server", "xmlrpc.server", "asyncio", "aiohttp", "flask"}
LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, tuple[str, ...]]]:
    """Every call, with the dotted name of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            parts: list[str] = []
            function = node.func
            while isinstance(function, ast.Attribute):
                parts.insert(0, function.attr)
                function = function.value
            # A method of what an expression gives is no function of that name.
            parts.insert(0, function.id if isinstance(function, ast.Name) else "")
            yield node, tuple(parts)


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""
            yield from (alias.name for alias in node.names if alias.name in UNPICKLING)


def dangers(text: str) -> Iterator[str]:
    """What a module does that may run what it reads."""
    tree = ast.parse(text)
    yield from (f"imports {name}" for name in imports(tree)
                if name.split(".")[0] in UNPICKLING or name in UNPICKLING)
    for call, name in calls(tree):
        # The machine code that numba keeps beside the source is found by a pickled index.
        if name[-1] in ("jit", "njit", "vectorize", "guvectorize") and any(
                keyword.arg == "cache" for keyword in call.keywords):
            yield "keeps compiled code in a pickle"
        if len(name) == 1 and name[0] in EVALUATING:
            yield f"line {call.lineno} calls {name[0]}"
        # NumPy builds objects only where it is allowed to; said, so that it stays so.
        if name in RELOADING and not any(
                keyword.arg == "allow_pickle" and isinstance(keyword.value, ast.Constant)
                and keyword.value.value is False for keyword in call.keywords):
            yield f"line {call.lineno} calls {'.'.join(name)}"
        if name == ("torch", "load") and not any(
                keyword.arg == "weights_only" and isinstance(keyword.value, ast.Constant)
                and keyword.value.value is True for keyword in call.keywords):
            yield f"line {call.lineno} calls torch.load without weights_only=True"
        if any(keyword.arg == "shell" for keyword in call.keywords):
            yield f"line {call.lineno} starts a shell"


def listens(text: str) -> Iterator[str]:
    """Where a module waits for others, and on which address if it says so."""
    tree = ast.parse(text)
    yield from (f"imports {name}" for name in imports(tree) if name in SERVERS)
    for call, name in calls(tree):
        if name and name[-1] in ("bind", "create_server", "start_server", "listen"):
            first = call.args[0] if call.args else None
            host = first.elts[0] if isinstance(first, ast.Tuple) and first.elts else first
            if name[-1] == "listen" and not isinstance(first, ast.Tuple):
                continue  # the link's, or a socket that is bound
            if not (isinstance(host, ast.Constant) and host.value in LOOPBACK):
                yield f"line {call.lineno}: {'.'.join(name)}"
        for keyword in call.keywords:
            if keyword.arg in ("host", "interface", "dashboard_address", "scheduler_address") and (
                    isinstance(keyword.value, ast.Constant)
                    and isinstance(keyword.value.value, str)
                    and keyword.value.value.split(":")[0] not in LOOPBACK):
                yield f"line {call.lineno}: {keyword.arg}={keyword.value.value!r}"


def test_nothing_that_is_read_runs() -> None:
    found = {str(path.relative_to(ROOT)): set(dangers(text)) for path, text in SOURCES.items()}
    assert {path: what for path, what in found.items()
            if what - ALLOWED.get(path, set())} == {}
    # An allowance that nothing needs is one too many.
    assert {path: allowed - found[path] for path, allowed in ALLOWED.items()
            if allowed - found[path]} == {}


@pytest.mark.parametrize("address", [
    "tcp://127.0.0.1:8786", "127.0.0.1:8786", "ucx://host:1", "ws://host:1", "TLS://host:1", ""])
def test_schedulers_are_trusted(address: str) -> None:
    """Whatever has no certificates is refused before anything is sent or unpickled."""
    with pytest.raises(ClusterError, match="runs whatever anybody sends it"), \
            open_executor(address):
        pass


@pytest.mark.parametrize("text", [
    "from distributed import Client", "import dask", "import multiprocessing",
    "from concurrent.futures import ProcessPoolExecutor", "@numba.njit(cache=True)\ndef f(): ...",
    "import pickle", "from pickle import loads", "eval('1')", "exec(text)",
    "torch.load(path)", "torch.load(path, weights_only=False)", "np.load(path)",
    "np.load(path, allow_pickle=True)",
    "subprocess.run(text, shell=True)"])
def test_dangers_are_seen(text: str) -> None:
    assert list(dangers(text))


def test_dangers_are_not_seen_everywhere() -> None:
    assert not list(dangers("torch.load(path, weights_only=True)\n"
                            "np.load(path, allow_pickle=False)\nre.compile('a')\njson.load(f)"))


def test_servers_are_on_loopback() -> None:
    found = {str(path.relative_to(ROOT)): list(listens(text)) for path, text in SOURCES.items()}
    assert {path: what for path, what in found.items() if what} == {}


@pytest.mark.parametrize("text", [
    "s.bind(('', 80))", "s.bind(('0.0.0.0', 80))", "import socketserver",
    "Cluster(host='0.0.0.0')", "Cluster(dashboard_address=':8787')"])
def test_open_servers_are_seen(text: str) -> None:
    assert list(listens(text))


def test_loopback_servers_are_allowed() -> None:
    assert not list(listens("s.bind(('127.0.0.1', 80))\nCluster(host='127.0.0.1')\nlink.listen(1)"))
