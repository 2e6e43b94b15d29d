//! Rows into columns: one batch of one table in one dialect.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
use arrow_schema::{DataType, Field};
use wholetape_model::{Body, Record, Ts};

use crate::StoreError;
use crate::columns::{Columns, Dialect};
use crate::hot;
use crate::spec::{Cell, Col, Item, TAIL, Type};
use crate::spec_market;
use crate::spec_own;
use crate::table::Table;

/// What the readers are told beside the rows: one per table and topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    pub table: Table,
    /// The instrument, or what the topic is about.
    pub id: String,
    pub topic: String,
    /// Digits after the point of prices and sizes, as NautilusTrader prints them.
    pub price_precision: u8,
    pub size_precision: u8,
    /// Of bars: NautilusTrader's name of the series.
    pub bar_type: Option<String>,
}

/// The key under which a file says which version of its table's layout it has ([`Table::format`]).
const FORMAT: &str = "wholetape_format";

impl About {
    /// The folder's last part: the bar type of bars, the instrument of all others.
    #[must_use]
    pub fn identifier(&self) -> &str {
        self.bar_type.as_deref().unwrap_or(&self.id)
    }

    /// The schema's metadata: without it, or with other precisions in one folder, the 1.x wheel gives up.
    #[must_use]
    pub fn metadata(&self, dialect: Dialect) -> Vec<(String, String)> {
        let mut all = vec![said_format(self.table)];
        let mut put = |key: &str, value: &str| all.push((key.to_owned(), value.to_owned()));
        put("instrument_id", &self.id);
        put("topic", &self.topic);
        if !self.table.is_nautilus() {
            put("wholetape_table", self.table.as_str());
        }
        if matches!(
            self.table,
            Table::Trade | Table::TradeRaw | Table::Quote | Table::Delta | Table::Depth | Table::Bar
        ) {
            put("price_precision", &self.price_precision.to_string());
            put("size_precision", &self.size_precision.to_string());
        }
        if matches!(self.table, Table::MarkPrice | Table::IndexPrice) {
            put("price_precision", &self.price_precision.to_string());
        }
        if let Some(bar_type) = &self.bar_type {
            put("bar_type", bar_type);
        }
        match (dialect, self.table) {
            _ if !self.table.is_nautilus() => {}
            // Renamed between the generations.
            (Dialect::V2, Table::Depth) => put("type_name", "OrderBookDepth"),
            (Dialect::V2, table) => put("type_name", table.type_name()),
            (Dialect::V1, Table::Status) => put("type", "InstrumentStatus"),
            (Dialect::V1, table @ (Table::CurrencyPair | Table::CryptoPerpetual | Table::CryptoFuture)) => {
                put("class", table.type_name());
            }
            (Dialect::V1, _) => {}
        }
        all
    }
}

/// A key has one value in all files of a folder, or NautilusTrader 1.x refuses the folder: from version 2 on, the number stands in
/// the key of those that it reads.
fn said_format(table: Table) -> (String, String) {
    match table.format() {
        format if format == 1 || !table.is_nautilus() => (FORMAT.to_owned(), format.to_string()),
        format => (format!("{FORMAT}_{format}"), String::new()),
    }
}

/// The version of a file's layout, 0 where it says none.
#[must_use]
pub fn format_of(schema: &arrow_schema::Schema) -> u32 {
    let said = |(key, value): (&String, &String)| match key.strip_prefix(FORMAT)? {
        "" => value.parse().ok(),
        number => number.strip_prefix('_')?.parse().ok(),
    };
    schema.metadata().iter().filter_map(said).max().unwrap_or(0)
}

/// Refuses a file of a layout that this build does not know.
///
/// # Errors
/// [`StoreError::Newer`].
pub fn check_format(path: &Path, schema: &arrow_schema::Schema, table: Table) -> Result<(), StoreError> {
    let (format, newest) = (format_of(schema), table.format());
    if format > newest {
        return Err(StoreError::Newer { path: path.to_owned(), format, newest });
    }
    Ok(())
}

