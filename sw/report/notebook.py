"""A report as notebooks show it."""

import html
from typing import Any

from trilight.hw.support.terminal import visible

from .display import report_rows

__all__ = ["Report"]


class Report(dict[str, Any]):
    """A report of ``build_report``, with a line for a prompt and a table for a notebook.

    It is a dictionary otherwise, and becomes JSON as one.
    """

    def __repr__(self) -> str:
        said = ", ".join(f"{row.value} {row.unit}" for row in report_rows(self)
                         if row.name in ("tokens_per_s", "tokens_per_joule", "bits_per_byte"))
        return f"<Report {self['target']}, {said or 'nothing known'}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(row.label)}</td><td style='text-align: right'>"
            f"{html.escape(' '.join(filter(None, (row.value, row.unit))))}</td>"
            f"<td>{html.escape(row.span)}</td>"
            f"<td title='{html.escape(visible(row.source), quote=True)}'>"
            f"{html.escape(row.provenance)}</td></tr>" for row in report_rows(self))
        target, model = visible(self["target"]), self["model"]
        return (f"<table><caption>Trilight on {html.escape(target)}, "
                f"{model['ternary_weights']:,} ternary weights</caption><thead><tr><th></th>"
                f"<th></th><th>90 %</th><th>origin</th></tr></thead><tbody>{rows}</tbody></table>")
