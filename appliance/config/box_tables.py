"""`mode` and `[console]` of the configuration file as values: what the box is, and how its own console behaves.

A workstation's `mailweir run` has no use for them. `schema` includes them. Reads nothing.
"""

from __future__ import annotations

from enum import Enum

import msgspec


class Mode(Enum):
    """How the box stands in the flow of mail; those that are built."""

    GATEWAY = "gateway"


class Keyboard(Enum):
    """What is printed on the keys of the keyboard beside the screen; xkeyboard-config's names."""

    US = "us"
    BE = "be"
    BR = "br"
    CA = "ca"
    CH_DE = "ch"
    CH_FR = "ch-fr"
    CZ = "cz"
    DE = "de"
    DK = "dk"
    DVORAK = "dvorak"
    EE = "ee"
    ES = "es"
    FI = "fi"
    FR = "fr"
    GB = "gb"
    HR = "hr"
    HU = "hu"
    IS = "is"
    IT = "it"
    JP = "jp"
    LATAM = "latam"
    NO = "no"
    PL = "pl"
    PT = "pt"
    RO = "ro"
    SE = "se"
    SK = "sk"
    TR = "tr"


class Console(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[console]`"""

    keyboard: Keyboard = Keyboard.US  # of the screen; a serial line has its own
    shell: bool = True  # a root shell for who knows the administrator's password; False: none at all
