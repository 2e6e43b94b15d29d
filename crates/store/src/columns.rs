//! Columns of a table in either dialect: the one place that knows how the two write a price, a time or a word.
//!
//! Both hold the same integers. A price or size is the mantissa at 16 decimals, `raw × 10^(16 − scale)`: dialect C ("v2")
//! stores it as `Decimal128(38, 16)`, dialect A ("v1") as the 16 bytes of that integer, little-endian. Times are ns since the
//! Unix epoch: a UTC timestamp, or a `UInt64`. Words of a small set are a dictionary of texts, or their number.

use std::sync::Arc;

use arrow_array::types::Int8Type;
use arrow_array::{
    ArrayRef, BooleanArray, Decimal128Array, DictionaryArray, FixedSizeBinaryArray, Int8Array, RecordBatch,
    StringArray, TimestampNanosecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow_buffer::Buffer;
use arrow_schema::{ArrowError, DataType, Field, Schema, TimeUnit};
use wholetape_model::Decimal;

/// Digits after the point of every stored mantissa.
pub const SCALE: u8 = 16;
/// Digits that a `Decimal128` can hold.
const DIGITS: u8 = 38;

/// Who is to read the files (`docs/catalog.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// NautilusTrader's schema v2 (2.0 wheels), and every SQL engine.
    V2,
    /// NautilusTrader's 1.x wheels.
    V1,
}

impl Dialect {
    pub const ALL: [Self; 2] = [Self::V2, Self::V1];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V1 => "v1",
        }
    }

    /// The folder of its catalog in the data directory: the two cannot share one.
    #[must_use]
    pub const fn root(self) -> &'static str {
        match self {
            Self::V2 => "catalog",
            Self::V1 => "catalog-v1",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.as_str() == text)
    }
}

const POW10: [i128; SCALE as usize + 1] = {
    let mut all = [1; SCALE as usize + 1];
    let mut i = 1;
    while i < all.len() {
        all[i] = all[i - 1] * 10;
        i += 1;
    }
    all
};

/// `raw × 10^-scale` as the integer that both dialects store; `None` for a scale above [`SCALE`], which has no form in them.
#[inline]
#[must_use]
pub fn mantissa(raw: i64, scale: u8) -> Option<i128> {
    let shift = SCALE.checked_sub(scale)?;
    // 2^63 × 10^16 has 35 digits.
    Some(raw as i128 * POW10[shift as usize])
}

/// The fewest digits after the point, at least `digits`, that print a stored mantissa exactly.
#[must_use]
pub fn digits_of(mantissa: i128, mut digits: u8) -> u8 {
    while digits < SCALE && mantissa % POW10[(SCALE - digits) as usize] != 0 {
        digits += 1;
    }
    digits
}

/// A stored mantissa as a number with as few decimals as it needs; `None` beyond 64 bits.
#[must_use]
pub fn decimal_of(mantissa: i128) -> Option<Decimal> {
    let digits = digits_of(mantissa, 0);
    let raw = i64::try_from(mantissa / POW10[(SCALE - digits) as usize]).ok()?;
    Some(Decimal { raw, scale: digits })
}

/// What 5^n is multiplied with to give 1 (mod 2^128).
const INVERSE5: [u128; SCALE as usize + 1] = {
    let mut all = [1; SCALE as usize + 1];
    let mut n = 1;
    while n < all.len() {
        let five = 5_u128.pow(n as u32);
        // Newton: each round doubles the bits that are right; an odd number is its own inverse in three of them.
        let (mut x, mut round) = (five, 0);
        while round < 6 {
            x = x.wrapping_mul(2_u128.wrapping_sub(five.wrapping_mul(x)));
            round += 1;
        }
        all[n] = x;
        n += 1;
    }
    all
};

/// A stored mantissa at `digits` after the point; `None` where that loses something or does not fit.
///
/// Without a division, which a scan would spend its time with: if the mantissa is a multiple of 10^n, shifting it by n bits and
/// multiplying with the inverse of 5^n gives the quotient; if it is not, multiplying back gives another number.
#[inline]
#[must_use]
pub fn raw_of(mantissa: i128, digits: u8) -> Option<i64> {
    let n = SCALE.checked_sub(digits)? as usize;
    let raw = ((mantissa >> n) as u128).wrapping_mul(INVERSE5[n]) as i128;
    let raw = i64::try_from(raw).ok()?;
    (i128::from(raw) * POW10[n] == mantissa).then_some(raw)
}

/// The columns of one batch in the making, in their order.
pub struct Columns {
    dialect: Dialect,
    fields: Vec<Field>,
    arrays: Vec<ArrayRef>,
}

