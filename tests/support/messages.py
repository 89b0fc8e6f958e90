"""Messages for tests: of any size, each different from the others, with what is hard about them.

Used by the system tests.
"""

from __future__ import annotations

import random

KIB, MIB = 1 << 10, 1 << 20

# Split, so that no scanner takes the source for a test message.
GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE" + b"-STANDARD-ANTI" + b"-UBE-TEST-EMAIL*C.34X"
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR" + b"-STANDARD-ANTI" + b"VIRUS-TEST-FILE!$H+H*"


def body_of(size_bytes: int, seed: int) -> bytes:
    """A message of about that size, different for each seed: text lines, lines with dots, base64-like stretches."""
    chance = random.Random(seed)
    head = b"Subject: message %d\r\nX-Seed: %d\r\n\r\n" % (seed, seed)
    block = b"".join(
        (b"." * chance.randrange(3)) + chance.randbytes(chance.randrange(2, 36)).hex().encode() + b"\r\n"
        for _ in range(200)
    )
    return (head + b"%d\r\n" % seed + block * (size_bytes // len(block) + 1))[: size_bytes - 2].rstrip(
        b"\r\n"
    ) + b"\r\n"
