"""`roadsense`: one entry for every command."""

import sys
from collections.abc import Sequence

from ml import __version__
from ml.commands.catalogue import COMMANDS, run
from ml.console import take_any_text
from ml.errors import RoadSenseError
from ml.installation import hidden_message, require_own_python

_INTERRUPTED = 130


def _usage() -> str:
    lines = [
        "usage: roadsense COMMAND [OPTIONS]",
        "",
        "commands (and their duration on two cores):",
    ]
    lines += [f"  {name:<14}{c.summary} ({c.lasts})" for name, c in COMMANDS.items()]
    lines += ["", "roadsense COMMAND --help explains a command's options."]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: Command and options; None for those of the process.

    Returns:
        0 on success, 1 where something failed, 2 for a user's mistake, 130 when interrupted.
    """
    take_any_text()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in {"-h", "--help"}:
        sys.stdout.write(_usage() + "\n")
        return 0 if arguments else 2
    if arguments[0] == "--version":
        sys.stdout.write(f"roadsense {__version__}\n")
        return 0
    if arguments[0] not in COMMANDS:
        sys.stderr.write(f"roadsense: no command {arguments[0]!r}\n\n{_usage()}\n")
        return 2
    return _run(arguments[0], arguments[1:])


def _run(name: str, arguments: Sequence[str]) -> int:
    """Run a command, and tell what went wrong in words."""
    try:
        if name != "doctor":  # which examines just that
            require_own_python(sys.argv[0])
        return run(name, arguments)
    except RoadSenseError as error:
        sys.stderr.write(f"roadsense {name}: {error}\n")
        return error.exit_code
    except (ImportError, AttributeError):
        if not (hidden := hidden_message()):
            raise
        sys.stderr.write(f"roadsense {name}: {hidden}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(f"roadsense {name}: interrupted\n")
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