impl Columns {
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        Self { dialect, fields: Vec::new(), arrays: Vec::new() }
    }

    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// A column that is the same in both dialects.
    pub fn push(&mut self, name: &str, nullable: bool, array: ArrayRef) {
        self.fields.push(Field::new(name, array.data_type().clone(), nullable));
        self.arrays.push(array);
    }

    /// A column whose field says more than its type.
    pub fn push_field(&mut self, field: Field, array: ArrayRef) {
        self.fields.push(field);
        self.arrays.push(array);
    }

    /// Prices or sizes, as mantissas at 16 decimals.
    pub fn decimals(&mut self, name: &str, values: Vec<i128>) {
        let array = decimals(self.dialect, values);
        self.push(name, false, array);
    }

    /// As [`Columns::decimals`], where dialect C allows null: a number missing here is 0 in dialect A.
    pub fn decimals_or_null(&mut self, name: &str, values: Vec<Option<i128>>) {
        match self.dialect {
            Dialect::V1 => self.decimals(name, values.into_iter().map(Option::unwrap_or_default).collect()),
            Dialect::V2 => {
                let array: Decimal128Array = values.into_iter().collect();
                self.push(name, true, Arc::new(with_scale(array)));
            }
        }
    }

    /// Times, ns since the Unix epoch.
    pub fn times(&mut self, name: &str, values: Vec<i64>) {
        let array: ArrayRef = match self.dialect {
            Dialect::V2 => Arc::new(TimestampNanosecondArray::from(values).with_timezone("UTC")),
            // No time before 1970 comes here.
            Dialect::V1 => Arc::new(UInt64Array::from_iter_values(values.into_iter().map(i64::cast_unsigned))),
        };
        self.push(name, false, array);
    }

    pub fn times_or_null(&mut self, name: &str, values: impl Iterator<Item = Option<i64>>) {
        let array: ArrayRef = match self.dialect {
            Dialect::V2 => Arc::new(values.collect::<TimestampNanosecondArray>().with_timezone("UTC")),
            Dialect::V1 => Arc::new(values.map(|v| v.and_then(|ns| u64::try_from(ns).ok())).collect::<UInt64Array>()),
        };
        self.push(name, true, array);
    }

    /// Words of a small set by their place in `words`; dialect A stores the number that stands beside the word.
    pub fn words(&mut self, name: &str, words: &[(&str, u8)], places: Vec<i8>) {
        let array: ArrayRef = match self.dialect {
            Dialect::V2 => Arc::new(dictionary(words, places)),
            Dialect::V1 => Arc::new(UInt8Array::from_iter_values(places.into_iter().map(|at| words[at as usize].1))),
        };
        self.push(name, false, array);
    }

    pub fn u8s(&mut self, name: &str, values: Vec<u8>) {
        self.push(name, false, Arc::new(UInt8Array::from(values)));
    }

    pub fn u16s(&mut self, name: &str, values: Vec<u16>) {
        self.push(name, false, Arc::new(UInt16Array::from(values)));
    }

    pub fn u64s_or_null(&mut self, name: &str, values: impl Iterator<Item = Option<u64>>) {
        self.push(name, true, Arc::new(values.collect::<UInt64Array>()));
    }

    pub fn u32s(&mut self, name: &str, values: Vec<u32>) {
        self.push(name, false, Arc::new(UInt32Array::from(values)));
    }

    pub fn u64s(&mut self, name: &str, values: Vec<u64>) {
        self.push(name, false, Arc::new(UInt64Array::from(values)));
    }

    pub fn texts<T: AsRef<str>>(&mut self, name: &str, values: impl Iterator<Item = T>) {
        self.push(name, false, Arc::new(StringArray::from_iter_values(values)));
    }

    pub fn texts_or_null<T: AsRef<str>>(&mut self, name: &str, values: impl Iterator<Item = Option<T>>) {
        self.push(name, true, Arc::new(values.collect::<StringArray>()));
    }

    pub fn bools(&mut self, name: &str, nullable: bool, values: impl Iterator<Item = Option<bool>>) {
        self.push(name, nullable, Arc::new(values.collect::<BooleanArray>()));
    }

    /// Minutes: 64 bits, in dialect A 16.
    pub fn minutes_or_null(&mut self, name: &str, values: impl Iterator<Item = Option<u64>>) {
        let array: ArrayRef = match self.dialect {
            Dialect::V2 => Arc::new(values.collect::<UInt64Array>()),
            Dialect::V1 => Arc::new(values.map(|v| v.and_then(|n| u16::try_from(n).ok())).collect::<UInt16Array>()),
        };
        self.push(name, true, array);
    }

    /// The batch, with what the readers want to know of it in the schema.
    ///
    /// # Errors
    /// Columns of different lengths: a bug in the table.
    pub fn batch(self, metadata: impl IntoIterator<Item = (String, String)>) -> Result<RecordBatch, ArrowError> {
        let schema = Schema::new(self.fields).with_metadata(metadata.into_iter().collect());
        RecordBatch::try_new(Arc::new(schema), self.arrays)
    }
}

