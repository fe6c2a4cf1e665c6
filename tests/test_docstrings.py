"""Form of docstrings, as far as a machine can tell: each can stand alone in ``help()``."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(path for folder in ("hw", "sw", "sim", "boards")
               for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)

LEANING = {
    "after", "as", "at", "because", "before", "by", "from", "how", "if", "in", "is", "it", "its",
    "made", "of", "on", "or", "such", "than", "that", "then", "those", "to", "what", "when",
    "where", "whether", "which", "who", "whose", "why", "with", "without",
}
"""First words of a docstring that only says something behind the name before it."""

THIRD_PERSON = {
    "adds", "answers", "asks", "carries", "checks", "compares", "computes", "converts", "cuts",
    "draws", "executes", "finds", "generates", "gives", "holds", "keeps", "loads", "makes",
    "returns", "says", "sends", "shows", "takes", "tells", "turns", "walks", "writes",
}
"""Verbs that need the name before them as their subject."""

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def documented(path: Path) -> Iterator[tuple[str, str]]:
    """Place and docstring of what is public, attributes and constants too."""
    def walk(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
        if isinstance(node, Documented) and (text := ast.get_docstring(node)):
            yield name, text
        body = node.body if isinstance(node, ast.Module | ast.ClassDef) else []
        for number, child in enumerate(body):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                if not child.name.startswith("_"):
                    yield from walk(child, f"{name}.{child.name}")
            elif isinstance(child, ast.Assign | ast.AnnAssign) and number + 1 < len(body):
                target = child.target if isinstance(child, ast.AnnAssign) else child.targets[0]
                following = body[number + 1]
                if (isinstance(target, ast.Name) and not target.id.startswith("_")
                        and isinstance(following, ast.Expr)
                        and isinstance(following.value, ast.Constant)
                        and isinstance(following.value.value, str)):
                    yield f"{name}.{target.id}", following.value.value
    yield from walk(ast.parse(path.read_text(encoding="utf-8")),
                    ".".join(path.relative_to(ROOT).with_suffix("").parts))


def problem(text: str) -> str | None:
    first = text.split()[0].strip("`,.:;").lower() if text.split() else ""
    if first in LEANING | THIRD_PERSON:
        return f"begins with {first!r}"
    summary = text.strip().split("\n\n")[0].rstrip()
    return None if summary.endswith((".", ":", "::", "?")) else "its summary has no full stop"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_stand_alone(path: Path) -> None:
    wrong = [f"{name} {why}: {text.split(chr(10))[0]!r}"
             for name, text in documented(path) if (why := problem(text))]
    assert wrong == []


@pytest.mark.parametrize("text", ["Of a chip.", "What it does.", "Whether it runs.", "A thing",
                                  "Returns it."])
def test_leaning_docstrings_are_seen(text: str) -> None:
    assert problem(text)


@pytest.mark.parametrize("text", ["Return it.", "Width of a sum, in bits.", "True if it runs."])
def test_docstrings_that_stand(text: str) -> None:
    assert problem(text) is None
