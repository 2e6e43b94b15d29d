//! Cells of a batch that was read, by column name: for tables whose rows are rare.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal128Type, Int8Type, TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use wholetape_model::{Decimal, Ts};

use crate::StoreError;
use crate::columns::decimal_of;

/// One row of a batch in dialect C or of our own tables.
pub struct Cells<'a> {
    pub table: &'static str,
    pub batch: &'a RecordBatch,
    pub row: usize,
}

impl<'a> Cells<'a> {
    fn column(&self, name: &str) -> Result<&'a dyn Array, StoreError> {
        self.batch.column_by_name(name).map(AsRef::as_ref).ok_or_else(|| self.wrong(name, "missing"))
    }

    fn wrong(&self, name: &str, what: &'static str) -> StoreError {
        StoreError::Column { table: self.table, column: name.into(), what }
    }

    /// A word that this build does not know.
    #[must_use]
    pub fn odd(&self, name: &str) -> StoreError {
        self.wrong(name, "a word that this build does not know")
    }

    /// Zero where it is null.
    ///
    /// # Errors
    /// No such column, or no decimal that fits.
    pub fn dec(&self, name: &str) -> Result<Decimal, StoreError> {
        let column = self.column(name)?;
        let column = column.as_primitive_opt::<Decimal128Type>().ok_or_else(|| self.wrong(name, "no decimal"))?;
        if column.is_null(self.row) {
            return Ok(Decimal { raw: 0, scale: 0 });
        }
        decimal_of(column.value(self.row)).ok_or_else(|| self.wrong(name, "a number beyond 64 bits"))
    }

    /// Zero where it is null.
    ///
    /// # Errors
    /// No such column, or no unsigned number.
    pub fn int(&self, name: &str) -> Result<u64, StoreError> {
        let column = self.column(name)?;
        if column.is_null(self.row) {
            return Ok(0);
        }
        Ok(match column.data_type() {
            DataType::UInt8 => column.as_primitive::<UInt8Type>().value(self.row).into(),
            DataType::UInt16 => column.as_primitive::<UInt16Type>().value(self.row).into(),
            DataType::UInt32 => column.as_primitive::<UInt32Type>().value(self.row).into(),
            DataType::UInt64 => column.as_primitive::<UInt64Type>().value(self.row),
            _ => return Err(self.wrong(name, "no unsigned number")),
        })
    }

    /// Zero where it is null.
    ///
    /// # Errors
    /// No such column, or no timestamp.
    pub fn time(&self, name: &str) -> Result<Ts, StoreError> {
        let column = self.column(name)?;
        let column =
            column.as_primitive_opt::<TimestampNanosecondType>().ok_or_else(|| self.wrong(name, "no timestamp"))?;
        Ok(if column.is_null(self.row) { Ts::ZERO } else { Ts(column.value(self.row)) })
    }

    /// Empty where it is null.
    ///
    /// # Errors
    /// No such column, or no text.
    pub fn text(&self, name: &str) -> Result<&'a str, StoreError> {
        let column = self.column(name)?;
        if let Some(texts) = column.as_string_opt::<i32>() {
            return Ok(if texts.is_null(self.row) { "" } else { texts.value(self.row) });
        }
        let words = column.as_dictionary_opt::<Int8Type>().ok_or_else(|| self.wrong(name, "no text"))?;
        let values = words.values().as_string_opt::<i32>().ok_or_else(|| self.wrong(name, "no text"))?;
        Ok(words.key(self.row).map_or("", |key| values.value(key)))
    }

    /// # Errors
    /// No such column, or no bytes.
    pub fn bytes(&self, name: &str) -> Result<&'a [u8], StoreError> {
        let column = self.column(name)?;
        Ok(column.as_binary_opt::<i32>().ok_or_else(|| self.wrong(name, "no bytes"))?.value(self.row))
    }

    /// # Errors
    /// No such column, or no truth value.
    pub fn bool(&self, name: &str) -> Result<bool, StoreError> {
        let column = self.column(name)?;
        Ok(column.as_boolean_opt().ok_or_else(|| self.wrong(name, "no truth value"))?.value(self.row))
    }
}
