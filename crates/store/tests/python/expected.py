"""What a reader must find, and the comparison: the same for every reader, standard library only.

`catalog_check expect` wrote one file of JSON lines per table and identifier. The last five cells of a line are
`ts_event, ts_init, seq, ts_recv, row_flags`, which no wheel reads but the first two.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from typing import Any

Row = tuple[Any, ...]
TAIL = 5
# Cells that are numbers, by table: compared as decimals, whatever zeros follow.
NUMBERS = {
    "trades": (0, 1),
    "quotes": (0, 1, 2, 3),
    "order_book_deltas": (2, 3),
    "bars": (0, 1, 2, 3, 4),
    "mark_prices": (0,),
    "index_prices": (0,),
    "funding_rates": (0,),
}
# Tables of instruments, by class.
DEFINITIONS = ("crypto_perpetual", "currency_pair", "crypto_future")


class Expected:
    """The tables that must be there, and their rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        index = json.loads((folder / "index.json").read_text())
        self.tables: dict[str, dict[str, int]] = index["nautilus"]
        self.own: dict[str, int] = index["own"]

    def identifiers(self, table: str) -> list[str]:
        return sorted(self.tables.get(table, {}))

    def lines(self, table: str, identifier: str) -> Iterator[list[Any]]:
        with (self.folder / table / f"{identifier.replace('/', '')}.jsonl").open() as lines:
            for line in lines:
                yield json.loads(line)

    def rows(self, table: str, identifier: str) -> Iterator[Row]:
        """What a wheel can see of each row: its cells, `ts_event` and `ts_init`."""
        numbers = NUMBERS.get(table, ())
        for cells in self.lines(table, identifier):
            seen = cells[: len(cells) - TAIL + 2]
            yield tuple(Decimal(cell) if at in numbers else cell for at, cell in enumerate(seen))


class Report:
    """Differences are told, counted, and decide the exit status; so does a check that never ran."""

    def __init__(self) -> None:
        self.bad = 0
        self.good = 0

    def ok(self, what: str) -> None:
        self.good += 1
        print(f"  {what}")

    def wrong(self, what: str) -> None:
        self.bad += 1
        print(f"  WRONG {what}")

    def equal(self, what: str, found: Any, expected: Any) -> bool:
        if found == expected:
            self.ok(f"{what}: {found}")
            return True
        self.wrong(f"{what}: {found}, expected {expected}")
        return False

    def rows(self, what: str, found: Iterable[Row], expected: Iterable[Row]) -> None:
        """Row by row, in order; the first difference is told."""
        count, end = 0, object()
        for have, want in zip_longest(found, expected, fillvalue=end):
            if have != want:
                have = "nothing" if have is end else have
                want = "nothing" if want is end else want
                self.wrong(f"{what}: row {count} is {have}, expected {want}")
                return
            count += 1
        self.ok(f"{what}: {count} rows, all values")

    def end(self) -> None:
        print(f"{self.good} checks held, {self.bad} did not")
        sys.exit(1 if self.bad or not self.good else 0)


def arguments() -> tuple[Path, Expected]:
    """The catalog's folder, and what must be found in it."""
    if len(sys.argv) != 3:
        sys.exit(f"usage: {Path(sys.argv[0]).name} CATALOG EXPECTED")
    return Path(sys.argv[1]), Expected(Path(sys.argv[2]))
