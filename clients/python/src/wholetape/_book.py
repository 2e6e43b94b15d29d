"""A book as its messages make it, with the server's checksum (docs/api/websocket.md)."""

from __future__ import annotations

import zlib
from decimal import Decimal

from ._words import Json


class ChecksumError(Exception):
    """The book differs from the server's: ask `Client.resync(topic)` for all of it."""


class Book:
    """Levels by price. Give it every `data` and `snap` of the topic; marks change nothing."""

    def __init__(self) -> None:
        self._bids: dict[Decimal, Decimal] = {}
        self._asks: dict[Decimal, Decimal] = {}

    def bids(self, depth: int | None = None) -> list[tuple[Decimal, Decimal]]:
        """Price and size, best first."""
        return sorted(self._bids.items(), reverse=True)[:depth]

    def asks(self, depth: int | None = None) -> list[tuple[Decimal, Decimal]]:
        return sorted(self._asks.items())[:depth]

    def apply(self, message: Json) -> None:
        """Raises `ChecksumError` where the message carries a checksum that is not ours."""
        if message["op"] == "mark":
            return
        if message["op"] == "snap":
            self._bids.clear()
            self._asks.clear()
        data = message["data"]
        for side, levels in ((self._bids, data["b"]), (self._asks, data["a"])):
            for price, size in levels:
                if (held := Decimal(size)) == 0:
                    side.pop(Decimal(price), None)
                else:
                    side[Decimal(price)] = held
        if (crc := data.get("crc")) is not None and crc != self.crc():
            raise ChecksumError(f"checksum {self.crc()} differs from the server's {crc}")

    def crc(self) -> int:
        """CRC-32 of `price:size` of the best 10 bids, then asks."""
        levels = self.bids(10) + self.asks(10)
        return zlib.crc32("|".join(f"{_plain(price)}:{_plain(size)}" for price, size in levels).encode())


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
