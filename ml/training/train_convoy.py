"""Train a driving policy: `python -m ml.training.train_convoy`.

`roadsense train` is this, and has an episode of each evaluation drawn for TensorBoard: drawing is a
room above this one.

Exit codes: 0 the training is finished; 1 something failed, the last checkpoint is intact;
2 a mistake in what was asked, nothing was written; 3 it did not learn and was ended, the state is
saved; 130 stopped by Ctrl-C and 143 by SIGTERM, the state is saved.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ml.console import make_console, take_any_text
from ml.errors import ConfigError, RoadSenseError
from ml.training.defaults import ENTROPY_COEF, LEARNING_RATE, N_STEPS, TOTAL_TIMESTEPS
from ml.training.stop_signals import StopRequested, StopSignals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from ml.training.command_line import Invocation
    from ml.training.evaluated import Draw

    Several: TypeAlias = Callable[[Invocation], int]

__all__ = ["ENTROPY_COEF", "LEARNING_RATE", "N_STEPS", "TOTAL_TIMESTEPS", "main"]

_EXIT_FAILURE = 1


def main(
    argv: Sequence[str] | None = None, draw: Draw | None = None, several: Several | None = None
) -> int:
    """Train, and return the exit code.

    Args:
        argv: Options; None for those of the process.
        draw: Draws an episode of each periodic evaluation, for TensorBoard; None for no pictures.
        several: Trains with several seeds, or on a cluster; None where that cannot be asked for.

    Raises:
        SystemExit: `--help`, or an option that does not exist.
    """
    take_any_text()
    arguments = list(sys.argv[1:] if argv is None else argv)
    with StopSignals() as stop:
        try:
            # After the handlers, because these take seconds to import and a container's stop
            # would be lost on process 1 meanwhile.
            from ml.training.command_line import parse_command_line  # noqa: PLC0415

            invocation = parse_command_line(arguments)
            if invocation.seeds or invocation.cluster is not None:
                if several is None:
                    raise ConfigError("--seeds and --cluster are options of `roadsense train`")
                return several(invocation)
            from ml.training.session import train  # noqa: PLC0415

            train(invocation, arguments, console=make_console(), stop=stop, draw=draw)
        except StopRequested:
            sys.stderr.write("roadsense train: stopped\n")
        except RoadSenseError as error:
            sys.stderr.write(f"roadsense train: {error}\n")
            return error.exit_code
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            sys.stderr.write(
                f"roadsense train: cannot write: {error.strerror or error}{where}. Checkpoints "
                "written before are intact: make room, then continue with --resume latest.\n"
            )
            return _EXIT_FAILURE
        return stop.exit_code


if __name__ == "__main__":
    sys.exit(main())
