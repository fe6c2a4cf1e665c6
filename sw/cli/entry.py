"""The program ``trilight``: its imports, which take a second, are under the same net as the rest.
"""

__all__ = ["main"]


def main() -> int:
    """Run the command line and return its exit status."""
    try:
        from .net import run

        def program() -> object:
            from .app import command

            return command()

        return run(program)
    except KeyboardInterrupt:
        # Before the net was there.
        return 130
