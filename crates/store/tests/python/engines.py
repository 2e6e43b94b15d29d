"""The v2 catalog, read by pyarrow, DuckDB and ClickHouse (chdb) from globs over its folders: equal counts and exact sums.

Our own tables are counted too.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, getcontext
from pathlib import Path

import chdb
import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from expected import Expected, Report, arguments

getcontext().prec = 60
# The columns whose sums are compared, with the cells that they stand in.
SUMS = {
    "trades": ("price", "size"),
    "quotes": ("bid_price", "ask_price", "bid_size", "ask_size"),
    "order_book_deltas": (None, None, "price", "size"),
    "bars": ("open", "high", "low", "close", "volume"),
    "mark_prices": ("value",),
    "index_prices": ("value",),
}
# Words: how often each is there.
WORDS = {
    "trades": ("aggressor_side", 2, {"buy": "BUY", "sell": "SELL", "": "NO_AGGRESSOR"}),
    "order_book_deltas": ("action", 0, {w: w.upper() for w in ("add", "update", "delete", "clear")}),
    "instrument_status": ("action", 0, {}),
}
# A reader: table folder, decimal columns, whole-number columns, word column → rows, sums, sums, counts of words.
Found = tuple[int, list[Decimal], list[int], dict[str, int]]
Reader = Callable[[Path, list[str], list[str], str | None], Found]
INTS = ("seq", "row_flags")
# To the nanosecond.
TIMES = ("ts_event", "ts_init", "ts_recv")


def files(folder: Path) -> list[str]:
    return sorted(str(f) for f in folder.glob("*/*.parquet"))


def with_pyarrow(folder: Path, decimals: list[str], ints: list[str], word: str | None) -> Found:
    table = ds.dataset(files(folder), format="parquet").to_table()
    # 38 digits hold every value; their sums get room.
    sums = [Decimal(pc.sum(table[c].cast(pa.decimal256(76, 16))).as_py() or 0) for c in decimals]
    wholes = [pc.sum(table[c]).as_py() or 0 for c in ints]
    # Days of ns since 1970 do not fit 64 bits when summed.
    wholes += [int(pc.sum(table[c].cast(pa.int64()).cast(pa.decimal128(38, 0))).as_py()) for c in TIMES if ints]
    words: dict[str, int] = {}
    if word:
        counts = pc.value_counts(table[word].cast(pa.string())).to_pylist()
        words = {c["values"]: c["counts"] for c in counts}
    return table.num_rows, sums, wholes, words


def with_duckdb(folder: Path, decimals: list[str], ints: list[str], word: str | None) -> Found:
    source = f"read_parquet('{folder}/*/*.parquet')"
    cells = ["count(*)", *(f"sum({c})" for c in decimals), *(f"sum({c}::HUGEINT)" for c in ints)]
    cells += [f"sum(epoch_ns({c})::HUGEINT)" for c in TIMES if ints]
    count, *rest = duckdb.sql(f"select {', '.join(cells)} from {source}").fetchall()[0]
    words = dict(duckdb.sql(f"select {word}, count(*) from {source} group by 1").fetchall()) if word else {}
    return count, [Decimal(c) for c in rest[: len(decimals)]], [int(c) for c in rest[len(decimals) :]], words


def with_chdb(folder: Path, decimals: list[str], ints: list[str], word: str | None) -> Found:
    source = f"file('{folder}/*/*.parquet', Parquet)"
    cells = ["count()", *(f"toString(sum({c}))" for c in decimals), *(f"toString(sum(toInt256({c})))" for c in ints)]
    cells += [f"toString(sum(toInt256(toUnixTimestamp64Nano({c}))))" for c in TIMES if ints]
    line = str(chdb.query(f"select {', '.join(cells)} from {source}", "TabSeparated")).rstrip("\n")
    count, *rest = line.split("\t")
    words: dict[str, int] = {}
    if word:
        answer = str(chdb.query(f"select toString({word}), count() from {source} group by 1", "TabSeparated"))
        words = {w: int(n) for w, n in (pair.split("\t") for pair in answer.splitlines())}
    return int(count), [Decimal(c) for c in rest[: len(decimals)]], [int(c) for c in rest[len(decimals) :]], words


READERS: list[tuple[str, Reader]] = [("pyarrow", with_pyarrow), ("duckdb", with_duckdb), ("chdb", with_chdb)]


def wanted(expected: Expected, table: str) -> Found:
    columns = SUMS.get(table, ())
    count, sums = 0, [Decimal(0) for column in columns if column]
    ints, words = [0 for _ in (*INTS, *TIMES)], {}
    _, word_at, names = WORDS.get(table, (None, None, {}))
    places = [at for at, column in enumerate(columns) if column]
    for identifier in expected.identifiers(table):
        for cells in expected.lines(table, identifier):
            count += 1
            for i, at in enumerate(places):
                sums[i] += Decimal(cells[at])
            event, init, seq, recv, flags = cells[-5:]
            for i, value in enumerate((seq, flags, event, init, recv)):
                ints[i] += value
            if word_at is not None:
                name = names.get(cells[word_at], cells[word_at])
                words[name] = words.get(name, 0) + 1
    return count, sums, ints, words


def main() -> None:
    catalog, expected = arguments()
    report = Report()
    for table in expected.tables:
        want = wanted(expected, table)
        decimals = [column for column in SUMS.get(table, ()) if column]
        for name, read in READERS:
            found = read(catalog / "data" / table, decimals, list(INTS), WORDS.get(table, (None,))[0])
            if found == want:
                report.ok(f"{name} {table}: {found[0]} rows, {len(decimals)} sums")
            else:
                report.wrong(f"{name} {table}: {found}, expected {want}")
    own: dict[str, int] = {}
    for key, count in expected.own.items():
        own[key.split("/")[0]] = own.get(key.split("/")[0], 0) + count
    for table, count in own.items():
        folder = catalog / "wholetape" / table
        for name, read in READERS:
            report.equal(f"{name} {table} (ours)", read(folder, [], [], None)[0], count)
    report.end()


if __name__ == "__main__":
    main()
