"""The ``usermodel`` command, and ``python -m usermodel``, which is how torchrun starts it."""

import sys


def main() -> None:
    """Run the command; Ctrl-C ends it with 130 while it is still being imported, too."""
    try:
        from usermodel.cli.main import main as command
    except KeyboardInterrupt:
        sys.exit(130)
    command()


if __name__ == "__main__":
    main()
