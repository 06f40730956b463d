"""From logs to links, on small logs whose right answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from ml.calibration.logs.links import read_drive
from ml.calibration.logs.reader import read_log
from tests.support import small_logs

ROWS = 3000


def drive_of(folder, tables):
    """Write tables as logs of one drive, and read them."""
    return read_drive([read_log(path) for path in small_logs.write_all(folder, tables)])


def test_cars_between_are_counted_where_clocks_met_only_at_the_receiver(tmp_path):
    """Three cars in a row, one RX log: of the outer pair's frames all had the middle car between.

    The clocks of the two senders are an hour apart, and never met but at the receiver.
    """
    place = 12.0 * np.arange(ROWS) * 0.1
    tables = small_logs.drive(
        {"a": place + 30.0, "b": place + 15.0, "c": place}, receivers=["c"], fix_every=10
    )
    drive = drive_of(tmp_path, tables)
    links = {(link.source, link.receiver): link for link in drive.links}
    assert set(links) == {("a", "c"), ("b", "c")}
    outer, inner = links["a", "c"], links["b", "c"]
    assert outer.scored.sum() > ROWS - 20
    assert (outer.between[outer.scored] == 1).all()
    assert (inner.between[inner.scored] == 0).all()
    # One common clock: both links were driven at the same time.
    assert inner.time_s[0] == pytest.approx(outer.time_s[0], abs=0.1)
    assert outer.distance_m[outer.scored] == pytest.approx(30.0, abs=1.0)