/// The type of a price in `dialect`.
#[must_use]
pub fn decimal_type(dialect: Dialect) -> DataType {
    match dialect {
        Dialect::V2 => DataType::Decimal128(DIGITS, SCALE as i8),
        Dialect::V1 => DataType::FixedSizeBinary(16),
    }
}

/// The type of a time in `dialect`.
#[must_use]
pub fn time_type(dialect: Dialect) -> DataType {
    match dialect {
        Dialect::V2 => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        Dialect::V1 => DataType::UInt64,
    }
}

pub(crate) fn decimals(dialect: Dialect, values: Vec<i128>) -> ArrayRef {
    match dialect {
        Dialect::V2 => Arc::new(with_scale(Decimal128Array::from(values))),
        Dialect::V1 => {
            let values: Vec<i128> =
                if cfg!(target_endian = "big") { values.into_iter().map(i128::to_le).collect() } else { values };
            Arc::new(FixedSizeBinaryArray::new(16, Buffer::from_vec(values), None))
        }
    }
}

fn with_scale(array: Decimal128Array) -> Decimal128Array {
    let (_, values, nulls) = array.into_parts();
    // Any i64 at any scale up to 16 has at most 35 digits.
    Decimal128Array::new(values, nulls).with_data_type(decimal_type(Dialect::V2))
}

pub(crate) fn dictionary(words: &[(&str, u8)], places: Vec<i8>) -> DictionaryArray<Int8Type> {
    let values = StringArray::from_iter_values(words.iter().map(|(word, _)| word));
    // A place that the table does not have is a bug in us; arrow checks it.
    DictionaryArray::new(Int8Array::from(places), Arc::new(values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn mantissas_are_exact_or_refused() {
        assert_eq!(mantissa(-125, 1), Some(-125 * 10_i128.pow(15)));
        assert_eq!(mantissa(7, 16), Some(7));
        assert_eq!(mantissa(7, 17), None);
        assert_eq!(mantissa(i64::MIN, 0), Some(i128::from(i64::MIN) * 10_i128.pow(16)));
    }

    #[test]
    fn digits_grow_only_as_far_as_they_must() {
        let m = |raw, scale| mantissa(raw, scale).unwrap();
        assert_eq!(digits_of(m(12_500, 3), 1), 1);
        assert_eq!(digits_of(m(12_510, 3), 1), 2);
        assert_eq!(digits_of(m(1, 16), 0), 16);
        assert_eq!(digits_of(0, 2), 2);
    }

    proptest! {
        #[test]
        fn a_raw_number_is_what_a_division_gives(raw in any::<i64>(), digits in 0_u8..=16, off in -3_i128..4, any in any::<i128>()) {
            for mantissa in [mantissa(raw, digits).unwrap() + off, any] {
                let unit = POW10[(SCALE - digits) as usize];
                let divided = (mantissa % unit == 0).then(|| i64::try_from(mantissa / unit).ok()).flatten();
                prop_assert_eq!(raw_of(mantissa, digits), divided);
            }
            prop_assert_eq!(raw_of(mantissa(raw, digits).unwrap(), digits), Some(raw));
        }

        #[test]
        fn both_dialects_hold_the_same_integers(raws in proptest::collection::vec((any::<i64>(), 0_u8..=16), 1..50)) {
            let all: Vec<i128> = raws.iter().map(|(raw, scale)| mantissa(*raw, *scale).unwrap()).collect();
            let v2 = decimals(Dialect::V2, all.clone());
            let v1 = decimals(Dialect::V1, all.clone());
            let v2 = v2.as_any().downcast_ref::<Decimal128Array>().unwrap();
            let v1 = v1.as_any().downcast_ref::<FixedSizeBinaryArray>().unwrap();
            for (i, m) in all.iter().enumerate() {
                prop_assert_eq!(v2.value(i), *m);
                prop_assert_eq!(i128::from_le_bytes(v1.value(i).try_into().unwrap()), *m);
            }
        }
    }
}
