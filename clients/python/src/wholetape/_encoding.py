"""How messages travel: the same maps with the same keys, as text or as MessagePack."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol


class Encoding(Protocol):
    subprotocol: str

    def encode(self, message: Any) -> str | bytes: ...

    def decode(self, frame: str | bytes) -> Any:
        """Raises `ValueError` where it is none."""
        ...


class Json:
    subprotocol = "wholetape.v1.json"

    def encode(self, message: Any) -> str:
        return json.dumps(message)

    def decode(self, frame: str | bytes) -> Any:
        return json.loads(frame)


class MsgPack:
    subprotocol = "wholetape.v1.msgpack"

    def __init__(self) -> None:
        """Raises `ImportError` where `msgpack` is not installed."""
        import msgpack

        self._pack: Callable[[Any], bytes] = msgpack.packb
        self._unpack: Callable[[bytes], Any] = msgpack.unpackb

    def encode(self, message: Any) -> bytes:
        return self._pack(message)

    def decode(self, frame: str | bytes) -> Any:
        if isinstance(frame, str):
            raise ValueError("a text frame where MessagePack was agreed on")
        return self._unpack(frame)
