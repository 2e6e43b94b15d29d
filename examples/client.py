"""A whole client in one page: needs Python 3.11 and `pip install websockets`.

    python client.py ws://127.0.0.1:9100/v1/ws trade.BTCUSDT.BINANCE earliest

Prints every message of the topics (a pattern may hold `*`) once and in order, whatever happens to the connection; what was not delivered
is said. The protocol: docs/api/websocket.md.
"""

import asyncio
import json
import random
import sys
import time

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException

STOP = {1000, 1002, 1003, 1007, 1009, 4009, 4301, 4303}  # coming again would change nothing


class Client:
    def __init__(self, url, topic, start, on_message, on_missed):
        self.url, self.topic, self.start = url, topic, start
        self.on_message, self.on_missed = on_message, on_missed
        self.last = {}  # topic -> [epoch, seq]: save it, and you can go on there
        self.waiting = set()  # topics that ignore everything until the answer to `resync`
        self.drain = None

    async def run(self):
        tries = 0
        while True:
            began, code = time.monotonic(), None
            try:
                async with connect(self.url, subprotocols=["wholetape.v1.json"], open_timeout=10) as self.ws:
                    await self.talk()
            except ConnectionClosed as closed:
                code = closed.rcvd and closed.rcvd.code
            except (OSError, TimeoutError, WebSocketException):
                pass
            if code in STOP:
                return code
            # Full jitter, base half a second, cap 30 s, begun anew after 30 s; a server that drains says when.
            tries = 1 if time.monotonic() - began > 30 else tries + 1
            low, high = self.drain or (0, min(30_000, 500 * 2 ** min(tries - 1, 6)))
            self.drain = None
            await asyncio.sleep(random.uniform(low, high) / 1000)

    async def send(self, **message):
        await self.ws.send(json.dumps(message))

    async def talk(self):
        self.waiting.clear()
        patience = 30
        while True:
            frame = json.loads(await asyncio.wait_for(self.ws.recv(), patience))
            for m in frame if isinstance(frame, list) else [frame]:
                if m["op"] == "welcome":
                    patience = 2 * m["hb_s"]
                    await self.send(op="hello", batch=True, agent="example.py")
                    for topic, (epoch, seq) in self.last.items():
                        await self.send(op="sub", id=2, topic=topic, **{"from": {"epoch": epoch, "seq": seq}})
                        await asyncio.sleep(0.06)  # 20 ops a second
                    if self.topic not in self.last:
                        await self.send(op="sub", id=1, topic=self.topic, **{"from": self.start})
                else:
                    await self.take(m)

    async def take(self, m):
        topic = m.get("topic")
        last = self.last.get(topic)
        match m["op"]:
            case "subd":
                self.last[topic] = [m["epoch"], m["seq"]]
                if missed := m.get("missed"):
                    self.on_missed(topic, missed)
            case "hist":
                for row in m["data"]:
                    self.on_message(topic, row)
            case "data" | "mark" | "snap" if last and topic not in self.waiting:
                if m["op"] == "snap" and m["epoch"] == last[0]:
                    pass  # the whole state: it replaces what was
                elif m["op"] != "snap" and m["seq"] <= last[1]:
                    return  # had it
                elif m["op"] == "snap" or m.get("prev", m["seq"] - 1) != last[1]:
                    self.waiting.add(topic)  # a hole
                    return await self.send(op="resync", id=3, topic=topic, pos=last)
                last[1] = m["seq"]
                self.on_message(topic, m)
            case "missed" if last and topic not in self.waiting:
                last[1] = m["to"]
                self.on_missed(topic, m)
            case "resumed":
                for topic, how in m["topics"].items():
                    self.waiting.discard(topic)
                    self.last[topic][0] = how.get("epoch") or m.get("epoch") or self.last[topic][0]
                    if how["r"] == "missed":
                        self.last[topic][1] = how["to"]
                        self.on_missed(topic, how)
            case "drain":
                self.drain = m["after_ms"]
            case "err":
                print("error:", m, file=sys.stderr)
                if m["retry"] and m["code"] == 2001:  # no such topic yet
                    await asyncio.sleep(m["retry_ms"] / 1000)
                    await self.send(op="sub", id=1, topic=m["topic"], **{"from": self.start})


def main():
    url, topic, start = (sys.argv[1:] + ["live"])[:3]
    start = json.loads(start) if start.startswith("{") else start  # {"last":10}, {"ts":1790000000000000}
    show = lambda topic, m: print(topic, json.dumps(m), flush=True)
    missed = lambda topic, m: print(topic, f"MISSED {m['from']}..{m['to']}: {m['why']}", flush=True)
    return asyncio.run(Client(url, topic, start, show, missed).run())


if __name__ == "__main__":
    sys.exit(f"over: {main()}")
