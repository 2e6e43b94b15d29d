"""asyncio around the state machine: it moves bytes, keeps time and decides nothing.

One task has the socket. Events wait in a bounded queue; while it is full the socket is not read, so that a slow user is slow
towards the server, which has policies for that. A user who takes nothing for half a minute is disconnected by the server, and goes on
from the position.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Literal

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from ._core import Core
from ._encoding import Encoding, Json, MsgPack
from ._words import Close, Connect, Cursor, Event, From, Message, Missed, Rows, Send, State

log = logging.getLogger("wholetape")

EVENTS = 1_024
"""Events that wait for the user."""

Placed = Message | Rows | Missed


def _name(ms: int) -> str:
    """A UUID of version 7 (RFC 9562): nobody else's, and it tells when it was made."""
    bits = (ms & ((1 << 48) - 1)) << 80 | 7 << 76 | (uuid.uuid4().int & ((1 << 76) - 1))
    return str(uuid.UUID(int=bits & ~(3 << 62) | 2 << 62))


class Client:
    """A client that comes back by itself.

    `async with Client(url) as client`, then `subscribe`, then `async for event in client`. Asking for the next event says that the one
    before was processed: that is what `positions()` holds, and what is acknowledged.
    """

    def __init__(
        self,
        url: str,
        *,
        positions: Mapping[str, Cursor] | None = None,
        token: Callable[[], str] | None = None,
        agent: str = "py/0.1.0",
        delays_ms: tuple[int, int] = (500, 30_000),
        encoding: Literal["json", "msgpack"] = "json",
    ) -> None:
        """`positions`: what `positions()` gave, to go on there. `token`: asked for a bearer token at each connection. `delays_ms`: the bounds
        of the first delay before it comes back, and of every later one. `encoding`: how messages travel; `"msgpack"` needs `wholetape[msgpack]`."""
        if not url.startswith(("ws://", "wss://")):
            raise ValueError(f"{url}: it begins with neither ws:// nor wss://")
        self.url = url
        self._token = token
        self._encoding: Encoding = Json() if encoding == "json" else MsgPack()
        self._core = Core(positions, agent=agent, decode=self._encoding.decode, renewable=token is not None, delays_ms=delays_ms)
        self._events: deque[Event] = deque()
        self._taken: Placed | None = None
        self._news = asyncio.Event()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None

    # What the user asks.

    @property
    def state(self) -> State:
        return self._core.state

    def topic_state(self, topic: str) -> str | None:
        t = self._core.topics.get(topic)
        return None if t is None else t.state

    def subscribe(self, topic: str, start: From = "live", *, credit: int | None = None, **keys: Any) -> None:
        """`credit`: so many messages, then it pauses until `flow` (of a pattern: each topic). `keys`: any other of `sub`: `ack="cum"`, `policy`,
        `lag`, `depth`, `conflate`, `view`. A topic that is subscribed already stays as it is."""
        self._core.subscribe(self._now(), topic, start, credit, **keys)
        self._wake.set()

    def unsubscribe(self, topic: str) -> None:
        self._core.unsubscribe(self._now(), topic)
        self._wake.set()

    def publish(self, topic: str, event: str, data: Any, *, if_seq: int | None = None) -> str:
        """Puts an event into a topic's log, once; returns the name by which `Published` speaks of it. Raises `Full`."""
        mid = _name(time.time_ns() // 1_000_000)
        self._core.publish(self._now(), mid, topic, event, data, if_seq)
        self._wake.set()
        return mid

    def resync(self, topic: str) -> None:
        """Asks for a topic's whole state again, as after a `ChecksumError`."""
        self._core.resync(self._now(), topic, whole=True)
        self._wake.set()

    def flow(self, topic: str, credit: int) -> None:
        """So many messages more of a topic may come (of history, any number); then it pauses, and the others go on. It adds to what is left, over
        any number of connections, up to a million. A topic that never had credit is unlimited, until about now. Raises `NoCredit`."""
        self._core.flow(self._now(), topic, credit)
        self._wake.set()

    def processed(self, topic: str, cursor: Cursor) -> None:
        """Everything up to `cursor` was processed (`async for` says so by itself)."""
        self._core.processed(self._now(), topic, cursor)
        self._wake.set()

    def positions(self) -> dict[str, Cursor]:
        """Where your processing stands: plain JSON, to be saved with its effects."""
        return self._core.positions()

    def stop(self) -> None:
        """Says goodbye; iteration ends after the events that wait."""
        self._core.stop(self._now())
        self._wake.set()

    async def close(self) -> dict[str, Cursor]:
        """Says goodbye, after the last acknowledgement, and returns the positions."""
        self._done()
        self.stop()
        if self._task is not None:
            await self._task
            self._task = None
        return self.positions()

    async def __aenter__(self) -> Client:
        self._core.start(self._now())
        self._task = asyncio.create_task(self._run(), name="wholetape")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            # What it was at was not processed.
            self._taken = None
        await self.close()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        self._done()
        while not self._events:
            if self._core.state.is_over and (self._task is None or self._task.done()):
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        event = self._events.popleft()
        self._room.set()
        self._taken = event if isinstance(event, Placed) else None
        return event

    def _done(self) -> None:
        taken, self._taken = self._taken, None
        if taken is not None:
            self.processed(taken.topic, taken.cursor)

    async def each(self, callback: Callable[[Event], None]) -> int:
        """Gives every event to `callback` until the client is over. What it throws is logged and counted, and changes nothing else: the
        event counts as processed."""
        thrown = 0
        async for event in self:
            try:
                callback(event)
            except Exception:
                thrown += 1
                log.exception("the callback threw at an event; the connection goes on")
        return thrown

    # The task.

    @staticmethod
    def _now() -> int:
        return time.monotonic_ns() // 1_000_000

    async def _run(self) -> None:
        try:
            while True:
                await self._carry_out()
                if self._core.state.is_over:
                    break
                due = self._core.next_timer()
                left = None if due is None else max(0, due - self._now()) / 1_000
                self._wake.clear()
                try:
                    await asyncio.wait_for(self._wake.wait(), left)
                except TimeoutError:
                    if self._full():
                        # What we do not read is no silence of the server's.
                        self._core.on_alive(self._now())
                    self._core.on_timer(self._now())
        finally:
            if self._reader is not None:
                self._reader.cancel()
            if self._socket is not None:
                await self._socket.close()
            self._news.set()
            # The task is done a moment later: look again then.
            asyncio.get_running_loop().call_soon(self._news.set)

    async def _carry_out(self) -> None:
        while actions := self._core.take():
            for action in actions:
                match action:
                    case Connect():
                        self._reader = asyncio.create_task(self._read(), name="wholetape socket")
                    case Send(message):
                        await self._send(self._encoding.encode(message))
                    case Close(code):
                        await self._close(code)
                        self._closed(code)
                    case _:
                        self._events.append(action.event)
                        self._news.set()

    def _full(self) -> bool:
        return len(self._events) >= EVENTS

    async def _send(self, frame: str | bytes) -> None:
        if self._socket is not None:
            try:
                await asyncio.wait_for(self._socket.send(frame), 10)
            except (ConnectionClosed, TimeoutError, OSError):
                log.debug("a frame was not taken; the reader sees the end")

    async def _close(self, code: int) -> None:
        reader, self._reader = self._reader, None
        socket, self._socket = self._socket, None
        if reader is not None:
            reader.cancel()
        if socket is not None:
            await socket.close(code)

    def _closed(self, code: int | None) -> None:
        self._socket = None
        self._core.on_closed(self._now(), code, random.random())
        self._wake.set()

    async def _read(self) -> None:
        """One connection, from its opening to its end."""
        code: int | None = None
        try:
            headers = {"Authorization": f"Bearer {self._token()}"} if self._token is not None else {}
            opening = connect(
                self.url,
                subprotocols=[Subprotocol(self._encoding.subprotocol)],
                additional_headers=headers,
                max_size=16 << 20,
                ping_interval=None,
                close_timeout=1,
                compression=None,
            )
            async with opening as socket:
                self._socket = socket
                self._core.on_open()
                self._wake.set()
                async for frame in socket:
                    self._core.on_text(self._now(), frame)
                    self._wake.set()
                    while self._full():
                        self._room.clear()
                        await self._room.wait()
                code = socket.close_code
        except InvalidStatus as refused:
            # What a refused upgrade means, in the words of close codes.
            code = {400: 1002, 401: 4101, 403: 4301, 426: 1002}.get(refused.response.status_code)
        except ConnectionClosed as closed:
            code = None if closed.rcvd is None else closed.rcvd.code
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.debug("no connection: %s", error)
        self._closed(code)
