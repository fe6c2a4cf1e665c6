"""Digest of Python sources without comments, by which a design is recognised.

It takes no Amaranth, so that a computer without it can tell whether a design that was built
before is still the one that its sources describe.
"""

import ast
import hashlib
from collections.abc import Iterable
from importlib import resources

__all__ = ["sources_sha256"]


def sources_sha256(modules: Iterable[str]) -> str:
    """SHA-256 of modules' syntax, without comments, layout and docstrings.

    Parameters
    ----------
    modules : iterable of str
        Files by package and name, such as ``trilight.hw/engine/tables.py``.

    Returns
    -------
    str
        64 hexadecimal digits; the same for every version of Python that reads the same syntax.

    Raises
    ------
    OSError, SyntaxError
        A module is missing, or is none.
    """
    total = hashlib.sha256()
    for name in sorted(modules):
        package, _, path = name.partition("/")
        tree = ast.parse((resources.files(package) / path).read_bytes())
        total.update(f"{name}\n{_shape(tree)}\n".encode())
    return total.hexdigest()


def _shape(node: object) -> object:
    """Return a node as plain tuples, without empty fields."""
    if isinstance(node, list):
        return tuple(_shape(each) for each in node if not _is_text(each))
    if not isinstance(node, ast.AST):
        return node
    return type(node).__name__, *(
        (name, _shape(value)) for name, value in ast.iter_fields(node) if value not in (None, []))


def _is_text(node: object) -> bool:
    """Tell if a statement is a string alone, as docstrings are."""
    return (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str))
