"""The client without I/O: what happened goes in with its time, what to do comes out (`take`).

Time is an argument, in milliseconds of any clock that does not go back; so is chance. `clients/conformance` holds what this
machine must do, for clients in every language. Positions move by PROTOCOL §0 alone; what the user has processed is a second
position behind the first: that one is acknowledged and saved. Everything we say is paced below the server's limits.
"""

from __future__ import annotations

import fnmatch
import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from . import _ladder as ladder
from ._topic import NEVER, SNAP, Topic
from ._words import (
    Action, Close, Connect, Cursor, Event, From, Full, Json, Malformed, Message, Missed, NoCredit, Notice, Published, Rows,
    Send, ServerError, State, StateName, Tell, TopicState, Unpublished,
)

OPEN_MS = 10_000
ACK_MS = 1_000
ACK_EVERY = 100
ACK_TOPICS = 256
RETRY_MS = 1_000
CREDIT_MAX = 1_000_000

Link = Literal["idle", "waiting", "opening", "up", "closing", "over"]


@dataclass(frozen=True, slots=True)
class Ask:
    """Something to say. Positions are looked up when it is said."""

    op: Literal["hello", "resume", "sub", "unsub", "resync", "pub", "flow"]
    name: str = ""
    whole: bool = False
    credit: int = 0
    """What was said, once it was."""


@dataclass(slots=True)
class Want:
    start: From
    keys: Json
    credit: int | None


@dataclass(slots=True)
class Pub:
    mid: str
    message: Json
    topic: str
    id: int | None = None


@dataclass(slots=True)
class Up:
    """A connection after `welcome`."""

    heartbeat_ms: int
    heard: int
    bucket: ladder.Bucket
    hold: int
    session: tuple[str, str]
    pending: set[str]
    resume: int | None = None
    live_since: int | None = None
    draining: bool = False
    ack_at: int | None = None
    asked: set[str] = field(default_factory=set)
    retries: list[tuple[int, str]] = field(default_factory=list)


def _matches(pattern: str, name: str) -> bool:
    # Names hold none of the other characters that fnmatch knows.
    return fnmatch.fnmatchcase(name, pattern)


