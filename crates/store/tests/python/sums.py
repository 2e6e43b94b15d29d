"""Counts and sums of what must be seen, by table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

from expected import NUMBERS, Expected, Row


def wanted(
    expected: Expected, table: str, shown: Callable[[Iterable[Row]], Iterable[Row]] = iter
) -> tuple[int, Decimal, int]:
    """Rows, the sum of all their numbers, and (of deltas) how many end a batch; of the rows that `shown` leaves."""
    count, total, batches = 0, Decimal(0), 0
    for identifier in expected.identifiers(table):
        for row in shown(expected.rows(table, identifier)):
            count += 1
            total += sum((row[at] for at in NUMBERS.get(table, ())), Decimal(0))
            if table == "order_book_deltas" and row[4] & 128:
                batches += 1
    return count, total, batches
