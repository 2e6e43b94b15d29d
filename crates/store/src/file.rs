//! Parquet files on the tape's file system: written with a hash of their bytes, read by row group.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnPath;
use wholetape_tape::{Access, Disk, DiskFile};

use crate::StoreError;

/// Rows of a row group, at most.
pub const GROUP_ROWS: usize = 131_072;

/// How files are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    Zstd(i32),
    Snappy,
    Lz4,
    None,
}

impl Codec {
    /// `zstd`, `zstd-3`, `snappy`, `lz4` or `none`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "zstd" => Self::Zstd(1),
            "snappy" => Self::Snappy,
            "lz4" => Self::Lz4,
            "none" => Self::None,
            other => {
                let level = other.strip_prefix("zstd-")?.parse().ok()?;
                ZstdLevel::try_new(level).ok()?;
                Self::Zstd(level)
            }
        })
    }

    fn parquet(self) -> Compression {
        match self {
            Self::Zstd(level) => Compression::ZSTD(ZstdLevel::try_new(level).unwrap_or_default()),
            Self::Snappy => Compression::SNAPPY,
            Self::Lz4 => Compression::LZ4_RAW,
            Self::None => Compression::UNCOMPRESSED,
        }
    }
}

/// Chosen by measurement (docs/PERFORMANCE.md): times and counters as differences, ids by their common beginnings, words and
/// numbers through a dictionary while that is small.
#[must_use]
pub fn properties(schema: &SchemaRef, codec: Codec) -> WriterProperties {
    let mut props = WriterProperties::builder()
        .set_compression(codec.parquet())
        // Whoever writes ends the groups.
        .set_max_row_group_row_count(None)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        // Without it the 2.x wheel sorts for itself, and rows of one time come out shuffled.
        .set_sorting_columns(sorting(schema))
        .set_created_by(concat!("wholetape ", env!("CARGO_PKG_VERSION")).to_owned());
    for field in schema.fields() {
        use arrow_schema::DataType as T;
        let path = ColumnPath::from(field.name().as_str());
        match field.data_type() {
            T::Timestamp(..) | T::UInt64 | T::UInt32 => {
                props = props
                    .set_column_dictionary_enabled(path.clone(), false)
                    .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
            }
            T::Utf8 if field.name() == "trade_id" => {
                props = props
                    .set_column_dictionary_enabled(path.clone(), false)
                    .set_column_encoding(path, Encoding::DELTA_BYTE_ARRAY);
            }
            _ => {}
        }
    }
    props.build()
}

/// All files are in the order of `ts_init` (and of `seq` within one time).
fn sorting(schema: &SchemaRef) -> Option<Vec<SortingColumn>> {
    let column = schema.index_of("ts_init").ok()?;
    Some(vec![SortingColumn { column_idx: i32::try_from(column).ok()?, descending: false, nulls_first: false }])
}

/// Where bytes go: a file of the disk, hashed on the way.
struct Out {
    file: Arc<dyn DiskFile>,
    at: u64,
    hash: blake3::Hasher,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write_at(bytes, self.at)?;
        self.hash.update(&bytes[..n]);
        self.at += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A Parquet file in the making.
pub struct Writer {
    path: PathBuf,
    inner: ArrowWriter<io::BufWriter<Out>>,
    file: Arc<dyn DiskFile>,
    rows: u64,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub bytes: u64,
    pub rows: u64,
    /// BLAKE3 of the file, hex.
    pub blake3: String,
}

impl Writer {
    /// # Errors
    /// The file cannot be made.
    pub fn create(disk: &dyn Disk, path: &Path, schema: SchemaRef, codec: Codec) -> Result<Self, StoreError> {
        let file = disk.open(path, Access::Create).map_err(StoreError::io(path))?;
        let out = Out { file: file.clone(), at: 0, hash: blake3::Hasher::new() };
        let props = properties(&schema, codec);
        let out = io::BufWriter::with_capacity(1 << 16, out);
        let inner = ArrowWriter::try_new(out, schema, Some(props)).map_err(StoreError::parquet(path))?;
        Ok(Self { path: path.to_owned(), inner, file, rows: 0 })
    }

    /// Adds a batch to the row group.
    ///
    /// # Errors
    /// A full disk, say.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), StoreError> {
        self.rows += batch.num_rows() as u64;
        self.inner.write(batch).map_err(StoreError::parquet(&self.path))
    }

