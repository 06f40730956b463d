"""A batch's SUMO, started again where it is lost in mid-rollout.

Over TraCI, SUMO can be killed, freeze or have its container taken away. Then the episodes that ran
on it end (truncated: it was not the policy's doing), SUMO is started or reached again, and new
episodes begin. What cannot be mended that way is an error: SUMO that does not come back before the
deadline and may not be replaced, or one that is lost again and again.
"""

import logging
import time
from collections import deque
from collections.abc import Callable

from ml.errors import SimulatorError, SimulatorLostError, SimulatorTimeoutError
from ml.sumo.protocol import Simulator

SUMO_LOST = (SimulatorLostError, SimulatorTimeoutError)
"""What a batch can recover from."""

_RETRY_S = 0.2
_MOST_LOSSES = 5
_WITHIN_TICKS = 500

_log = logging.getLogger(__name__)


class SimulatorKeeper:
    """Keeps a batch supplied with a running simulator.

    Args:
        simulator: The simulator, not started.
        return_within_s: How long a lost SUMO may take to come back.
        make_spare: Makes the simulator that takes over, for good, from one that does not come
            back; None: that is an error.

    Attributes:
        simulator: The one in use.
        running: Whether it was started and not lost or closed since.
        restarts: How often it was started again after a loss.
        truncated_episodes: How many episodes the losses have cut short.
    """

    def __init__(
        self,
        simulator: Simulator,
        *,
        return_within_s: float,
        make_spare: Callable[[], Simulator] | None = None,
    ) -> None:
        self.simulator = simulator
        self.running = False
        self.restarts = 0
        self.truncated_episodes = 0
        self._return_within_s = return_within_s
        self._make_spare = make_spare
        self._loss: Exception | None = None
        self._ticks_at_loss: deque[int] = deque(maxlen=_MOST_LOSSES)

    def start(self) -> None:
        """Start the simulator; after a loss, go on trying until it serves or the deadline passes.

        Raises:
            SimulatorError: It could not be started, or did not come back.
        """
        if self._loss is None:
            self.simulator.start()
        else:
            self._start_again(self._loss)
            self._loss = None
            self.restarts += 1
        self.running = True

    def lose(self, error: Exception, *, episodes: int, ticks: int) -> None:
        """Give up a simulator that was lost, so that the next `start` gets another SUMO.

        Args:
            error: How it was lost.
            episodes: Episodes that end with it.
            ticks: Ticks that the batch has been stepped so far.

        Raises:
            SimulatorError: It is lost again and again.
        """
        self.close()
        self._loss = error
        self.truncated_episodes += episodes
        _log.warning("SUMO is lost: %s %d episodes end here (truncated).", error, episodes)
        often = len(self._ticks_at_loss) == _MOST_LOSSES
        if often and ticks - self._ticks_at_loss[0] < _WITHIN_TICKS:
            raise SimulatorError(
                f"SUMO was lost {_MOST_LOSSES + 1} times within {_WITHIN_TICKS} ticks, the last "
                f"time so: {error} Something ends it each time; its memory limit (SUMO_MEMORY) is "
                "the usual suspect. Mend that, then continue with --resume latest."
            ) from error
        self._ticks_at_loss.append(ticks)

    def close(self) -> None:
        """End SUMO; may be called again."""
        self.running = False
        self.simulator.close()

    def _start_again(self, loss: Exception) -> None:
        began = time.monotonic()
        while True:
            try:
                self.simulator.start()
            except SUMO_LOST as error:
                waited_s = time.monotonic() - began
                if waited_s < self._return_within_s:
                    time.sleep(_RETRY_S)
                    continue
                self._replace(loss, error, waited_s)
            break
        _log.warning("SUMO runs again after %.1f s.", time.monotonic() - began)

    def _replace(self, loss: Exception, error: Exception, waited_s: float) -> None:
        if self._make_spare is None:
            raise SimulatorError(
                f"SUMO was lost and did not come back within {waited_s:.0f} s. It was lost so: "
                f"{loss} And since then: {error}"
            ) from error
        _log.warning(
            "SUMO has not come back within %.0f s (%s) From here on it runs inside this process, "
            "to the same results. `docker compose up --detach sumo` brings the service back.",
            waited_s,
            error,
        )
        spare, self._make_spare = self._make_spare(), None
        spare.start()
        self.simulator = spare
