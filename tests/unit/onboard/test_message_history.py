"""The short history of what each peer said, and the count of messages that told of nobody new."""

import numpy as np

from ml.espnow_emulator import PayloadField
from ml.onboard.message_history import remember_messages
from ml.onboard.observation.spec import HISTORY


class Ear:
    """One ego with three sources, to which messages are given."""

    def __init__(self):
        self.heard = np.zeros((1, 1, 3), dtype=bool)
        self.sequence = np.zeros((1, 1, 3), dtype=np.int64)
        self.at_ms = np.zeros((1, 1, 3), dtype=np.int64)
        self.payload = np.zeros((1, 1, 3, len(PayloadField)))
        self.known = np.full((1, 3), -1, dtype=np.int64)
        self.said = np.zeros((1, 3, HISTORY + 1, 2))
        self.said_ms = np.zeros((1, 3, HISTORY + 1), dtype=np.int64)
        self.messages = np.zeros(1, dtype=np.int64)

    def tick(self, **speed_of):
        """Hear from the named sources, `s0` to `s2`, then remember."""
        for name, speed in speed_of.items():
            s = int(name[1:])
            self.heard[0, 0, s] = True
            self.sequence[0, 0, s] += 1
            self.at_ms[0, 0, s] += 100
            self.payload[0, 0, s, PayloadField.SPEED_MPS] = speed
        remember_messages(
            self.heard,
            self.sequence,
            self.at_ms,
            self.payload,
            self.known,
            self.said,
            self.said_ms,
            self.messages,
        )
        return int(self.messages[0])


def test_messages_count_from_the_last_peer_that_was_new():
    """Two a tick from known peers; a third peer begins the count again, silence does not."""
    ear = Ear()
    assert ear.tick(s0=20.0, s1=20.0) == 0
    assert ear.tick(s0=20.0, s1=20.0) == 2
    assert ear.tick() == 2, "no message, no news"
    assert ear.tick(s0=20.0) == 3
    assert ear.tick(s0=20.0, s2=20.0) == 0
    assert ear.tick(s2=20.0) == 1


def test_the_newest_comes_first_and_a_first_message_is_its_own_past():
    """Speeds of four messages, then of a fifth."""
    ear = Ear()
    ear.tick(s1=20.0)
    assert ear.said[0, 1, :, 1].tolist() == [20.0] * (HISTORY + 1)
    for speed in (19.0, 18.0, 17.0, 16.0):
        ear.tick(s1=speed)
    assert ear.said[0, 1, :, 1].tolist() == [16.0, 17.0, 18.0, 19.0]
    assert ear.said_ms[0, 1].tolist() == [500, 400, 300, 200]
    assert not ear.said[0, 0].any()
