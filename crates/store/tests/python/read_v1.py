"""The v1 catalog, read with a NautilusTrader 1.x wheel: every row, every value.

These wheels write index prices but cannot read them, and label a query of funding rates over several instruments with the first
one's id: so index prices are left out and all types are asked for by instrument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from expected import DEFINITIONS, Expected, Report, Row, arguments
from nautilus_trader.model.data import (
    Bar,
    FundingRateUpdate,
    InstrumentStatus,
    MarkPriceUpdate,
    OrderBookDelta,
    OrderBookDeltas,
    QuoteTick,
    TradeTick,
)
from nautilus_trader.model.enums import AggressorSide, BookAction, MarketStatusAction, OrderSide
from nautilus_trader.persistence.catalog import ParquetDataCatalog
from wheel_v1 import batches, open_catalog, readable

AGGRESSORS = {AggressorSide.NO_AGGRESSOR: "", AggressorSide.BUYER: "buy", AggressorSide.SELLER: "sell"}
SIDES = {OrderSide.NO_ORDER_SIDE: "", OrderSide.BUY: "buy", OrderSide.SELL: "sell"}


def number(value: Any) -> Decimal:
    return value.as_decimal()


def trade(t: TradeTick) -> Row:
    return number(t.price), number(t.size), AGGRESSORS[t.aggressor_side], t.trade_id.value


def quote(q: QuoteTick) -> Row:
    return number(q.bid_price), number(q.ask_price), number(q.bid_size), number(q.ask_size)


def delta(d: OrderBookDelta) -> Row:
    action = BookAction(d.action).name.lower()
    return action, SIDES[d.order.side], number(d.order.price), number(d.order.size), d.flags, d.sequence


def bar(b: Bar) -> Row:
    return number(b.open), number(b.high), number(b.low), number(b.close), number(b.volume)


def price(p: MarkPriceUpdate) -> Row:
    return (number(p.value),)


def funding(f: FundingRateUpdate) -> Row:
    return Decimal(f.rate), f.next_funding_ns


def status(s: InstrumentStatus) -> Row:
    return MarketStatusAction(s.action).name, s.reason, s.is_trading


def definition(i: Any) -> Row:
    none = lambda value: None if value is None else value.as_decimal()  # noqa: E731
    return (
        i.raw_symbol.value,
        (i.base_currency if hasattr(i, "base_currency") else i.underlying).code,
        i.quote_currency.code,
        i.settlement_currency.code if hasattr(i, "settlement_currency") else i.quote_currency.code,
        bool(i.is_inverse),
        number(i.price_increment),
        number(i.size_increment),
        number(i.multiplier),
        none(i.max_quantity),
        none(i.min_quantity),
        none(i.min_notional),
    )


def timed(cells: Callable[[Any], Row], rows: list[Any]) -> Iterator[Row]:
    for row in rows:
        yield *cells(row), row.ts_event, row.ts_init


TABLES: list[tuple[str, type, Callable[[Any], Row]]] = [
    ("trades", TradeTick, trade),
    ("quotes", QuoteTick, quote),
    ("order_book_deltas", OrderBookDelta, delta),
    ("bars", Bar, bar),
    ("mark_prices", MarkPriceUpdate, price),
    ("funding_rates", FundingRateUpdate, funding),
    ("instrument_status", InstrumentStatus, status),
]


def tables(catalog: ParquetDataCatalog, expected: Expected, report: Report) -> None:
    for table, kind, cells in TABLES:
        if not readable(kind):
            print(f"  {table}: this wheel cannot read them")
            continue
        for identifier in expected.identifiers(table):
            rows = catalog.query(kind, identifiers=[identifier])
            report.rows(f"{table} {identifier}", timed(cells, rows), expected.rows(table, identifier))
    for identifier in expected.identifiers("order_book_deltas"):
        found = catalog.query(OrderBookDeltas, identifiers=[identifier])
        wanted = batches(expected.rows("order_book_deltas", identifier))
        report.equal(f"{identifier}: batches of deltas", len(found), wanted)


def definitions(catalog: ParquetDataCatalog, expected: Expected, report: Report) -> None:
    for table in DEFINITIONS:
        for identifier in expected.identifiers(table):
            rows = catalog.instruments(instrument_ids=[identifier])
            wanted = [definition_wanted(row) for row in expected.rows(table, identifier)]
            report.rows(f"{table} {identifier}", timed(definition, rows), wanted)
            trades = catalog.query(TradeTick, identifiers=[identifier])
            if rows and trades:
                what = f"{identifier}: price precision of trades and definition"
                report.equal(what, trades[-1].price.precision, rows[-1].price_precision)


def definition_wanted(row: Row) -> Row:
    numbers = {5, 6, 7, 8, 9, 10}
    cells = [Decimal(cell) if at in numbers and cell is not None else cell for at, cell in enumerate(row[:11])]
    return *cells, *row[-2:]


def main() -> None:
    folder, expected = arguments()
    report = Report()
    catalog = open_catalog(folder)
    tables(catalog, expected, report)
    definitions(catalog, expected, report)
    report.end()


if __name__ == "__main__":
    main()
