"""A TCP link that cuts its connections after some bytes from the server."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from urllib.parse import urlsplit


class Link:
    def __init__(self, url: str, most: int) -> None:
        self.to = urlsplit(url)
        self.most: int | None = most
        """Cut after 1 to so many bytes; `None`: not any more."""
        self.cuts = 0
        self.url = ""
        self.ways: set[asyncio.Future[None]] = set()
        """Of the connections that stand."""

    def cut(self) -> None:
        """Cuts what stands, if something does."""
        self.cuts += bool(self.ways)
        for way in self.ways:
            way.cancel()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection(self.to.hostname, self.to.port)
        except OSError:
            writer.transport.abort()
            return
        left = random.randrange(1, self.most) if self.most is not None else 1 << 60

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter, limited: bool) -> None:
            nonlocal left
            while data := await source.read(4_096):
                if limited:
                    data = data[:left]
                    left -= len(data)
                sink.write(data)
                await sink.drain()
                if left == 0:
                    self.cuts += 1
                    return

        ways = [asyncio.ensure_future(copy(reader, up_writer, False)), asyncio.ensure_future(copy(up_reader, writer, True))]
        self.ways |= set(ways)
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        self.ways -= set(ways)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for end in (writer, up_writer):
            end.transport.abort()


@contextlib.asynccontextmanager
async def link(url: str, most: int) -> AsyncIterator[Link]:
    made = Link(url, most)
    server = await asyncio.start_server(made.carry, "127.0.0.1", 0)
    made.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}{made.to.path}"
    try:
        yield made
    finally:
        server.close()
