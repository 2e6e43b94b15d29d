"""One topic: the one rule (PROTOCOL §0), what was delivered, what was processed, and how it stands with the server."""

from __future__ import annotations

from typing import Literal

from ._words import Cursor, From, Json, TopicStateName

NEVER = 1 << 62
"""A replay whose end a heartbeat must tell."""
SNAP = NEVER - 1
"""A replay that ends with a `snap`."""

Step = Literal["apply", "drop", "resync"]


def is_cursor(start: From) -> bool:
    return isinstance(start, dict) and "epoch" in start and ("seq" in start or ("asof" in start and "i" in start))


class Topic:
    def __init__(self, want: str, name: str, start: From, keys: Json, stored: Cursor | None, credit: int | None = None) -> None:
        # A book's state is not stored with its position; who holds it says so in `from`.
        if stored is not None and not name.startswith("book.") and not is_cursor(start):
            start = stored
        self.want = want
        self.name = name
        self.start: From = start
        self.place: Cursor | None = None
        """What was delivered; `None` before anything was."""
        if isinstance(start, dict) and is_cursor(start) and "ts" in start:
            self.place = dict(start)
        self.state: TopicStateName = "subscribing"
        self.done: Cursor | None = None
        """Processed by the user."""
        self.open = False
        """The server speaks of it on this connection, and the one rule holds."""
        self.waiting = False
        """A `resync` is under way: everything is ignored until its reply."""
        self.until = NEVER
        self.lag_until = 0
        self.anew = False
        self.acked = keys.get("ack") == "cum"
        self.unacked = 0
        self.ack = 0
        self.credit = credit
        """Messages that may come; `None`: any number. Below zero: one was taken in advance, since no message of credit can say none."""
        self.unsaid = 0
        """Of these the server does not know."""
        self.said = False
        """The server has its `sub`, on this connection."""
        self.held = False
        """Its `sub` waits for credit."""
        self._forget_tail()

    def _forget_tail(self) -> None:
        self.tail_last, self.tail_head, self.quiet, self.patience = 0, 0, 0, 1

    @property
    def last(self) -> int:
        return int(self.place["seq"]) if self.place is not None and "seq" in self.place else 0

    @property
    def epoch(self) -> str:
        return str(self.place["epoch"]) if self.place is not None else ""

    def move(self, seq: int, epoch: str | None = None) -> None:
        self.place = {"epoch": self.epoch if epoch is None else epoch, "seq": seq}

    def on_range(self, prev: int, seq: int) -> Step:
        """A `data` or `mark` of `(prev, seq]`."""
        if self.waiting or seq <= self.last:
            return "drop"
        if prev != self.last:
            return "resync"
        self.move(seq)
        return "apply"

    def on_snap(self, epoch: str, seq: int) -> Step:
        if self.waiting:
            return "drop"
        if epoch != self.epoch:
            return "resync"
        self.move(seq)
        return "apply"

    def enter(self, state: TopicStateName) -> bool:
        """Whether the state changed."""
        was, self.state = self.state, state
        return was != state

    def settle(self) -> bool:
        """After progress: whether the state changed."""
        return self.enter("live" if self.last >= self.until else "replaying")

    def lags(self) -> bool:
        return self.open and self.last < self.lag_until

    def disconnected(self) -> bool:
        self.open = self.waiting = self.anew = self.said = self.held = False
        self.lag_until = 0
        self._forget_tail()
        return self.state not in ("denied", "subscribing") and self.enter("stale")

    def processed(self, cursor: Cursor) -> None:
        if "seq" in cursor and self.acked:
            self.unacked += 1
        self.done = cursor

    @property
    def spent(self) -> bool:
        return self.credit is not None and self.credit <= 0

    def grant(self, more: int) -> None:
        had = self.credit or 0
        self.credit = had + more
        self.unsaid += max(0, more + min(had, 0))

    def whole(self) -> int:
        """All that is left, for a server that knows of none."""
        self.unsaid = 0
        return max(self.credit or 0, 1)

    def to_ack(self) -> int | None:
        if not self.acked or not self.open or self.done is None or "seq" not in self.done:
            return None
        if self.done["epoch"] != self.epoch:
            return None  # what was processed of an epoch that is over is nobody's any more
        seq = int(self.done["seq"])
        return seq if seq > self.ack else None

    def on_head(self, head: int) -> bool:
        """Whether the tail is lost: a whole heartbeat brought nothing although the one before told of more. In vain, wait twice as long."""
        if self.waiting or (self.acked and self.ack < self.last) or self.spent:
            return False
        last = self.last
        lost = last == self.tail_last and self.tail_head > last
        self.quiet = self.quiet + 1 if lost else 0
        if last != self.tail_last:
            self.patience = 1
        self.tail_last, self.tail_head = last, head
        if lost and self.quiet >= self.patience:
            self.quiet = 0
            self.patience *= 2
            return True
        return False