    /// Ends the row group: groups of a file and of its companion hold the same records.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub fn end_group(&mut self) -> Result<(), StoreError> {
        self.inner.flush().map_err(StoreError::parquet(&self.path))
    }

    /// Ends the file and forces it to the disk.
    ///
    /// # Errors
    /// As [`Writer::write`]; a failed fsync.
    pub fn finish(self, disk: &dyn Disk) -> Result<Written, StoreError> {
        let out = self.inner.into_inner().map_err(StoreError::parquet(&self.path))?;
        let out = out.into_inner().map_err(|e| StoreError::Io { path: self.path.clone(), source: e.into_error() })?;
        disk.sync(&*self.file).map_err(StoreError::io(&self.path))?;
        Ok(Written { bytes: out.at, rows: self.rows, blake3: out.hash.finalize().to_hex().to_string() })
    }
}

/// A file of the disk as Parquet reads it.
#[derive(Clone)]
struct Chunks {
    file: Arc<dyn DiskFile>,
    len: u64,
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.len
    }
}

struct From {
    file: Arc<dyn DiskFile>,
    at: u64,
}

impl Read for From {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(bytes, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl ChunkReader for Chunks {
    type T = io::BufReader<From>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(io::BufReader::new(From { file: self.file.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

/// A Parquet file, open for reading; a file that is replaced meanwhile is read on as it was.
pub struct Reader {
    path: PathBuf,
    chunks: Chunks,
    meta: ArrowReaderMetadata,
}

impl Reader {
    /// # Errors
    /// No such file, or no Parquet.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self, StoreError> {
        let file = disk.open(path, Access::Read).map_err(StoreError::io(path))?;
        let len = file.len().map_err(StoreError::io(path))?;
        let chunks = Chunks { file, len };
        let meta = ArrowReaderMetadata::load(&chunks, ArrowReaderOptions::new()).map_err(StoreError::parquet(path))?;
        Ok(Self { path: path.to_owned(), chunks, meta })
    }

    #[must_use]
    pub fn groups(&self) -> usize {
        self.meta.metadata().num_row_groups()
    }

    #[must_use]
    pub fn rows(&self) -> u64 {
        u64::try_from(self.meta.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        self.meta.schema()
    }

    /// Bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.chunks.len
    }

    /// The lowest and the highest value of a column of times or 64-bit numbers in a group, as its statistics have them.
    #[must_use]
    pub fn ends(&self, group: usize, column: &str) -> Option<(i64, i64)> {
        let columns = self.meta.metadata().row_group(group).columns();
        match columns.iter().find(|c| c.column_path().string() == column)?.statistics()? {
            Statistics::Int64(s) => s.min_opt().copied().zip(s.max_opt().copied()),
            _ => None,
        }
    }

    /// One row group as one batch.
    ///
    /// # Errors
    /// Damaged data.
    pub fn group(&self, group: usize) -> Result<RecordBatch, StoreError> {
        self.read(group, ProjectionMask::all())
    }

    /// Columns of one row group, by name; one that is not there is left out.
    ///
    /// # Errors
    /// Damaged data.
    pub fn columns(&self, group: usize, names: &[&str]) -> Result<RecordBatch, StoreError> {
        self.read(group, ProjectionMask::columns(self.meta.parquet_schema(), names.iter().copied()))
    }

    fn read(&self, group: usize, columns: ProjectionMask) -> Result<RecordBatch, StoreError> {
        let of = |e| StoreError::Parquet { path: self.path.clone(), source: e };
        let rows = usize::try_from(self.meta.metadata().row_group(group).num_rows()).unwrap_or(0);
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.chunks.clone(), self.meta.clone());
        let builder = builder.with_projection(columns).with_row_groups(vec![group]);
        let mut reader = builder.with_batch_size(rows.max(1)).build().map_err(of)?;
        let schema = arrow_array::RecordBatchReader::schema(&reader);
        let batch = reader.next().transpose()?;
        let batch = batch.unwrap_or_else(|| RecordBatch::new_empty(schema));
        if batch.num_rows() == rows {
            // The reader strips what the file says of itself: how many digits its numbers are shown with, for one.
            let said = self.schema().metadata().clone();
            let schema = batch.schema().as_ref().clone().with_metadata(said);
            Ok(batch.with_schema(Arc::new(schema))?)
        } else {
            Err(of(ParquetError::General(format!("row group {group} has {} of {rows} rows", batch.num_rows()))))
        }
    }
}

/// BLAKE3 of a file's bytes, hex, and how many there are.
///
/// # Errors
/// The file cannot be read.
pub fn hash(disk: &dyn Disk, path: &Path) -> Result<(u64, String), StoreError> {
    let file = disk.open(path, Access::Read).map_err(StoreError::io(path))?;
    let (mut hash, mut at, mut bytes) = (blake3::Hasher::new(), 0, vec![0; 1 << 20]);
    loop {
        match file.read_at(&mut bytes, at).map_err(StoreError::io(path))? {
            0 => return Ok((at, hash.finalize().to_hex().to_string())),
            n => {
                hash.update(&bytes[..n]);
                at += n as u64;
            }
        }
    }
}
