//! MessagePack: what our messages need of it, and clients' messages as the JSON that they mean.

use std::fmt::Write as _;

/// Writes the head of a map of `len` members.
pub(super) fn map(out: &mut Vec<u8>, len: usize) {
    container(out, len, 0x80, 0xde);
}

/// Writes the head of an array of `len` elements.
pub fn array(out: &mut Vec<u8>, len: usize) {
    container(out, len, 0x90, 0xdc);
}

fn container(out: &mut Vec<u8>, len: usize, fix: u8, wide: u8) {
    match len {
        0..=15 => out.push(fix | len as u8),
        16..=0xffff => {
            out.push(wide);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(wide + 1);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
}

pub(super) fn text(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        len @ 0..=31 => out.push(0xa0 | len as u8),
        len @ 32..=0xff => out.extend_from_slice(&[0xd9, len as u8]),
        len @ 0x100..=0xffff => {
            out.push(0xda);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0xdb);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

pub(super) fn integer(out: &mut Vec<u8>, v: i64) {
    match v {
        0.. => unsigned(out, v as u64),
        -32..=-1 => out.push(v as u8),
        -0x80..=-33 => out.extend_from_slice(&[0xd0, v as u8]),
        -0x8000..=-0x81 => {
            out.push(0xd1);
            out.extend_from_slice(&(v as i16).to_be_bytes());
        }
        -0x8000_0000..=-0x8001 => {
            out.push(0xd2);
            out.extend_from_slice(&(v as i32).to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend_from_slice(&v.to_be_bytes());
        }
    }
}

pub(super) fn unsigned(out: &mut Vec<u8>, v: u64) {
    match v {
        0..=0x7f => out.push(v as u8),
        0x80..=0xff => out.extend_from_slice(&[0xcc, v as u8]),
        0x100..=0xffff => {
            out.push(0xcd);
            out.extend_from_slice(&(v as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xce);
            out.extend_from_slice(&(v as u32).to_be_bytes());
        }
        _ => {
            out.push(0xcf);
            out.extend_from_slice(&v.to_be_bytes());
        }
    }
}

/// A JSON number: an integer where it is one that fits 64 bits, else the nearest double.
pub(super) fn number(out: &mut Vec<u8>, digits: &[u8]) {
    let digits = std::str::from_utf8(digits).unwrap_or("0");
    if let Ok(v) = digits.parse::<i64>() {
        integer(out, v);
    } else if let Ok(v) = digits.parse::<u64>() {
        unsigned(out, v);
    } else {
        out.push(0xcb);
        out.extend_from_slice(&digits.parse::<f64>().unwrap_or(0.0).to_be_bytes());
    }
}

pub(super) const NIL: u8 = 0xc0;
pub(super) const FALSE: u8 = 0xc2;
pub(super) const TRUE: u8 = 0xc3;

/// A message as JSON text: the same maps with the same keys, nested to `depth`.
///
/// # Errors
/// Where and why it is none: not MessagePack, bytes behind it, binary or extension types, keys that are no strings, doubles that are no
/// numbers, nesting deeper than `depth`.
pub fn to_json(bytes: &[u8], depth: usize) -> Result<String, String> {
    let mut reader = Reader { bytes, at: 0, out: String::with_capacity(2 * bytes.len()), deepest: depth };
    reader.value(0)?;
    if reader.at != bytes.len() {
        return Err(format!("bytes behind the message, from {}", reader.at));
    }
    Ok(reader.out)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    out: String,
    deepest: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let taken = self.at.checked_add(n).and_then(|to| self.bytes.get(self.at..to));
        let taken = taken.ok_or_else(|| format!("ends within a value, at byte {}", self.bytes.len()))?;
        self.at += n;
        Ok(taken)
    }

    /// A big-endian integer of `n` bytes.
    fn size(&mut self, n: usize) -> Result<u64, String> {
        Ok(self.take(n)?.iter().fold(0, |v, b| v << 8 | u64::from(*b)))
    }

    fn value(&mut self, depth: usize) -> Result<(), String> {
        let at = self.at;
        let head = self.take(1)?[0];
        match head {
            0x00..=0x7f => self.print(head),
            0xe0..=0xff => self.print(head as i8),
            0x80..=0x8f => return self.map(u64::from(head & 15), depth),
            0x90..=0x9f => return self.array(u64::from(head & 15), depth),
            0xa0..=0xbf => return self.text(u64::from(head & 31)),
            0xc0 => self.out.push_str("null"),
            0xc2 => self.out.push_str("false"),
            0xc3 => self.out.push_str("true"),
            0xca => {
                let float = f32::from_bits(self.size(4)? as u32);
                return self.double(f64::from(float), at);
            }
            0xcb => {
                let float = f64::from_bits(self.size(8)?);
                return self.double(float, at);
            }
            0xcc..=0xcf => {
                let v = self.size(1 << (head - 0xcc))?;
                self.print(v);
            }
            0xd0..=0xd3 => {
                let n = 1 << (head - 0xd0);
                let v = self.size(n)? as i64;
                // The sign is in the highest bit that was read.
                let unused = 64 - 8 * n as u32;
                self.print(v << unused >> unused);
            }
            0xd9..=0xdb => {
                let len = self.size(1 << (head - 0xd9))?;
                return self.text(len);
            }
            0xdc | 0xdd => {
                let len = self.size(2 << (head - 0xdc))?;
                return self.array(len, depth);
            }
            0xde | 0xdf => {
                let len = self.size(2 << (head - 0xde))?;
                return self.map(len, depth);
            }
            0xc1 | 0xc4..=0xc9 | 0xd4..=0xd8 => {
                return Err(format!(
                    "type 0x{head:02x} at byte {at} is none of nil, bool, number, string, array and map"
                ));
            }
        }
        Ok(())
    }

    fn print(&mut self, v: impl std::fmt::Display) {
        let _ = write!(self.out, "{v}");
    }

    fn double(&mut self, v: f64, at: usize) -> Result<(), String> {
        if !v.is_finite() {
            return Err(format!("{v} at byte {at} is no number"));
        }
        // The shortest digits that read back as the same double, with a point or an exponent.
        let _ = write!(self.out, "{v:?}");
        Ok(())
    }

    fn text(&mut self, len: u64) -> Result<(), String> {
        let at = self.at;
        let bytes = self.take(usize::try_from(len).unwrap_or(usize::MAX))?;
        let text = std::str::from_utf8(bytes).map_err(|_| format!("the string at byte {at} is not UTF-8"))?;
        self.out.push_str(&serde_json::Value::from(text).to_string());
        Ok(())
    }

    fn within(&self, depth: usize) -> Result<usize, String> {
        if depth == self.deepest {
            return Err(format!("nested deeper than {}", self.deepest));
        }
        Ok(depth + 1)
    }

    fn array(&mut self, len: u64, depth: usize) -> Result<(), String> {
        let depth = self.within(depth)?;
        self.out.push('[');
        for i in 0..len {
            if i > 0 {
                self.out.push(',');
            }
            self.value(depth)?;
        }
        self.out.push(']');
        Ok(())
    }

    fn map(&mut self, len: u64, depth: usize) -> Result<(), String> {
        let depth = self.within(depth)?;
        self.out.push('{');
        for i in 0..len {
            if i > 0 {
                self.out.push(',');
            }
            let at = self.at;
            match self.bytes.get(at) {
                Some(0xa0..=0xbf | 0xd9..=0xdb) => self.value(depth)?,
                Some(_) => return Err(format!("the key at byte {at} is no string")),
                None => return Err(format!("ends within a map, at byte {at}")),
            }
            self.out.push(':');
            self.value(depth)?;
        }
        self.out.push('}');
        Ok(())
    }
}
