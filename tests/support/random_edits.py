"""Files damaged at random: bytes lost, doubled, swapped; values and keys of another kind."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = int(os.environ.get("ROADSENSE_FUZZ_EXAMPLES", "100"))
"""`make soak` sets it to 50,000 for each kind of file."""

ONE_SCREEN_LINES = 24
_TOKENS = (b"{", b"}", b"[", b"]", b":", b",", b'"', b"\n", b" ", b"- ", b"null", b"NaN", b"1e999",
           b"-1", b"0", b"true", b"\x00", b"\xff", b"&a", b"*a", b"!!python/object:os.system", b"<",
           b"/>", b"&lol;")  # fmt: skip

fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from([0, 1, -1, 0.5, 1e300, "", "clean", "nan", "0x10", "1_000", "2026-01-01"]),
    st.text(max_size=12),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@st.composite
def damaged_bytes(draw: Callable[..., Any], original: bytes) -> bytes:
    """Cut, repeat, overwrite and insert at up to four places."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 40))
        how = draw(st.sampled_from(["cut", "truncate", "repeat", "overwrite", "insert"]))
        if how == "cut":
            del data[at : at + length]
        elif how == "truncate":
            del data[at:]
        elif how == "repeat":
            data[at:at] = data[at : at + length]
        elif how == "overwrite":
            data[at : at + length] = draw(st.binary(max_size=length))
        else:
            data[at:at] = draw(st.sampled_from(_TOKENS))
    return bytes(data)


@st.composite
def damaged_tree(draw: Callable[..., Any], original: str) -> Any:
    """Replace, add, rename or remove up to three values anywhere in a JSON document."""
    tree = json.loads(original)
    for _ in range(draw(st.integers(1, 3))):
        node, parent, key = tree, None, None
        while isinstance(node, (dict, list)) and node:
            if parent is not None and draw(st.integers(0, 4)) == 0:
                break
            keys = list(node) if isinstance(node, dict) else range(len(node))
            parent, key = node, draw(st.sampled_from(keys))
            node = node[key]
        if parent is None:
            break
        how = draw(st.sampled_from(["replace", "remove", "add"]))
        if how == "replace":
            parent[key] = draw(VALUES)
        elif how == "remove":
            del parent[key]
        elif isinstance(parent, dict):
            parent[draw(st.text(max_size=8))] = draw(VALUES)
        else:
            parent.append(draw(VALUES))
    return tree


def require_one_screen(message: str, place: str) -> None:
    """Fail where a message is longer than a screen, names no place or is a traceback."""
    assert place in message, message
    assert "Traceback" not in message
    lines = sum(1 + len(line) // 200 for line in message.splitlines())
    assert lines <= ONE_SCREEN_LINES, message
