"""Files of several versions in one folder are one table to whoever reads them: the golden catalogs, put together.

Our own tables, by pyarrow, DuckDB and chdb: whatever file comes first, all rows, and null only where the newer file has it. chdb takes the
columns of one file for all, and with an older one first shows 0 for null, unless it is told to look at each. A table that
NautilusTrader reads: a file of a second version says so in the key of its metadata (docs/adr/0009), and has one more column behind the
others. Two values of one key are what 1.231.0 refuses.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from expected import Report, arguments

GOLDEN = Path(__file__).parent.parent / "golden"
DAY = 86_400_000_000_000
ID = "BTCUSDT-PERP.BINANCE"
NAME = "2026-01-0{0}T00-00-00-000000000Z_2026-01-0{0}T23-59-59-999999999Z.parquet"
OWN = {"bar_updates": "first_id", "definitions": "expiry", "gaps": "from_id", "liquidations": "average_price"}


def counts(files: list[str], column: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """How many rows there are, and how many of them have a value in the column."""
    table = ds.dataset(files, format="parquet").to_table()
    yield "pyarrow", (table.num_rows, table.num_rows - table[column].null_count)
    try:
        import chdb
        import duckdb
    except ImportError:
        return
    yield "DuckDB", duckdb.sql(f"select count(*), count({column}) from read_parquet({files})").fetchall()[0]
    with tempfile.TemporaryDirectory() as folder:
        for n, file in enumerate(files):
            (Path(folder) / f"{n}.parquet").symlink_to(file)
        sql = f"select count(), count({column}) from file('{folder}/*.parquet', Parquet)"
        sql += " settings schema_inference_mode = 'union'"
        yield "chdb", tuple(map(int, str(chdb.query(sql, "CSV")).strip().split(",")))


def own(report: Report) -> None:
    for table, column in OWN.items():
        versions = [next((GOLDEN / f"v{n}/catalog/wholetape/{table}").rglob(f"*{ID}/*.parquet")) for n in (1, 2)]
        files = [str(file) for file in versions]
        rows = sum(pq.read_metadata(file).num_rows for file in files)
        nulls = pq.read_table(files[1])[column].null_count
        assert nulls > 0, table
        for order in (files, files[::-1]):
            for name, found in counts(order, column):
                report.equal(f"{name}: rows of {table} in two versions, and those with {column}", found, (rows, rows - nulls))


def later(table: pa.Table) -> pa.Table:
    """The rows a day later, with a column more."""
    for column in ("ts_event", "ts_init"):
        at = table.schema.get_field_index(column)
        field = table.schema.field(at)
        times = pa.array([t + DAY for t in table[column].cast(pa.int64()).to_pylist()])
        table = table.set_column(at, field, times.cast(field.type))
    return table.append_column(pa.field("new", pa.uint64()), pa.nulls(table.num_rows, pa.uint64()))


def quotes(root: str, said: dict[bytes, bytes]) -> tuple[int, int]:
    """Rows that NautilusTrader finds in a folder of two versions, and those that are there."""
    kind = "quote_tick" if root == "catalog-v1" else "quotes"
    table = pq.read_table(next((GOLDEN / f"v1/{root}/data/{kind}").rglob("*.parquet")))
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home, "data", kind, ID)
        folder.mkdir(parents=True)
        pq.write_table(table, folder / NAME.format(2))
        other = {k: v for k, v in table.schema.metadata.items() if k != b"wholetape_format"}
        pq.write_table(later(table).replace_schema_metadata(other | said), folder / NAME.format(3))
        if root == "catalog-v1":
            from nautilus_trader.model.data import QuoteTick
            from nautilus_trader.persistence.catalog import ParquetDataCatalog

            found = ParquetDataCatalog(home).query(QuoteTick, identifiers=[ID])
        else:
            from nautilus_trader.persistence import ParquetDataCatalog

            found = ParquetDataCatalog(home).query_quote_ticks([ID])
        return len(found), 2 * table.num_rows


def main() -> None:
    catalog, _ = arguments()
    report = Report()
    own(report)
    found, there = quotes(catalog.name, {b"wholetape_format_2": b""})
    report.equal("NautilusTrader: quotes, the version in a key", found, there)
    if catalog.name == "catalog-v1":
        try:
            found, _ = quotes(catalog.name, {b"wholetape_format": b"2"})
            report.wrong(f"NautilusTrader read {found} quotes with two values of one key: the number could stand there")
        except RuntimeError as e:
            report.equal("NautilusTrader refuses two values of a key", "conflicting metadata" in str(e), True)
    report.end()


if __name__ == "__main__":
    main()
