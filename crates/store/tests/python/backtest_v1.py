"""A backtest over the v1 catalog with a NautilusTrader 1.x wheel: its strategy must see every event, with the right sums.

Index prices cannot be read by these wheels; funding rates are asked for by instrument (see read_v1.py).
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

from expected import DEFINITIONS, Expected, Report, arguments
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import DataEngineConfig, LoggingConfig, StrategyConfig
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import (
    Bar,
    BarType,
    FundingRateUpdate,
    InstrumentStatus,
    MarkPriceUpdate,
    OrderBookDelta,
    OrderBookDeltas,
    QuoteTick,
    TradeTick,
)
from nautilus_trader.model.enums import AccountType, BookType, OmsType
from nautilus_trader.model.identifiers import InstrumentId, Venue
from nautilus_trader.model.objects import Money
from nautilus_trader.persistence.catalog import ParquetDataCatalog
from nautilus_trader.trading.strategy import Strategy
from sums import wanted
from wheel_v1 import batches, open_catalog, readable, shown

TABLES = {
    "trades": TradeTick,
    "quotes": QuoteTick,
    "order_book_deltas": OrderBookDelta,
    "bars": Bar,
    "mark_prices": MarkPriceUpdate,
    "funding_rates": FundingRateUpdate,
    "instrument_status": InstrumentStatus,
}
READABLE = {table: kind for table, kind in TABLES.items() if readable(kind)}


class Witness(Strategy):
    """Counts and sums what it is shown."""

    def __init__(self, expected: Expected) -> None:
        super().__init__(StrategyConfig())
        self.expected = expected
        self.seen: Counter[str] = Counter()
        self.sums: dict[str, Decimal] = {}

    def note(self, table: str, *numbers: Decimal, count: int = 1) -> None:
        self.seen[table] += count
        self.sums[table] = self.sums.get(table, Decimal(0)) + sum(numbers)

    def on_start(self) -> None:
        ids = lambda table: [InstrumentId.from_str(i) for i in self.expected.identifiers(table)]  # noqa: E731
        for i in ids("trades"):
            self.subscribe_trade_ticks(i)
        for i in ids("quotes"):
            self.subscribe_quote_ticks(i)
        for i in ids("order_book_deltas"):
            self.subscribe_order_book_deltas(i, book_type=BookType.L2_MBP)
        for series in self.expected.identifiers("bars"):
            self.subscribe_bars(BarType.from_str(series))
        for i in ids("mark_prices"):
            self.subscribe_mark_prices(i)
        for i in ids("funding_rates"):
            self.subscribe_funding_rates(i)
        for i in ids("instrument_status"):
            self.subscribe_instrument_status(i)

    def on_trade_tick(self, tick: TradeTick) -> None:
        self.note("trades", tick.price.as_decimal(), tick.size.as_decimal())

    def on_quote_tick(self, tick: QuoteTick) -> None:
        numbers = (tick.bid_price, tick.ask_price, tick.bid_size, tick.ask_size)
        self.note("quotes", *(n.as_decimal() for n in numbers))

    def on_order_book_deltas(self, deltas: OrderBookDeltas) -> None:
        self.seen["batches"] += 1
        for delta in deltas.deltas:
            self.note("order_book_deltas", delta.order.price.as_decimal(), delta.order.size.as_decimal())

    def on_bar(self, bar: Bar) -> None:
        self.note("bars", *(n.as_decimal() for n in (bar.open, bar.high, bar.low, bar.close, bar.volume)))

    def on_mark_price(self, update: MarkPriceUpdate) -> None:
        self.note("mark_prices", update.value.as_decimal())

    def on_funding_rate(self, update: FundingRateUpdate) -> None:
        self.note("funding_rates", Decimal(update.rate))

    def on_instrument_status(self, status: InstrumentStatus) -> None:
        self.note("instrument_status")


def engine(catalog: ParquetDataCatalog, expected: Expected) -> BacktestEngine:
    engine = BacktestEngine(
        config=BacktestEngineConfig(
            data_engine=DataEngineConfig(buffer_deltas=True),
            logging=LoggingConfig(bypass_logging=True),
            run_analysis=False,
        )
    )
    ids = [i for table in DEFINITIONS for i in expected.identifiers(table)]
    for venue in sorted({i.rsplit(".", 1)[1] for i in ids}):
        engine.add_venue(
            venue=Venue(venue),
            oms_type=OmsType.NETTING,
            account_type=AccountType.MARGIN,
            starting_balances=[Money(1_000_000, USDT)],
            book_type=BookType.L2_MBP,
        )
    for i in ids:
        # The last definition: an engine knows one of each.
        engine.add_instrument(catalog.instruments(instrument_ids=[i])[-1])
    for table, kind in READABLE.items():
        for identifier in expected.identifiers(table):
            rows: list[Any] = catalog.query(kind, identifiers=[identifier])
            if rows:
                engine.add_data(rows)
    return engine


def main() -> None:
    folder, expected = arguments()
    report = Report()
    run = engine(open_catalog(folder), expected)
    witness = Witness(expected)
    run.add_strategy(witness)
    run.run()
    for table in READABLE:
        deltas = table == "order_book_deltas"
        count, total, ends = wanted(expected, table, shown if deltas else iter)
        report.equal(f"strategy saw {table}", (witness.seen[table], witness.sums.get(table, Decimal(0))), (count, total))
        if ends:
            every = (batches(shown(expected.rows(table, i))) for i in expected.identifiers(table))
            report.equal("strategy saw batches of deltas", witness.seen["batches"], sum(every))
    run.dispose()
    report.end()


if __name__ == "__main__":
    main()