/// The columns of a table that is written cell by cell, those that follow in every table included.
#[must_use]
pub fn columns_of(table: Table, dialect: Dialect) -> Option<Vec<Col>> {
    let mut all = match spec_own::columns(table) {
        Some(own) => own.to_vec(),
        None => spec_market::columns(table, dialect)?.into_owned(),
    };
    all.extend_from_slice(TAIL);
    Some(all)
}

/// Turns rows into a batch. The rows must belong to the table ([`Table::of`]), or be those that its view is made of.
///
/// # Errors
/// A record that cannot be read, or a bug in a table's description.
pub fn batch<'a>(
    about: &About,
    dialect: Dialect,
    rows: impl ExactSizeIterator<Item = (Ts, Record<'a>)> + Clone,
) -> Result<RecordBatch, StoreError> {
    match about.table {
        Table::Trade | Table::TradeRaw => hot::trades(about, dialect, rows),
        Table::Agg => hot::agg(about, rows),
        Table::Quote => hot::quotes(about, dialect, rows),
        Table::Delta => hot::deltas(about, dialect, rows),
        Table::BookUpdate => hot::book_updates(about, rows),
        Table::Depth => crate::depth::batch(about, dialect, rows),
        table => {
            let spec = columns_of(table, dialect).ok_or(StoreError::Column {
                table: table.as_str(),
                column: "*".into(),
                what: "not described",
            })?;
            cells(about, dialect, &spec, rows)
        }
    }
}

fn cells<'a>(
    about: &About,
    dialect: Dialect,
    spec: &[Col],
    rows: impl ExactSizeIterator<Item = (Ts, Record<'a>)>,
) -> Result<RecordBatch, StoreError> {
    // The id outlives the items: a cell may borrow it.
    let id = about.id.clone();
    let mut items: Vec<(Ts, Record<'a>, wholetape_model::View<'a>)> = Vec::with_capacity(rows.len());
    for (ts_init, record) in rows {
        // A record that has no form elsewhere may be of a kind that cannot be read at all.
        let view = match record.view() {
            Err(_) if about.table == Table::Record => Body::Retract(0),
            view => view?,
        };
        items.push((ts_init, record, view));
    }
    let digits = (about.price_precision, about.size_precision);
    let items: Vec<Item<'_>> =
        items.into_iter().map(|(ts_init, record, view)| Item { ts_init, record, view, id: &id, digits }).collect();
    let mut columns = Columns::new(dialect);
    for col in spec {
        let all = items.iter().map(|item| (col.get)(item));
        put(&mut columns, col, all);
    }
    Ok(columns.batch(about.metadata(dialect))?)
}

