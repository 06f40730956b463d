"""Names of nodes as the six bytes of a MAC address, and back without loss.

A board is named by the address that its maker gave it, a simulated car by a word. A word of one to
seven visible ASCII characters is numbered (words of base 94, shorter ones first), and that number,
at most 46 bits, fills a locally administered unicast address: no maker's address looks like it
(IEEE 802c-2017, the second lowest bit of the first byte). Any other address is a name as it stands,
written `24:0a:c4:12:34:56`.
"""

from __future__ import annotations

from typing import Final

from ml.errors import EmulatorError

LONGEST_NAME: Final = 7
_FIRST, _LAST = 0x21, 0x7E
_BASE: Final = _LAST - _FIRST + 1
_MAC_BYTES: Final = 6
_MAC_TEXT: Final = 17
_GROUP_BIT, _LOCAL_BIT = 0b01, 0b10


def check_name(name: str, what: str) -> None:
    """Raise EmulatorError unless a name fits the eight bytes of an id, its end included.

    Args:
        name: Of a vehicle.
        what: Whose name it is, for the message.
    """
    if 1 <= len(name) <= LONGEST_NAME and all(_FIRST <= ord(c) <= _LAST for c in name):
        return
    raise EmulatorError(
        f"{what} is {name!r}, allowed on the wire is a name of 1 to {LONGEST_NAME} visible ASCII "
        "characters (of a source also its MAC address, in lower case): choose a shorter or plainer "
        "name."
    )


def mac_of_name(name: str) -> bytes:
    """Return the address that stands for a source.

    Args:
        name: One to seven visible ASCII characters, or an address as text.

    Raises:
        EmulatorError: Neither, or an address that no single station has.
    """
    if len(name) == _MAC_TEXT and name[2::3] == ":" * (_MAC_BYTES - 1):
        try:
            address = bytes(int(name[3 * i : 3 * i + 2], 16) for i in range(_MAC_BYTES))
        except ValueError:
            address = b""
        if _as_text(address) == name:
            check_mac(address)
            if _word(address) is not None:
                raise EmulatorError(
                    f"source_id {name!r} is the address of the node named {_word(address)!r}: use "
                    "that name."
                )
            return address
    check_name(name, "V2VMessage.source_id")
    number = 0
    for character in name:
        number = number * _BASE + (ord(character) - _FIRST + 1)
    high = number >> 40
    return bytes([high << 2 | _LOCAL_BIT]) + (number & (2**40 - 1)).to_bytes(5, "big")


def name_of_mac(address: bytes) -> str:
    """Return the name that an address stands for: a word, or the address as text.

    Raises:
        EmulatorError: It is not the address of one station.
    """
    check_mac(address)
    return _word(address) or _as_text(address)


def check_mac(address: bytes) -> None:
    """Raise EmulatorError for an address that no single station has: a group's, or all zero."""
    if address[0] & _GROUP_BIT or not any(address):
        raise EmulatorError(
            f"source MAC {_as_text(address)} is {'a group address' if any(address) else 'empty'}, "
            "allowed is the address of one station."
        )


def _word(address: bytes) -> str | None:
    if address[0] & (_GROUP_BIT | _LOCAL_BIT) != _LOCAL_BIT:
        return None
    number = (address[0] >> 2) << 40 | int.from_bytes(address[1:], "big")
    letters = []
    while number:
        number, letter = divmod(number - 1, _BASE)
        letters.append(chr(_FIRST + letter))
    return "".join(reversed(letters)) if 1 <= len(letters) <= LONGEST_NAME else None


def _as_text(address: bytes) -> str:
    return ":".join(f"{byte:02x}" for byte in address)
