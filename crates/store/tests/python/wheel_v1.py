"""What differs among the 1.x wheels: which types a wheel can read, and what it calls the deltas' folder.

1.220.0 looks for `order_book_delta`, where 1.231.0 has `order_book_deltas`; the files are the same, so it is given a folder of links.
It also has no decoder for funding rates, and ends a batch only at a delta whose flags are 128 alone: a snapshot (160) runs into the
update that follows. What follows the last end is a batch too where the catalog makes them; its engine keeps that back and never shows it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from expected import Row
from nautilus_trader import __version__
from nautilus_trader.model.data import OrderBookDelta
from nautilus_trader.persistence.catalog import ParquetDataCatalog
from nautilus_trader.persistence.funcs import class_to_filename
from nautilus_trader.serialization.arrow import serializer

RUST = ("TradeTick", "QuoteTick", "OrderBookDelta", "Bar", "MarkPriceUpdate")


def readable(kind: type) -> bool:
    return kind.__name__ in RUST or kind in serializer._ARROW_DECODERS


OLD = int(__version__.split(".")[1]) < 231


def ends(delta: Row) -> bool:
    """Whether this wheel ends a batch at it."""
    return delta[4] == 128 if OLD else bool(delta[4] & 128)


def batches(deltas: Iterable[Row]) -> int:
    """How many batches the catalog makes of these deltas."""
    ended = left = 0
    for delta in deltas:
        ended, left = (ended + 1, 0) if ends(delta) else (ended, 1)
    return ended + left


def shown(deltas: Iterable[Row]) -> Iterator[Row]:
    """What an engine that buffers shows of these deltas: all up to the last end."""
    kept: list[Row] = []
    for delta in deltas:
        kept.append(delta)
        if ends(delta):
            yield from kept
            kept.clear()


def open_catalog(folder: Path) -> ParquetDataCatalog:
    name = class_to_filename(OrderBookDelta)
    if (folder / "data" / name).is_dir() or not (folder / "data" / "order_book_deltas").is_dir():
        return ParquetDataCatalog(str(folder))
    print(f"  this wheel calls the deltas' folder {name}: it reads through links")
    links = Path(tempfile.mkdtemp(prefix="catalog-links-"))
    for table in (folder / "data").iterdir():
        here = name if table.name == "order_book_deltas" else table.name
        for identifier in table.iterdir():
            (links / "data" / here / identifier.name).mkdir(parents=True)
            for file in identifier.glob("*.parquet"):
                (links / "data" / here / identifier.name / file.name).symlink_to(file.resolve())
    return ParquetDataCatalog(str(links))
