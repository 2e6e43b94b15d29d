"""Against a running gateway (`WHOLETAPE_URL`), over a link that is cut: what the cut client has is what an uncut one has."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, Literal

import pytest

from link import Link, link
from wholetape import (
    Book, Client, Event, Message, Missed, NoCredit, Published, Rows, ServerError, State, TopicState, Unpublished, records, to_pandas,
    to_polars,
)

URL = os.environ.get("WHOLETAPE_URL", "")
TRADES = os.environ.get("WHOLETAPE_TRADES", "trade.BTCUSDT.BINANCE")
BOOK = TRADES.replace("trade.", "book.")
EXAMPLES = Path(__file__).parents[3] / "examples"

pytestmark = pytest.mark.skipif(
    not URL and "REQUIRE_GATEWAY" not in os.environ, reason="no gateway: WHOLETAPE_URL names none"
)


def within(seconds: float, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), seconds))


async def upto(client: Client, topic: str, seq: int) -> list[Message]:
    """Every message of a topic, to at least `seq`."""
    got: list[Message] = []
    async for event in client:
        assert not isinstance(event, (Missed, ServerError)), event
        if isinstance(event, Message) and event.topic == topic:
            got.append(event)
            if event.cursor["seq"] >= seq:
                break
    return got


async def head(topic: str) -> int:
    """A seq that is near the head."""
    async with Client(URL) as client:
        client.subscribe(topic, {"last": 1})
        async for event in client:
            if isinstance(event, Message):
                return int(event.cursor["seq"])
    raise AssertionError("over")


def joined(messages: list[Message]) -> None:
    at = None
    for event in messages:
        m = event.message
        assert at is None or m["op"] == "snap" or m.get("prev", m["seq"] - 1) == at, m
        at = m["seq"]


def same(a: list[Message], b: list[Message], upto: int) -> None:
    assert [e.message for e in a if e.cursor["seq"] <= upto] == [e.message for e in b if e.cursor["seq"] <= upto]


@contextlib.asynccontextmanager
async def cut(most: int, encoding: Literal["json", "msgpack"] = "json") -> AsyncIterator[tuple[Link, Client]]:
    """`most` is more than a batch (64 KiB), else nothing would ever come."""
    async with link(URL, most) as wire, Client(wire.url, delays_ms=(5, 50), encoding=encoding) as client:
        yield wire, client


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_cut_again_and_again_it_has_what_an_uncut_client_has(encoding: Literal["json", "msgpack"]) -> None:
    async def test() -> None:
        async with cut(150_000, encoding) as (wire, client):
            client.subscribe(TRADES, "earliest", ack="cum")
            client.subscribe(BOOK)
            trades: list[Message] = []
            book, books, states = Book(), 0, set()
            end = time.monotonic() + 12
            async for event in client:
                assert not isinstance(event, (Missed, ServerError)), event
                match event:
                    case Message(topic=topic, message=m):
                        if topic == TRADES:
                            trades.append(event)
                        else:
                            book.apply(m)
                            books += 1
                    case State(name=name):
                        states.add(name)
                if time.monotonic() > end and wire.cuts >= 10 and books > 100:
                    break
            assert {"connecting", "authenticating", "resuming", "live", "waiting"} <= states
            assert len(book.bids(5)) == 5, "a book whose checksums were equal"
        joined(trades)
        last = trades[-1].cursor["seq"]
        async with Client(URL) as client:
            client.subscribe(TRADES, "earliest")
            same(trades, await upto(client, TRADES, last), last)
        assert client.state.name == "closed"

    within(60, test)


def test_a_stored_cursor_goes_on_without_a_seam() -> None:
    async def test() -> None:
        end = await head(TRADES)
        async with Client(URL) as client:
            client.subscribe(TRADES, "earliest")
            first = await upto(client, TRADES, end // 2)
            stored = json.loads(json.dumps(await client.close()))
        assert stored == {TRADES: first[-1].cursor}
        async with Client(URL, positions=stored) as client:
            client.subscribe("trade.*", "live")
            second = await upto(client, TRADES, end)
        joined(first + second)

    within(30, test)


def test_history_since_a_time_runs_into_live() -> None:
    async def test() -> None:
        end = await head(TRADES)
        async with Client(URL) as client:
            client.subscribe(TRADES, "earliest")
            log = await upto(client, TRADES, end)
        since = log[0].message["ts"] - 3_600_000_000
        got: list[Rows | Message] = []
        async with cut(150_000) as (wire, client):
            client.subscribe(TRADES, {"ts": since})
            async for event in client:
                assert not isinstance(event, ServerError), event
                if isinstance(event, (Rows, Message)) and event.topic == TRADES:
                    got.append(event)
                    if isinstance(event, Message) and event.cursor["seq"] > end:
                        break
                    if wire.cuts >= 5:
                        wire.most = None
        rows = [row for event in got if isinstance(event, Rows) for row in event.rows if row["op"] != "missed"]
        live = [event.message for event in got if isinstance(event, Message)]
        seqs = [m["seq"] for m in rows + live]
        assert len(set(seqs)) == len(seqs), "nothing twice"
        assert set(seqs) >= {event.message["seq"] for event in log}, "nothing left out"
        assert live[0].get("prev", live[0]["seq"] - 1) == next(e for e in got if isinstance(e, Rows)).cursor["asof"]
        flat = records(got)
        polars, pandas = to_polars(got), to_pandas(got)
        assert len(flat) == polars.height == len(pandas) == len(seqs)
        assert {"topic", "seq", "ts", "price", "size", "side", "ts_event"} <= set(polars.columns)
        assert polars["ts_event"].dtype.is_integer() and list(pandas.columns) == polars.columns

    within(60, test)


def test_credit_is_never_overdrawn_over_cuts_and_others_go_on() -> None:
    async def test() -> None:
        got: list[Message] = []
        granted, other = 100, 0
        async with cut(150_000) as (wire, client):
            client.subscribe(TRADES, "earliest", credit=granted)
            client.subscribe(BOOK)
            async for event in client:
                assert not isinstance(event, (Missed, ServerError)), event
                if not isinstance(event, Message):
                    continue
                if event.topic == TRADES:
                    got.append(event)
                    assert len(got) <= granted
                    other = 0
                    continue
                other += 1
                if len(got) < granted:
                    continue
                if granted == 1_000:
                    break
                if other == 5:
                    wire.cut()  # to come back brings nothing either
                elif other >= 20:
                    client.flow(TRADES, 100)
                    granted += 100
                    other = 0
            assert wire.cuts >= 8
            for topic, credit in ((TRADES, 0), (TRADES, 1_000_001), ("trade.*", 1)):
                with pytest.raises(NoCredit):
                    client.flow(topic, credit)
        joined(got)
        last = got[-1].cursor["seq"]
        async with Client(URL) as client:
            client.subscribe(TRADES, "earliest")
            same(got, await upto(client, TRADES, last), last)

    within(90, test)


def test_views_are_asked_for_by_keys() -> None:
    async def test() -> None:
        async with Client(URL) as client:
            client.subscribe(BOOK, depth=10, conflate="100ms")
            client.subscribe(TRADES, {"last": 3}, view="clean")
            book, seen, trades = Book(), 0, 0
            async for event in client:
                assert not isinstance(event, (Missed, ServerError)), event
                if isinstance(event, Message) and event.topic == BOOK:
                    book.apply(event.message)
                    seen += 1
                    assert len(book.bids()) <= 10 and len(book.asks()) <= 10
                elif isinstance(event, Message):
                    trades += 1
                if seen >= 20 and trades >= 3:
                    break
            assert len(book.bids()) == 10, "as deep as was asked"

    within(60, test)


def test_a_callback_that_throws_ends_nothing() -> None:
    async def test() -> None:
        seen = 0
        async with Client(URL) as client:

            def callback(event: Event) -> None:
                nonlocal seen
                if isinstance(event, Message):
                    seen += 1
                    if seen == 4:
                        client.stop()
                    raise RuntimeError("the user's own")

            client.subscribe(TRADES, {"last": 10})
            assert await client.each(callback) >= 4
            assert client.state == State("closed")

    within(10, test)


def test_refusals_are_events_and_states() -> None:
    async def test() -> None:
        async with Client(URL) as client:
            client.subscribe(TRADES, "live", depth=7)
            events = []
            async for event in client:
                events.append(event)
                if isinstance(event, ServerError):
                    break
            assert TopicState(TRADES, "denied") in events and client.topic_state(TRADES) == "denied"
        async with Client(URL.replace("/v1/ws", "/nowhere"), delays_ms=(1, 5)) as client:
            async for event in client:
                if isinstance(event, State) and event.name == "waiting" and event.tries == 3:
                    break
        with pytest.raises(ValueError, match="neither"):
            Client("http://127.0.0.1/")

    within(10, test)


def test_what_it_publishes_over_cuts_is_in_the_log_once_and_in_order() -> None:
    async def test() -> None:
        topic, many = f"c4.game.{uuid.uuid4().hex}", 60
        async with cut(3_000) as (wire, client):
            mids = [client.publish(topic, "drop", {"n": n}) for n in range(many)]
            seqs: dict[str, int] = {}
            async for event in client:
                assert not isinstance(event, (Unpublished, ServerError)), event
                if isinstance(event, Published):
                    assert event.mid not in seqs, "told twice"
                    seqs[event.mid] = event.answer["seq"]
                    if len(seqs) == many:
                        break
            assert wire.cuts >= 2
        assert [seqs[mid] for mid in mids] == list(range(1, many + 1))
        async with Client(URL) as client:
            client.subscribe(topic, "earliest")
            log = await upto(client, topic, many)
        assert [(e.message["data"]["event"], e.message["data"]["n"]) for e in log] == [("drop", n) for n in range(many)]

    within(60, test)


async def example(command: list[str], most: int, last: int) -> list[dict[str, Any]]:
    """What an example prints over a link that is cut, to a seq."""
    async with link(URL, most) as wire:
        process = await asyncio.create_subprocess_exec(
            *command, wire.url, TRADES, "earliest", stdout=subprocess.PIPE, stderr=subprocess.PIPE, limit=1 << 20
        )
        assert process.stdout is not None
        got: list[dict[str, Any]] = []
        try:
            while not got or got[-1]["seq"] < last or wire.cuts < 3:
                line = (await process.stdout.readline()).decode()
                topic, _, rest = line.partition(" ")
                assert topic == TRADES and not rest.startswith("MISSED"), line
                got.append(json.loads(rest))
                if wire.cuts >= 3:
                    wire.most = None
                elif got[-1]["seq"] >= last:
                    # Compressed, it was too little for three.
                    wire.cut()
        finally:
            process.kill()
            await process.communicate()
    return got


@pytest.mark.parametrize("name", ["client.py", "client.mjs"])
def test_the_examples_lose_nothing_over_cuts(name: str) -> None:
    async def test() -> None:
        script = str(EXAMPLES / name)
        node = ["node", *(["--experimental-websocket"] if old_node() else []), script]
        last = await head(TRADES)
        got = await example([sys.executable, script] if name.endswith(".py") else node, 150_000, last)
        async with Client(URL) as client:
            client.subscribe(TRADES, "earliest")
            want = [e.message for e in await upto(client, TRADES, last)]
        assert [m for m in got if m["seq"] <= last] == want
        assert len(Path(script).read_text().splitlines()) <= 150, "two pages"

    within(60, test)


def old_node() -> bool:
    version = subprocess.run(["node", "--version"], capture_output=True, check=True, text=True).stdout
    return int(version.strip("v\n").split(".")[0]) < 22