fn put<'a>(columns: &mut Columns, col: &Col, cells: impl Iterator<Item = Cell<'a>>) {
    let name = col.name;
    match col.ty {
        Type::Dec => {
            let values = cells.map(|c| if let Cell::Dec(d) = c { Some(d) } else { None });
            if col.null {
                columns.decimals_or_null(name, values.collect());
            } else {
                columns.decimals(name, values.map(Option::unwrap_or_default).collect());
            }
        }
        Type::Time => {
            let values = cells.map(|c| if let Cell::Time(t) = c { Some(t) } else { None });
            if col.null {
                columns.times_or_null(name, values);
            } else {
                columns.times(name, values.map(Option::unwrap_or_default).collect());
            }
        }
        Type::U64 | Type::U32 | Type::U16 | Type::U8 | Type::Minutes => {
            let values = cells.map(|c| if let Cell::Int(n) = c { Some(n) } else { None });
            match col.ty {
                Type::U64 if col.null => columns.u64s_or_null(name, values),
                Type::U64 => columns.u64s(name, values.map(Option::unwrap_or_default).collect()),
                Type::U32 => columns.u32s(name, values.map(|n| n.unwrap_or_default() as u32).collect()),
                Type::U16 => columns.u16s(name, values.map(|n| n.unwrap_or_default() as u16).collect()),
                Type::U8 => columns.u8s(name, values.map(|n| n.unwrap_or_default() as u8).collect()),
                _ => columns.minutes_or_null(name, values),
            }
        }
        Type::Text => {
            let values = cells.map(|c| if let Cell::Text(t) = c { Some(t) } else { None });
            if col.null {
                columns.texts_or_null(name, values);
            } else {
                columns.texts(name, values.map(Option::unwrap_or_default));
            }
        }
        Type::Bytes => {
            let values = cells.map(|c| if let Cell::Bytes(b) = c { b } else { &[] });
            columns.push(name, false, Arc::new(BinaryArray::from_iter_values(values)));
        }
        Type::Bool => {
            let values = cells.map(|c| if let Cell::Bool(b) = c { Some(b) } else { None });
            columns.bools(name, col.null, values);
        }
        Type::Word(words) => columns.words(name, words, cells.map(word).collect()),
        Type::WordText(words) => match columns.dialect() {
            Dialect::V2 => columns.words(name, words, cells.map(word).collect()),
            Dialect::V1 => columns.texts(name, cells.map(|c| words[word(c) as usize].0)),
        },
        Type::Quoted => {
            let values = cells.map(|c| if let Cell::Text(t) = c { t } else { "".into() });
            match columns.dialect() {
                Dialect::V2 => columns.texts(name, values),
                Dialect::V1 => {
                    // Digits, a point and a sign: nothing that JSON would escape.
                    let array = BinaryArray::from_iter_values(values.map(|t| format!("\"{t}\"")));
                    columns.push(name, false, Arc::new(array));
                }
            }
        }
        Type::Json => match columns.dialect() {
            Dialect::V2 => {
                let extension = HashMap::from([("ARROW:extension:name".to_owned(), "arrow.json".to_owned())]);
                let field = Field::new(name, DataType::Utf8, true).with_metadata(extension);
                let array: StringArray = cells.map(|c| if let Cell::Text(t) = c { Some(t) } else { None }).collect();
                columns.push_field(field, Arc::new(array) as ArrayRef);
            }
            Dialect::V1 => {
                let array: BinaryArray =
                    cells.map(|c| Some(if let Cell::Text(t) = c { t.into_owned() } else { "null".into() })).collect();
                columns.push(name, true, Arc::new(array));
            }
        },
        Type::Levels => {}
    }
}

fn word(cell: Cell<'_>) -> i8 {
    if let Cell::Word(at) = cell { at as i8 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_schema::Schema;

    #[test]
    fn a_file_says_its_version_by_value_or_by_key() {
        let of = |pairs: &[(&str, &str)]| {
            let metadata = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            format_of(&Schema::empty().with_metadata(metadata))
        };
        assert_eq!(of(&[("topic", "x")]), 0);
        assert_eq!(of(&[("wholetape_format", "1"), ("wholetape_table", "gaps")]), 1);
        assert_eq!(of(&[("wholetape_format", "12")]), 12);
        assert_eq!(of(&[("wholetape_format_3", "")]), 3);
        assert_eq!(of(&[("wholetape_format", "1"), ("wholetape_format_2", "")]), 2);
    }

    /// Of NautilusTrader's tables nobody else reads the number, and two values of one key break a folder for 1.x.
    #[test]
    fn one_key_has_one_value_in_the_tables_that_nautilus_reads() {
        for table in Table::ALL {
            let (key, value) = said_format(*table);
            let schema = Schema::empty().with_metadata(HashMap::from([(key.clone(), value.clone())]));
            assert_eq!(format_of(&schema), table.format(), "{}", table.as_str());
            assert!(!table.is_nautilus() || (key == FORMAT) == (value == "1"), "{key} {value}");
        }
    }
}
