"""The words between the state machine, its shell and the user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Json: TypeAlias = dict[str, Any]
Cursor: TypeAlias = dict[str, Any]
"""Where a reader stands in a topic: what `from` must say to go on behind it. Plain JSON, to be stored as it is."""
From: TypeAlias = str | dict[str, Any]
"""`"live"`, `"earliest"`, `{"last": n}`, `{"ts": µs}`, or a cursor."""

StateName: TypeAlias = Literal[
    "idle", "connecting", "authenticating", "resuming", "live", "lagging", "draining", "waiting", "closed", "denied"
]
TopicStateName: TypeAlias = Literal["subscribing", "replaying", "live", "stale", "missed", "denied"]


@dataclass(frozen=True, slots=True)
class State:
    """The connection's state. `waiting` says for how long, and how often it has come to that; `code` is the close code."""

    name: StateName
    tries: int = 0
    delay_ms: int = 0
    code: int | None = None

    @property
    def is_over(self) -> bool:
        return self.name in ("closed", "denied")


@dataclass(frozen=True, slots=True)
class TopicState:
    topic: str
    name: TopicStateName


@dataclass(frozen=True, slots=True)
class Message:
    """A `data`, `mark` or `snap` to apply."""

    topic: str
    cursor: Cursor
    message: Json


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch of history: messages in corrected order, and `missed` for what cannot be read."""

    topic: str
    cursor: Cursor
    rows: list[Json]


@dataclass(frozen=True, slots=True)
class Missed:
    """`first` to `last`, both included, was not delivered, and will not be."""

    topic: str
    cursor: Cursor
    first: int
    last: int
    why: str


@dataclass(frozen=True, slots=True)
class Published:
    """A publication is in its topic's log."""

    mid: str
    answer: Json


@dataclass(frozen=True, slots=True)
class Unpublished:
    """A publication was refused for good."""

    mid: str
    error: Json


@dataclass(frozen=True, slots=True)
class ServerError:
    error: Json


@dataclass(frozen=True, slots=True)
class Notice:
    notice: Json


@dataclass(frozen=True, slots=True)
class Malformed:
    """A frame that is no message of the protocol."""

    why: str


Event: TypeAlias = (
    State | TopicState | Message | Rows | Missed | Published | Unpublished | ServerError | Notice | Malformed
)


@dataclass(frozen=True, slots=True)
class Connect:
    pass


@dataclass(frozen=True, slots=True)
class Send:
    message: Json | list[Json]


@dataclass(frozen=True, slots=True)
class Close:
    """Close the socket with this code, and report the end."""

    code: int


@dataclass(frozen=True, slots=True)
class Tell:
    event: Event


Action: TypeAlias = Connect | Send | Close | Tell


class NoCredit(Exception):
    """The topic is not subscribed, or the credit is below 1 or above a million with what is left."""


class Full(Exception):
    """Too many publications wait for their answers."""
