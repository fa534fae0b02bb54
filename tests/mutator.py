"""A seeded mutator of bytes, for tests of readers: whatever it makes is read or named, and never a traceback.

mutated(data, np.random.default_rng(seed))
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PIECES = [
    *(
        b"\n",
        b" ",
        b"/",
        b"#",
        b"0",
        b"-",
        b"9999999999999",
        b"nan",
        b"-1",
        b"1e999",
        b"~",
        b"x",
        b":5",
        b"+",
        b"(",
        b",",
    ),
    *(
        b"\0",
        b"\x1b[2J",
        b"\x85",
        b"\xff",
        b"\r",
        b"\t",
        b"\x0c",
        b".",
        b";",
        b"|",
        b"x500",
        b"Hz",
        b"mV",
        b"V1",
        b"II",
    ),
    *("µ²٣\u2028\u202e".encode(), b"%s", b"../", b"A.mat", b"212", b"516", b"8", b"2147483647", b"-32768", b"1/0"),
]


def mutated(data: bytes, rng: np.random.Generator, pieces: Sequence[bytes] = PIECES) -> bytes:
    """The bytes with one to six cuts, repeats, exchanged bits and foreign pieces."""
    for _ in range(rng.integers(1, 7)):
        at, cut = int(rng.integers(0, len(data) + 1)), int(rng.integers(0, 12))
        kind = rng.integers(0, 5)
        if kind == 0:
            piece = pieces[rng.integers(len(pieces))]
        elif kind == 1:
            piece = rng.bytes(int(rng.integers(0, 6)))
        elif kind == 2:
            piece = data[at : at + cut] * int(rng.integers(1, 4))
        elif kind == 3 and data[at : at + 1]:
            piece, cut = bytes([data[at] ^ (1 << int(rng.integers(8)))]), 1
        else:
            piece = b""
        data = data[:at] + piece + data[at + cut :]
    return data
