"""The command line, ``trilight``.

Commands of other packages join through the entry points group ``trilight.commands``: an entry
point is a function, which becomes a command, or a ``typer.Typer``, which becomes a group. One that
misses a package stays in the list and says what it needs.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, NoReturn

import typer
from rich.markup import escape

from trilight.hw.support.extras import missing
from trilight.hw.support.terminal import Console
from trilight.sw.errors import MissingPackageError, TrilightError
from trilight.sw.train.renamed import RENAMED_OPTIONS

from .evaluate import evaluate
from .generate import generate
from .image import image
from .info import info
from .net import FAILED, INTERRUPTED, run

__all__ = ["COMMANDS", "command", "main"]

COMMANDS = "trilight.commands"
"""Entry points group of further commands."""

_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[2]
"""Error of arguments that the command line does not take; Typer has no name for it."""

EPILOG = """
[bold]First steps[/bold]

  trilight generate --prompt "ROMEO:" --tokens 200 --seed 7

  trilight generate --prompt "ROMEO:" --prompt "JULIET:"     two sequences at once

  trilight generate --prompt "ROMEO:" --target netlist       the chip, simulated

  trilight generate --prompt "ROMEO:" --target serial:PORT   a board

  trilight evaluate --corpus FILE                            quality of the model

  trilight import FOLDER -o FILE                             a published checkpoint

  trilight plan --model 370M --board ulx3s-85f --boards 12   what boards would do with it

Each command explains itself: trilight generate --help
"""


OWN = (generate, evaluate, info, image)

GROUPS = {
    "To run": ("generate", "classify", "score", "chat", "demo", "board", "selftest",
               "doctor"),
    "Models": ("info", "image", "import", "export", "plan", "evaluate", "calibrate-head"),
    "To train": ("train", "design", "compare", "anchors", "log-lines"),
    "To build": ("boards", "build", "flash", "explore"),
    "To measure": ("bench", "performance", "power", "meter", "calibrate", "field", "impact",
                   "simulation-speed", "training-speed"),
    "To develop": ("guard", "release-check", "soak", "formal", "faults", "mutation",
                   "verify-layer", "verify-token", "verify-shapes"),
}
"""Commands as ``trilight --help`` shows them; those of other packages come last."""

OTHERS = "Of other packages"

RENAMED = {"train": RENAMED_OPTIONS,
           **{name: {"--texts": "--sequences"} for name in ("plan", "power")}}
"""Options of earlier releases by command, and what they are called now."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    0 after success, 2 after an error, 70 after a fault of Trilight's own, 130 after Ctrl-C.
    """
    return run(lambda: command(arguments))


def command(arguments: Sequence[str] | None = None) -> object:
    """Run a command; return its exit status, if it has one, or raise what went wrong."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        _refuse_renamed(arguments)
        return typer.main.get_command(_build(arguments))(
            args=list(arguments), prog_name="trilight", standalone_mode=False)
    except typer.Abort:
        return INTERRUPTED
    except _USAGE_ERROR as error:
        context, text = getattr(error, "ctx", None), error.format_message()  # type: ignore[attr-defined]  # has one
        # Without a text, help has been shown instead.
        if text:
            console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
            if context is not None:
                console.print(context.get_usage())
                console.print(f"Try '{context.command_path} --help'.", style="dim")
            console.print("Error:", style="bold red", end=" ")
            console.print(text)
        return FAILED


def _refuse_renamed(arguments: Sequence[str]) -> None:
    """Say of an option of an earlier release what it is called now."""
    renamed = RENAMED.get(arguments[0], {}) if arguments else {}
    for argument in arguments[1:]:
        option = argument.partition("=")[0]
        if option in renamed:
            raise TrilightError(f"{option} is now called {renamed[option]}; "
                                f"trilight {arguments[0]} --help shows every option")


def _show_version(asked: bool) -> None:
    if asked:
        from .version import version_text

        Console(soft_wrap=True, highlight=False, markup=False).print(version_text())
        raise typer.Exit


def _build(arguments: Sequence[str]) -> typer.Typer:
    """The commands, of which those of other packages only as far as ``arguments`` need them."""
    app = typer.Typer(
        name="trilight", no_args_is_help=True, add_completion=False, rich_markup_mode="rich",
        epilog=EPILOG,
        context_settings={"help_option_names": ["-h", "--help"]})
    app.callback()(_program)
    for own in OWN:
        app.command(rich_help_panel=_group(own.__name__))(own)
    named = arguments[0] if arguments else ""
    if named == "--version":
        return app
    if named in {own.__name__ for own in OWN}:
        return app
    plugins = entry_points(group=COMMANDS)
    grouped = [name for names in GROUPS.values() for name in names]
    for plugin in plugins.select(name=named) if named in plugins.names else sorted(
            plugins, key=lambda plugin: (grouped.index(plugin.name) if plugin.name in grouped
                                         else len(grouped), plugin.name)):
        try:
            loaded = plugin.load()
        except ImportError as error:
            app.command(plugin.name, rich_help_panel=_group(plugin.name),
                        help=f"[dim]Not available: {escape(missing(error))}.[/]",
                        context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
                        )(_missing(plugin, error))
            continue
        if isinstance(loaded, typer.Typer):
            app.add_typer(loaded, name=plugin.name, rich_help_panel=_group(plugin.name))
        else:
            app.command(plugin.name, rich_help_panel=_group(plugin.name))(loaded)
    return app


def _program(
    version: Annotated[bool, typer.Option(
        "--version", callback=_show_version, is_eager=True,
        help="Show release, commit, released designs and tools, and nothing else.")] = False,
) -> None:
    """A MatMul-free ternary language model on a small FPGA: run it, measure it, check it."""


def _group(command: str) -> str:
    return next((group for group, names in GROUPS.items() if command in names), OTHERS)


def _missing(plugin: EntryPoint, error: ImportError) -> Callable[[], NoReturn]:
    def command() -> NoReturn:
        raise MissingPackageError(f"{plugin.name} needs a package that is not installed: "
                                  + missing(error)) from error

    return command


