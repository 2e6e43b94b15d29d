"""A backtest over the v2 catalog with a NautilusTrader 2.x wheel: its strategy must see every event, with the right sums."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

from expected import DEFINITIONS, Expected, Report, arguments
from nautilus_trader.backtest import BacktestEngine, BacktestEngineConfig
from nautilus_trader.common import LoggerConfig
from nautilus_trader.data import DataEngineConfig
from nautilus_trader.execution import MakerTakerFeeModel
from nautilus_trader.model import (
    AccountType,
    BarType,
    BookType,
    Currency,
    InstrumentId,
    Money,
    NautilusDataType,
    OmsType,
    Venue,
)
from nautilus_trader.persistence import ParquetDataCatalog
from nautilus_trader.trading import Strategy, StrategyConfig
from sums import wanted

READABLE = {
    "trades": NautilusDataType.TradeTick,
    "quotes": NautilusDataType.QuoteTick,
    "order_book_deltas": NautilusDataType.OrderBookDelta,
    "bars": NautilusDataType.Bar,
    "mark_prices": NautilusDataType.MarkPriceUpdate,
    "index_prices": NautilusDataType.IndexPriceUpdate,
    "funding_rates": NautilusDataType.FundingRateUpdate,
    "instrument_status": NautilusDataType.InstrumentStatus,
}


class Witness(Strategy):
    """Counts and sums what it is shown."""

    def __init__(self, config: StrategyConfig | None = None) -> None:
        super().__init__()
        self.expected: Expected
        self.seen: Counter[str] = Counter()
        self.sums: dict[str, Decimal] = {}

    def note(self, table: str, *numbers: Any) -> None:
        self.seen[table] += 1
        self.sums[table] = self.sums.get(table, Decimal(0)) + sum(Decimal(str(n)) for n in numbers)

    def on_start(self) -> None:
        ids = lambda table: [InstrumentId.from_str(i) for i in self.expected.identifiers(table)]  # noqa: E731
        for i in ids("trades"):
            self.subscribe_trades(i)
        for i in ids("quotes"):
            self.subscribe_quotes(i)
        for i in ids("order_book_deltas"):
            self.subscribe_book_deltas(i, BookType.L2_MBP)
        for series in self.expected.identifiers("bars"):
            self.subscribe_bars(BarType.from_str(series))
        for i in ids("mark_prices"):
            self.subscribe_mark_prices(i)
        for i in ids("index_prices"):
            self.subscribe_index_prices(i)
        for i in ids("funding_rates"):
            self.subscribe_funding_rates(i)
        for i in ids("instrument_status"):
            self.subscribe_instrument_status(i)

    def on_trade(self, trade: Any) -> None:
        self.note("trades", trade.price, trade.size)

    def on_quote(self, quote: Any) -> None:
        self.note("quotes", quote.bid_price, quote.ask_price, quote.bid_size, quote.ask_size)

    def on_book_deltas(self, deltas: Any) -> None:
        self.seen["batches"] += 1
        for delta in deltas.deltas:
            self.note("order_book_deltas", delta.order.price, delta.order.size)

    def on_bar(self, bar: Any) -> None:
        self.note("bars", bar.open, bar.high, bar.low, bar.close, bar.volume)

    def on_mark_price(self, mark_price: Any) -> None:
        self.note("mark_prices", mark_price.value)

    def on_index_price(self, index_price: Any) -> None:
        self.note("index_prices", index_price.value)

    def on_funding_rate(self, funding_rate: Any) -> None:
        self.note("funding_rates", funding_rate.rate)

    def on_instrument_status(self, status: Any) -> None:
        self.note("instrument_status")


def engine(catalog: ParquetDataCatalog, expected: Expected) -> BacktestEngine:
    config = BacktestEngineConfig(
        data_engine=DataEngineConfig(buffer_deltas=True),
        logging=LoggerConfig(bypass_logging=True),
        run_analysis=False,
    )
    engine = BacktestEngine(config)
    ids = [i for table in DEFINITIONS for i in expected.identifiers(table)]
    for venue in sorted({i.rsplit(".", 1)[1] for i in ids}):
        engine.add_venue(
            venue=Venue(venue),
            oms_type=OmsType.NETTING,
            account_type=AccountType.MARGIN,
            starting_balances=[Money(1_000_000, Currency.from_str("USDT"))],
            fee_model=MakerTakerFeeModel(Decimal("0.0002"), Decimal("0.0004")),
            book_type=BookType.L2_MBP,
        )
    for i in ids:
        # The last definition: an engine knows one of each.
        engine.add_instrument(catalog.instruments(instrument_ids=[i])[-1])
    for table, kind in READABLE.items():
        for identifier in expected.identifiers(table):
            rows = catalog.query(kind, identifiers=[identifier])
            if rows:
                engine.add_data(rows, sort=False)
    engine.sort_data()
    return engine


def main() -> None:
    folder, expected = arguments()
    report = Report()
    run = engine(ParquetDataCatalog(str(folder)), expected)
    witness = Witness()
    witness.expected = expected
    run.add_strategy(witness)
    run.run()
    for table in READABLE:
        count, total, batches = wanted(expected, table)
        report.equal(f"strategy saw {table}", (witness.seen[table], witness.sums.get(table, Decimal(0))), (count, total))
        if batches:
            report.equal("strategy saw batches of deltas", witness.seen["batches"], batches)
    report.end()


if __name__ == "__main__":
    main()
