"""Messages as tables: one row a message, its `data` beside `topic`, `op`, `seq`, `ts`.

Prices and sizes stay decimal text, as the venue printed them: cast what you need, knowingly. Times are integers (`ts` in
microseconds, `ts_event` and `ts_recv` in nanoseconds, UTC).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ._words import Json, Message, Rows

if TYPE_CHECKING:
    import pandas
    import polars


def records(events: Iterable[Message | Rows]) -> list[Json]:
    """One flat row for each `data`, `mark` and `snap`. Levels of a book stay lists; ids are text where any is too large for 2^53."""
    rows: list[Json] = []
    for event in events:
        for m in [event.message] if isinstance(event, Message) else event.rows:
            if m["op"] == "missed":
                continue
            flat = {"topic": event.topic} | {k: v for k, v in m.items() if k not in ("topic", "data", "epoch")}
            flat |= m.get("data", {})
            rows.append({k: int(v) if k in ("ts_event", "ts_recv") else v for k, v in flat.items()})
    for key in ("id", "first_id", "last_id"):
        if any(isinstance(row.get(key), str) for row in rows):
            for row in rows:
                if key in row:
                    row[key] = str(row[key])
    return rows


def _columns(rows: list[Json]) -> dict[str, list[Any]]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: [row.get(name) for row in rows] for name in names}


def to_polars(events: Iterable[Message | Rows]) -> polars.DataFrame:
    import polars

    return polars.DataFrame(_columns(records(events)), strict=False)


def to_pandas(events: Iterable[Message | Rows]) -> pandas.DataFrame:
    import pandas

    return pandas.DataFrame(_columns(records(events)))