class Core:
    def __init__(
        self,
        positions: Mapping[str, Cursor] | None = None,
        *,
        agent: str = "py/0.1.0",
        publications_max: int = 1_000,
        renewable: bool = False,
        delays_ms: tuple[int, int] = (ladder.BASE_MS, ladder.CAP_MS),
        decode: Callable[[str | bytes], Any] = json.loads,
    ) -> None:
        self._decode = decode
        self.agent = agent
        self.publications_max = publications_max
        self.renewable = renewable
        self.delays_ms = delays_ms
        self.state = State("idle")
        self.topics: dict[str, Topic] = {}
        self._stored = dict(positions or {})
        self._wants: dict[str, Want] = {}
        self._link: Link = "idle"
        self._until = 0
        self._up: Up | None = None
        self._lived: int | None = None
        self._session: tuple[str, str] | None = None
        self._queue: deque[Ask] = deque()
        self._pubs: list[Pub] = []
        self._open: dict[int, Ask] = {}
        self._id = 0
        self._tries = 0
        self._after_ms: tuple[int, int] | None = None
        self._retry_ms = 0
        self._out: list[Action] = []

    # What the user asks.

    def positions(self) -> dict[str, Cursor]:
        """Where the user's processing stands in each topic: to be saved with its effects."""
        return self._stored | {name: dict(t.done) for name, t in self.topics.items() if t.done is not None}

    def unconfirmed(self) -> int:
        return len(self._pubs)

    def take(self) -> list[Action]:
        """What is to be done, in this order."""
        out, self._out = self._out, []
        return out

    def start(self, now: int) -> None:
        if self._link == "idle":
            self._connect(now)

    def stop(self, now: int) -> None:
        """Ends for good: what was processed is acknowledged first."""
        if self.state.is_over:
            return
        self._acknowledge(now)
        if self._link in ("opening", "up"):
            self._out.append(Close(1000))
        self._end(State("closed"))

    def subscribe(self, now: int, name: str, start: From = "live", credit: int | None = None, **keys: Any) -> None:
        """A topic that is subscribed already stays as it is; one that was denied begins anew."""
        if credit is not None and not 0 <= credit <= CREDIT_MAX:
            raise NoCredit(f"{credit} messages: 0 to {CREDIT_MAX}")
        asks: list[Ask] = []
        if "*" in name:
            # What a pattern meant before goes on where it was; what it means beside that the server knows.
            for topic, cursor in sorted(self._stored.items()):
                if _matches(name, topic) and not topic.startswith("book.") and topic not in self.topics:
                    self.topics[topic] = Topic(name, topic, start, keys, cursor, credit)
                    asks.append(Ask("sub", topic))
        elif name not in self.topics or self.topics[name].state == "denied":
            self.topics[name] = Topic(name, name, start, keys, self._stored.get(name), credit)
            self._tell_topic(name)
        else:
            return
        asks.append(Ask("sub", name))
        self._wants[name] = Want(start, keys, credit)
        if self._up is not None and self._up.resume is None:
            self._queue.extend(asks)
            self._pump(now)

    def unsubscribe(self, now: int, name: str) -> None:
        """Of a topic, or of a pattern with all that it meant."""
        self._wants.pop(name, None)
        self.topics = {topic: t for topic, t in self.topics.items() if t.want != name}
        if (up := self._up) is not None:
            up.pending &= self.topics.keys()
            up.retries = [r for r in up.retries if r[1] != name]
            if name in up.asked:
                up.asked.remove(name)
                self._queue.append(Ask("unsub", name))
            self._pump(now)
            self._settle_link(now)

    def publish(self, now: int, mid: str, topic: str, event: str, data: Any, if_seq: int | None = None) -> None:
        """Queued until the server has answered, over any number of connections, in order within a topic."""
        if len(self._pubs) >= self.publications_max:
            raise Full(f"{len(self._pubs)} publications wait for their answers: publish again when some have come")
        message: Json = {"op": "pub", "mid": mid, "topic": topic, "event": event, "data": data}
        if if_seq is not None:
            message["if_seq"] = if_seq
        self._pubs.append(Pub(mid, message, topic))
        self._pump(now)

    def flow(self, now: int, topic: str, credit: int) -> None:
        """So many messages (`data`, `mark`, `snap`) more of a topic may come; then it pauses. A topic without credit is unlimited.

        The server's credit is of one connection and ends with `resync`. Ours goes on: what is left is said in the frame of the `sub` or
        `resync` that asks for the topic again, so that nothing is sent between. Such topics are left out of `resume`, behind which it
        could be; and one of which nothing may come is not asked for before the next credit.
        """
        t = self.topics.get(topic)
        if t is None or t.state == "denied":
            raise NoCredit(f"{topic}: not subscribed, or denied: a credit is of a topic, by its name")
        if not 1 <= credit <= CREDIT_MAX - max(t.credit or 0, 0):
            raise NoCredit(f"{credit} messages: at least 1, and at most {CREDIT_MAX} with what is left")
        t.grant(credit)
        if t.said:
            self._queue.append(Ask("flow", topic))
        elif t.held:
            t.held = False
            self._queue.append(Ask("sub", topic))
        else:
            return
        self._pump(now)

    def processed(self, now: int, topic: str, cursor: Cursor) -> None:
        """The user is done with everything up to `cursor`."""
        if (t := self.topics.get(topic)) is None:
            return
        t.processed(cursor)
        if self._up is not None and t.unacked > 0:
            at = now if t.unacked >= ACK_EVERY else now + ACK_MS
            self._up.ack_at = at if self._up.ack_at is None else min(at, self._up.ack_at)
            if self._up.ack_at == now:
                self._acknowledge(now)

    def resync(self, now: int, topic: str, whole: bool = False) -> None:
        """Asks for a topic again: with `whole`, without a position, as after a wrong checksum."""
        t = self.topics.get(topic)
        if t is not None and t.open and not t.waiting:
            self._hole(topic, whole)
            self._pump(now)

    # What the shell reports.

    def on_open(self) -> None:
        if self._link == "opening":
            self._enter(State("authenticating"))

    def on_alive(self, now: int) -> None:
        """A ping or pong came."""
        if self._up is not None:
            self._up.heard = now

    def on_closed(self, now: int, code: int | None, roll: float) -> None:
        """The socket is gone, or could not be opened. `roll` is drawn from [0, 1)."""
        if self._link in ("over", "idle", "waiting"):
            return
        since = self._up.live_since if self._up is not None else self._lived
        self._forget_connection()
        drain, self._after_ms = self._after_ms, None
        retry_ms, self._retry_ms = self._retry_ms, 0
        if since is not None and now - since >= ladder.RESET_MS:
            self._tries = 0
        self._tries += 1
        delay = max(ladder.delay_ms(self._tries, roll, *self.delays_ms), retry_ms)
        if drain is not None:
            delay = drain[0] + int(max(0, drain[1] - drain[0]) * roll)
        match ladder.fate(code):
            case "stop":
                return self._end(State("closed", code=code))
            case "denied":
                return self._end(State("denied", code=code))
            case "renew" if not self.renewable:
                return self._end(State("denied", code=code))
            case "ban":
                delay = ladder.BAN_MS
            case "at_once" | "renew" if since is not None:
                delay = 0
            case _:
                pass
        self._link, self._until = "waiting", now + delay
        self._enter(State("waiting", self._tries, delay, code))

    def next_timer(self) -> int | None:
        """When `on_timer` must be called; it moves forward when it was."""
        if self._link in ("waiting", "opening"):
            return self._until
        if (up := self._up) is None:
            return None
        due = [up.heard + 2 * up.heartbeat_ms, *(at for at, _ in up.retries)]
        if up.ack_at is not None:
            due.append(up.ack_at)
        if self._has_to_say(up):
            due.append(up.hold)
        return min(due)

    def on_timer(self, now: int) -> None:
        if self._link == "waiting" and now >= self._until:
            self._connect(now)
        elif self._link == "opening" and now >= self._until:
            self._give_up()
        elif (up := self._up) is not None:
            if now >= up.heard + 2 * up.heartbeat_ms:
                return self._give_up()
            self._queue.extend(Ask("sub", name) for at, name in up.retries if at <= now)
            up.retries = [r for r in up.retries if r[0] > now]
            if up.ack_at is not None and up.ack_at <= now:
                self._acknowledge(now)
            self._pump(now)

    def on_text(self, now: int, text: str | bytes) -> None:
        """One frame: a message or a batch."""
        if self._link not in ("opening", "up"):
            return
        self.on_alive(now)
        try:
            read = self._decode(text)
        except ValueError as error:
            self._tell(Malformed(str(error)))
        else:
            for message in read if isinstance(read, list) else [read]:
                self._on_message(now, message)
        self._pump(now)
        self._settle_link(now)

    # Connections.

    def _connect(self, now: int) -> None:
        self._link, self._until = "opening", now + OPEN_MS
        self._enter(State("connecting"))
        self._out.append(Connect())

    def _give_up(self) -> None:
        """Nothing was heard for too long."""
        self._lived = self._up.live_since if self._up is not None else None
        self._link, self._up = "closing", None
        self._out.append(Close(4006))

    def _forget_connection(self) -> None:
        """Positions stay; what was said on this connection does not."""
        self._up = self._lived = None
        self._queue.clear()
        self._open.clear()
        for pub in self._pubs:
            pub.id = None
        for name, t in sorted(self.topics.items()):
            if t.disconnected():
                self._tell_topic(name)

    def _end(self, state: State) -> None:
        self._link, self._up = "over", None
        self._enter(state)

    def _enter(self, state: State) -> None:
        if self.state != state:
            self.state = state
            self._tell(state)

    def _tell(self, event: Event) -> None:
        self._out.append(Tell(event))

    def _tell_topic(self, name: str) -> None:
        self._tell(TopicState(name, self.topics[name].state))

    def _settle_link(self, now: int) -> None:
        """Resuming until every position was answered, lagging while a topic is."""
        if (up := self._up) is None:
            return
        name: StateName = "live"
        if up.draining:
            name = "draining"
        elif up.resume is not None or up.pending:
            name = "resuming"
        elif any(t.lags() for t in self.topics.values()):
            name = "lagging"
        if name in ("live", "lagging") and up.live_since is None:
            up.live_since = now
        self._enter(State(name))

    # What we say.

    def _has_to_say(self, up: Up) -> bool:
        return up.resume is None and not up.draining and (bool(self._queue) or self._next_pub() is not None)

    def _next_pub(self) -> Pub | None:
        """The first that waits, of a topic in which none is on its way: within a topic their order holds."""
        topics: set[str] = set()
        for pub in self._pubs:
            if pub.id is None and pub.topic not in topics:
                return pub
            topics.add(pub.topic)
        return None

    def _pump(self, now: int) -> None:
        while (up := self._up) is not None and self._has_to_say(up) and now >= up.hold:
            ask = self._queue[0] if self._queue else Ask("pub")
            said = self._compose(ask)
            if said is None:
                self._queue.popleft()
                continue
            if (at := up.bucket.take(now, self._cost(ask))) is not None:
                up.hold = at
                return
            self._say(up, ask, said)

    def _cost(self, ask: Ask) -> int:
        """What the server reckons, with the `flow` beside it."""
        if ask.op == "flow":
            return ladder.LIGHT
        t = self.topics.get(ask.name) if ask.op in ("sub", "resync") else None
        return ladder.OP if t is None or t.credit is None else ladder.OP + ladder.LIGHT

    def _holds(self, t: Topic | None) -> bool:
        """Whether a `sub` waits for credit. Not one that a pattern means too, which would bring it without a bound, and not from where it stands."""
        if t is None or any("*" in want and _matches(want, t.name) for want in self._wants):
            return False
        t.held = t.spent
        return t.held

    def _compose(self, ask: Ask) -> Json | None:
        """The message, without id and credit; `None` where it has become needless."""
        t = self.topics.get(ask.name)
        match ask.op:
            case "hello":
                return {"op": "hello", "batch": True, "agent": self.agent}
            case "resume" if self._session is not None:
                name, secret = self._session
                return {"op": "resume", "session": name, "resume": secret, "pos": self._resumable()}
            case "sub" if self._holds(t):
                self._answered(ask.name)
                return None
            case "sub":
                want = self._wants.get(ask.name if t is None else t.want)
                if want is None:
                    return None
                start = want.start if t is None else t.start if t.place is None else t.place
                return {"op": "sub", "topic": ask.name, "from": start, **want.keys}
            case "unsub":
                return {"op": "unsub", "topic": ask.name}
            case "resync" if t is not None and t.open:
                return {"op": "resync", "topic": ask.name, "pos": None if ask.whole else [t.epoch, t.last]}
            case "flow" if t is not None and t.said and t.unsaid > 0:
                return {}  # made when it is said
            case "pub" if (pub := self._next_pub()) is not None:
                return dict(pub.message)
        return None

    def _resumable(self) -> Json:
        """Topics with a position, for `resume`; those with credit are asked for by `sub`, which says it."""
        at = ((name, t.place) for name, t in sorted(self.topics.items()) if t.want in self._wants and t.credit is None)
        return {name: [place["epoch"], place["seq"]] for name, place in at if place is not None and "seq" in place}

    def _say(self, up: Up, ask: Ask, said: Json) -> None:
        t = self.topics.get(ask.name) if ask.op in ("sub", "resync", "flow") else None
        if ask.op == "flow" and t is not None:
            self._queue.popleft()
            flow, t.unsaid = self._flow(t.name, t.unsaid), 0
            self._out.append(Send(flow))
            return
        if ask.op != "hello":
            self._id += 1
            said["id"] = self._id
        if ask.op == "sub":
            up.asked.add(ask.name if t is None else t.want)
            if t is not None:
                t.said = True
        elif ask.op == "resume":
            up.resume = self._id
        elif ask.op == "pub" and (pub := self._next_pub()) is not None:
            ask, pub.id = Ask("pub", pub.mid), self._id
        if ask.op != "hello":
            self._open[self._id] = ask
        if ask.op != "pub":
            self._queue.popleft()
        # In one frame: nothing is sent between.
        bounded = t is not None and t.credit is not None
        self._out.append(Send([said, self._flow(t.name, t.whole())] if t is not None and bounded else said))

    def _flow(self, topic: str, credit: int) -> Json:
        """A message of credit, under an id of its own."""
        self._id += 1
        self._open[self._id] = Ask("flow", topic, credit=credit)
        return {"op": "flow", "id": self._id, "topic": topic, "credit": credit}

    def _acknowledge(self, now: int) -> None:
        if (up := self._up) is None:
            return
        up.ack_at = None
        due = [(name, seq) for name, t in sorted(self.topics.items()) if (seq := t.to_ack()) is not None]
        for i in range(0, len(due), ACK_TOPICS):
            part = due[i : i + ACK_TOPICS]
            if (at := up.bucket.take(now, ladder.LIGHT)) is not None:
                up.ack_at = at
                return
            for name, seq in part:
                self.topics[name].ack, self.topics[name].unacked = seq, 0
            self._out.append(Send({"op": "ack", "a": dict(part)}))

    # What the server says.

    def _on_message(self, now: int, m: Any) -> None:
        op = m.get("op") if isinstance(m, dict) else None
        if self._up is None:
            if op == "welcome":
                self._on_welcome(now, m)
            elif op == "err":
                self._on_err(now, m)
            return
        try:
            match op:
                case "subd":
                    self._on_subd(m)
                case "hist":
                    self._on_hist(m)
                case "data" | "mark" | "snap":
                    self._on_data(op, m)
                case "missed":
                    t = self.topics.get(m["topic"])
                    if t is not None and t.open and not t.waiting:
                        t.move(m["to"])
                        self._tell_missed(m["topic"], m)
                case "resumed":
                    self._on_resumed(m)
                case "hb":
                    self._on_heartbeat(m)
                case "ok":
                    ask = self._open.pop(m.get("id"), None)
                    if ask is not None and ask.op == "pub":
                        self._pubs = [p for p in self._pubs if p.mid != ask.name]
                        self._tell(Published(ask.name, m))
                case "err":
                    self._on_err(now, m)
                case "notice":
                    t = self.topics.get(m.get("topic", ""))
                    if t is not None and m.get("name") == "lagging":
                        t.lag_until = t.last + int(m.get("behind", 0))
                    self._tell(Notice(m))
                case "drain":
                    least, most = m.get("after_ms", (0, 0))
                    self._after_ms = (int(least), int(most))
                    self._up.draining = True
                case "pong" | "welcome":
                    pass
                case _:
                    self._tell(Malformed(json.dumps(m)))
        except (KeyError, TypeError, ValueError):
            self._tell(Malformed(json.dumps(m)))

    def _on_welcome(self, now: int, m: Json) -> None:
        limits = m.get("limits", {})
        session = (str(m.get("session", "")), str(m.get("resume", "")))
        pending = {name for name, t in self.topics.items() if t.state != "denied" and t.place is not None}
        bucket = ladder.Bucket(now, limits.get("ops_s", 20), limits.get("ops_burst", 60))
        self._link = "up"
        self._up = Up(int(m.get("hb_s", 15)) * 1_000, now, bucket, now, session, pending)
        self._queue = deque([Ask("hello")])
        if self._session is not None and self._resumable():
            self._queue.append(Ask("resume"))
        else:
            self._begin_anew(self._up)

    def _begin_anew(self, up: Up) -> None:
        """In the connection's own session, where the server keeps any: positions are the guarantee."""
        self._session = up.session if up.session[1] else None
        self._ask_for_all()

    def _ask_for_all(self) -> None:
        """`sub` for everything that is wanted and not open: topics from where they stand, then the patterns."""
        topics = [name for name, t in sorted(self.topics.items()) if not t.open and t.state != "denied"]
        self._queue.extend(Ask("sub", name) for name in topics + sorted(n for n in self._wants if "*" in n))

    def _answered(self, name: str) -> None:
        if self._up is not None:
            self._up.pending.discard(name)

    def _on_subd(self, m: Json) -> None:
        name, epoch, seq = m["topic"], m["epoch"], int(m["seq"])
        if name not in self.topics:
            # One of a pattern's; unsubscribed meanwhile, it is nobody's.
            ask = self._open.get(m.get("id", 0))
            want = self._wants.get(ask.name) if ask is not None and ask.op == "sub" else None
            if ask is None or want is None:
                return
            self.topics[name] = Topic(ask.name, name, want.start, want.keys, None, want.credit)
            if want.credit is not None:
                # A pattern brought it, without what is left for it.
                self.topics[name].unsaid = self.topics[name].whole()
                self._queue.append(Ask("flow", name))
        t = self.topics[name]
        live = t.place is None and t.start == "live"
        t.move(seq, epoch)
        t.open, t.waiting, t.said = True, False, True
        # Acknowledgements are counted from here.
        t.ack, t.unacked = seq, 0
        t.until = 0 if live else NEVER
        if t.settle():
            self._tell_topic(name)
        if m.get("missed"):
            self._tell_missed(name, m["missed"])
        self._answered(name)

    def _on_hist(self, m: Json) -> None:
        name, i, rows = m["topic"], int(m["i"]), m["data"]
        if (t := self.topics.get(name)) is None:
            return
        counted = sum(row.get("op") != "missed" for row in rows)
        start: From = t.start if t.place is None or "i" not in t.place else t.place
        ts, had = (start["ts"], start.get("i", 0)) if isinstance(start, dict) else (0, 0)
        # Exactly the rows behind those that we have; anything else is asked for again.
        if i - counted != had:
            if not t.anew:
                t.anew, t.said = True, False
                self._queue.extend((Ask("unsub", name), Ask("sub", name)))
            return
        t.anew = False
        t.place = {"ts": ts, "epoch": m["epoch"], "asof": int(m["asof"]), "i": i}
        if t.enter("replaying"):
            self._tell_topic(name)
        self._answered(name)
        self._tell(Rows(name, t.place, rows))

    def _on_data(self, op: str, m: Json) -> None:
        name, seq = m["topic"], int(m["seq"])
        t = self.topics.get(name)
        if t is None or not t.open:
            return
        if t.credit is not None and not t.waiting:
            t.credit -= 1
        if op == "snap":
            step = t.on_snap(m["epoch"], seq)
            if step == "apply" and t.until == SNAP:
                t.until = 0
        else:
            step = t.on_range(int(m.get("prev", seq - 1)), seq)
        if step == "resync":
            if t.credit is not None:
                t.credit += 1  # it was not given, and what is left is said anew
            self._hole(name)
        elif step == "apply":
            if t.settle():
                self._tell_topic(name)
            self._tell(Message(name, {"epoch": t.epoch, "seq": t.last}, m))

    def _hole(self, name: str, whole: bool = False) -> None:
        t = self.topics[name]
        t.waiting = True
        self._queue.append(Ask("resync", name, whole))
        if t.enter("stale"):
            self._tell_topic(name)

    def _tell_missed(self, name: str, m: Json) -> None:
        t = self.topics[name]
        if t.place is None:
            return
        if t.enter("missed"):
            self._tell_topic(name)
        self._tell(Missed(name, dict(t.place), m["from"], m["to"], m.get("why", "")))

    def _on_resumed(self, m: Json) -> None:
        """The answer to `resync`, or to `resume`."""
        up, whole = self._up, False
        self._open.pop(m.get("id", 0), None)
        if up is not None and up.resume is not None and up.resume == m.get("id"):
            up.resume, whole = None, True
            if self._session is not None and "resume" in m:
                self._session = (self._session[0], m["resume"])
        for name, how in m["topics"].items():
            self._topic_resumed(name, how, m.get("epoch"))
        if whole:
            self._ask_for_all()

    def _topic_resumed(self, name: str, how: Json, epoch: str | None) -> None:
        if (t := self.topics.get(name)) is None:
            return
        if how["r"] == "denied" and how.get("code") == 2008:
            return  # the session did not have it: `sub` follows
        self._answered(name)
        if how["r"] == "denied":
            return self._deny(name)
        if t.place is None or "seq" not in t.place:
            return
        t.waiting, t.open, t.said = False, True, True
        last = t.last
        t.move(last, how.get("epoch", epoch))
        t.ack, t.unacked = last, 0
        if how["r"] == "missed":
            t.move(how["to"])
            t.until = NEVER
            return self._tell_missed(name, how)
        t.until = SNAP if how["r"] == "snap" else last + how["n"] if "n" in how else NEVER
        if t.settle():
            self._tell_topic(name)

    def _on_heartbeat(self, m: Json) -> None:
        for name, (epoch, head) in sorted(m.get("heads", {}).items()):
            t = self.topics.get(name)
            if t is None or not t.open or t.waiting:
                continue
            if epoch != t.epoch:
                self._hole(name)
                continue
            if t.last >= head:
                t.until = 0
                if t.settle():
                    self._tell_topic(name)
            if t.on_head(head):
                self._hole(name)

    def _on_err(self, now: int, m: Json) -> None:
        code, up = m.get("code"), self._up
        retry_ms = m.get("retry_ms") or RETRY_MS
        retry = retry_ms if m.get("retry") else None
        ask = self._open.pop(m.get("id", 0), None)
        if code == 5003:
            self._retry_ms = retry_ms
        if code in (1006, 5003):
            # Refused for now, whatever it was: the same again after a pause, before anything else.
            if up is not None:
                up.hold = max(up.hold, now + retry_ms)
                if ask is not None and ask.op == "pub":
                    for pub in self._pubs:
                        pub.id = None if pub.mid == ask.name else pub.id
                elif ask is not None and ask.op == "flow":
                    if (t := self.topics.get(ask.name)) is not None:
                        t.unsaid += ask.credit
                    self._queue.appendleft(Ask("flow", ask.name))
                elif ask is not None:
                    if ask.op == "sub" and (t := self.topics.get(ask.name)) is not None:
                        t.said = False
                    up.resume = None if ask.op == "resume" else up.resume
                    self._queue.appendleft(ask)
            return self._tell(ServerError(m))
        match ask:
            case Ask("pub", mid):
                self._pubs = [p for p in self._pubs if p.mid != mid]
                return self._tell(Unpublished(mid, m))
            case Ask("resume"):
                if up is not None:
                    up.resume = None
                    self._begin_anew(up)
                if code == 1010:
                    return
            case Ask("sub", name) if code == 2006:
                if "*" in name:
                    return  # all that the pattern means is subscribed by name
            case Ask("resync", name) if code == 2008:
                if (t := self.topics.get(name)) is not None:
                    t.said = False
                self._queue.append(Ask("sub", name))
            case Ask("flow", name) if code == 2008 and not ((t := self.topics.get(name)) and t.said):
                return  # beside a `sub` that was refused: the next one says it
            case Ask("resync" | "sub", name):
                self._ended(now, name, retry)
            case _ if code in (2007, 5000):
                # A history that failed, or a start that was refused.
                self._ended(now, m.get("topic", ""), retry)
        self._tell(ServerError(m))

    def _ended(self, now: int, name: str, retry_ms: int | None) -> None:
        """The server has let go of a subscription, for `retry_ms` or for good."""
        if (t := self.topics.get(name)) is not None:
            t.open = t.waiting = t.said = False
        if retry_ms is not None and self._up is not None:
            self._up.retries.append((now + retry_ms, name))
        else:
            self._deny(name)

    def _deny(self, name: str) -> None:
        self._answered(name)
        if (t := self.topics.get(name)) is not None:
            t.open = t.said = False
            if t.enter("denied"):
                self._tell_topic(name)
