"""The short history of what each peer sent, and the count of messages that told of nobody new."""

import pytest
from support.boards import HandFed

from ml.onboard.memory import SPEED_TICKS
from ml.onboard.observation.spec import EGO_INDEX, EGO_LIMITS
from ml.onboard.views import HISTORY


class Ear(HandFed):
    """One ego with three sources, to which messages are given."""

    def __init__(self):
        super().__init__(sources=3)

    def tell(self, **speed_of):
        """Hear from the named sources, `s0` to `s2`; return the count of messages."""
        for name, speed in speed_of.items():
            self.message(int(name[1:]), speed_mps=speed)
        self.tick()
        return int(self.board.memory.messages[0])


def test_messages_count_from_the_last_peer_that_was_new():
    """Two a tick from known peers; a third peer begins the count again, silence does not."""
    ear = Ear()
    assert ear.tell(s0=20.0, s1=20.0) == 0
    assert ear.tell(s0=20.0, s1=20.0) == 2
    assert ear.tell() == 2, "no message, no news"
    assert ear.tell(s0=20.0) == 3
    assert ear.tell(s0=20.0, s2=20.0) == 0
    assert ear.tell(s2=20.0) == 1


def test_the_newest_comes_first_and_a_first_message_is_its_own_past():
    """Speeds of four messages, then of a fifth."""
    ear = Ear()
    memory = ear.board.memory
    ear.tell(s1=20.0)
    assert memory.sent[0, 1, :, 1].tolist() == [20.0] * (HISTORY + 1)
    for speed in (19.0, 18.0, 17.0, 16.0):
        ear.tell(s1=speed)
    assert memory.sent[0, 1, :, 1].tolist() == [16.0, 17.0, 18.0, 19.0]
    assert memory.sent_ms[0, 1].tolist() == [500, 400, 300, 200]
    assert not memory.sent[0, 0].any()


def test_the_change_of_speed_is_that_since_half_a_second_ago():
    """And since the episode's start before that; the new episode begins without the old one's."""
    ear = Ear()

    def change_mps():
        at = EGO_INDEX["speed_change"]
        return ear.board.observe()["ego"][0, at] * EGO_LIMITS[0, at]

    assert change_mps() == 0.0
    for tick in range(1, 9):
        ear.speed_mps = 20.0 + tick
        ear.tick()
        assert change_mps() == pytest.approx(min(tick, SPEED_TICKS))
    ear.reset()
    assert change_mps() == 0.0
