"""The v2 catalog, read with a NautilusTrader 2.x wheel: every row, every value.

An instrument's class is the folder it lies in; fees and the venue's own times of a definition are not part of it in 2.x.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from expected import DEFINITIONS, Expected, Report, Row, arguments
from nautilus_trader.model import NautilusDataType
from nautilus_trader.persistence import ParquetDataCatalog

SIDES = {"NO_AGGRESSOR": "", "BUY": "buy", "SELL": "sell", "NO_ORDER_SIDE": "", "None": ""}


def word(value: Any) -> str:
    return getattr(value, "name", None) or str(value)


def number(value: Any) -> Decimal:
    return Decimal(str(value))


def trade(t: Any) -> Row:
    return number(t.price), number(t.size), SIDES[word(t.aggressor_side)], str(t.trade_id)


def quote(q: Any) -> Row:
    return number(q.bid_price), number(q.ask_price), number(q.bid_size), number(q.ask_size)


def delta(d: Any) -> Row:
    order, action = d.order, word(d.action).lower()
    side = "" if order.side is None else SIDES[word(order.side)]
    return action, side, number(order.price), number(order.size), d.flags, d.sequence


def bar(b: Any) -> Row:
    return number(b.open), number(b.high), number(b.low), number(b.close), number(b.volume)


def price(p: Any) -> Row:
    return (number(p.value),)


def funding(f: Any) -> Row:
    return f.rate, f.next_funding_ns


def status(s: Any) -> Row:
    return word(s.action), s.reason, s.is_trading


def definition(i: Any) -> Row:
    none = lambda value, cell: None if value is None else cell(value)  # noqa: E731
    return (
        str(i.raw_symbol),
        (i.base_currency if hasattr(i, "base_currency") else i.underlying).code,
        i.quote_currency.code,
        i.settlement_currency.code if hasattr(i, "settlement_currency") else i.quote_currency.code,
        i.is_inverse,
        number(i.price_increment),
        number(i.size_increment),
        number(i.multiplier),
        none(i.max_quantity, number),
        none(i.min_quantity, number),
        none(i.min_notional, lambda money: money.as_decimal()),
    )


def timed(cells: Callable[[Any], Row], rows: list[Any]) -> Iterator[Row]:
    for row in rows:
        yield *cells(row), row.ts_event, row.ts_init


TABLES: list[tuple[str, Any, Callable[[Any], Row]]] = [
    ("trades", NautilusDataType.TradeTick, trade),
    ("quotes", NautilusDataType.QuoteTick, quote),
    ("order_book_deltas", NautilusDataType.OrderBookDelta, delta),
    ("bars", NautilusDataType.Bar, bar),
    ("mark_prices", NautilusDataType.MarkPriceUpdate, price),
    ("index_prices", NautilusDataType.IndexPriceUpdate, price),
    ("funding_rates", NautilusDataType.FundingRateUpdate, funding),
    ("instrument_status", NautilusDataType.InstrumentStatus, status),
]


def tables(catalog: ParquetDataCatalog, expected: Expected, report: Report) -> None:
    for table, kind, cells in TABLES:
        total = 0
        for identifier in expected.identifiers(table):
            rows = catalog.query(kind, identifiers=[identifier])
            total += len(rows)
            report.rows(f"{table} {identifier}", timed(cells, rows), expected.rows(table, identifier))
        report.equal(f"{table} of all, in one query", len(catalog.query(kind)), total)


def definitions(catalog: ParquetDataCatalog, expected: Expected, report: Report) -> None:
    for table in DEFINITIONS:
        for identifier in expected.identifiers(table):
            rows = catalog.instruments(instrument_ids=[identifier])
            # What stands behind the notional is not read by a wheel.
            wanted = [definition_wanted(row) for row in expected.rows(table, identifier)]
            report.rows(f"{table} {identifier}", timed(definition, rows), wanted)
            seen = (catalog.query_trade_ticks([identifier]), catalog.query_quote_ticks([identifier]))
            for last, one in ((rows[-1], ticks[-1]) for ticks in seen if rows and ticks):
                mine = (one.price if hasattr(one, "price") else one.bid_price).precision
                report.equal(f"{identifier}: price precision of rows and definition", mine, last.price_precision)


def definition_wanted(row: Row) -> Row:
    numbers = {5, 6, 7, 8, 9, 10}
    cells = [Decimal(cell) if at in numbers and cell is not None else cell for at, cell in enumerate(row[:11])]
    return *cells, *row[-2:]


def main() -> None:
    folder, expected = arguments()
    report = Report()
    catalog = ParquetDataCatalog(str(folder))
    tables(catalog, expected, report)
    definitions(catalog, expected, report)
    report.end()


if __name__ == "__main__":
    main()
