//! Requests as a Parquet file (<https://parquet.apache.org/docs/file-format/>), for DuckDB, Spark and
//! the like. Its columns are those of the CSV, with their types: texts, numbers, and the time.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::Arc;

use parquet::basic::{Compression, ConvertedType, LogicalType, Repetition, TimeUnit, Type};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type as SchemaType, TypePtr};

use super::super::failure::CommandError;
use super::super::filter::Filter;
use super::super::row::{FIELDS, Field};
use super::super::search::{Found, Search};
use super::super::segments::Source;
use super::super::{log, output};
use crate::timestamp;

/// Rows are kept in memory until a row group of so many is written.
const ROWS: usize = 16 * 1024;

/// The column with the time of the decision.
const TIME: &str = "ts";

/// The values of one column in a row group. A row without a value has only its level.
enum Values {
    Text(Vec<ByteArray>),
    Number(Vec<i64>),
}

struct Column {
    values: Values,
    /// 1 for each row with a value, otherwise 0.
    levels: Vec<i16>,
}

/// Writes a row for each selected request to standard output.
pub(super) fn write(filter: Filter, sources: &[Source]) -> Result<(), CommandError> {
    if output::is_terminal() {
        return Err(CommandError::Usage(
            "Parquet is not for a terminal: write it into a file, as in `… > requests.parquet`"
                .to_owned(),
        ));
    }
    let reading = write_to(io::stdout(), filter, sources)?;
    reading.invalid_lines.warn();
    Ok(())
}

fn write_to<W: Write + Send>(
    out: W,
    filter: Filter,
    sources: &[Source],
) -> Result<log::Reading, CommandError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by(concat!("voxgate ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    let schema = schema().map_err(failed)?;
    let mut writer =
        SerializedFileWriter::new(out, schema, Arc::new(properties)).map_err(failed)?;
    let mut columns = columns();
    let mut rows = 0;
    let reading = Search::new(filter, true).run(sources, |found| {
        add(&mut columns, found);
        rows += 1;
        if rows == ROWS {
            write_group(
                &mut writer,
                std::mem::replace(&mut columns, self::columns()),
            )
            .map_err(failed)?;
            rows = 0;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if rows > 0 {
        write_group(&mut writer, columns).map_err(failed)?;
    }
    writer.finish().map_err(failed)?;
    writer.inner_mut().flush()?;
    Ok(reading)
}

/// The file is written to standard output, so that this is what failed.
fn failed(error: ParquetError) -> CommandError {
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => CommandError::Output(*error),
            Err(error) => CommandError::Output(io::Error::other(error)),
        },
        other => CommandError::Output(io::Error::other(other)),
    }
}

fn schema() -> Result<TypePtr, ParquetError> {
    let fields = FIELDS.iter().map(|field| {
        let (name, kind, logical) = match field {
            Field::Text(TIME, _) => {
                let time = LogicalType::timestamp(true, TimeUnit::MICROS);
                (TIME, Type::INT64, Some(time))
            }
            Field::Text(name, _) => (*name, Type::BYTE_ARRAY, Some(LogicalType::String)),
            Field::Number(name, _) => (*name, Type::INT64, None),
        };
        let column = SchemaType::primitive_type_builder(name, kind)
            .with_repetition(Repetition::OPTIONAL)
            .with_converted_type(ConvertedType::NONE)
            .with_logical_type(logical)
            .build()?;
        Ok(Arc::new(column))
    });
    let fields: Result<Vec<_>, ParquetError> = fields.collect();
    let group = SchemaType::group_type_builder("requests").with_fields(fields?);
    group.build().map(Arc::new)
}

fn columns() -> Vec<Column> {
    let columns = FIELDS.iter().map(|field| Column {
        values: match field {
            Field::Text(name, _) if *name != TIME => Values::Text(Vec::new()),
            Field::Text(..) | Field::Number(..) => Values::Number(Vec::new()),
        },
        levels: Vec::new(),
    });
    columns.collect()
}

fn add(columns: &mut [Column], found: Found<'_>) {
    let second = found.second.map(|seen| seen.record);
    let records = || [Some(found.first.record), second].into_iter().flatten();
    for (field, column) in FIELDS.iter().zip(columns) {
        let is_there = match (field, &mut column.values) {
            (Field::Text(_, get), Values::Text(values)) => {
                let text = records().find_map(get);
                values.extend(text.map(ByteArray::from));
                text.is_some()
            }
            (Field::Text(_, get), Values::Number(values)) => {
                let time = records().find_map(get).and_then(microseconds);
                values.extend(time);
                time.is_some()
            }
            (Field::Number(_, get), Values::Number(values)) => {
                let number = records().find_map(get);
                // No number of a record is this large.
                values.extend(number.map(|number| i64::try_from(number).unwrap_or(i64::MAX)));
                number.is_some()
            }
            (Field::Number(..), Values::Text(_)) => false,
        };
        column.levels.push(i16::from(is_there));
    }
}

/// Microseconds since 1970.
fn microseconds(ts: &str) -> Option<i64> {
    let since = timestamp::parse(ts)?
        .duration_since(std::time::UNIX_EPOCH)
        .ok()?;
    i64::try_from(since.as_micros()).ok()
}

fn write_group<W: Write + Send>(
    writer: &mut SerializedFileWriter<W>,
    columns: Vec<Column>,
) -> Result<(), ParquetError> {
    let mut group = writer.next_row_group()?;
    for Column { values, levels } in columns {
        let Some(mut column) = group.next_column()? else {
            break;
        };
        match values {
            Values::Text(values) => {
                let column = column.typed::<ByteArrayType>();
                column.write_batch(&values, Some(&levels), None)?;
            }
            Values::Number(values) => {
                let column = column.typed::<Int64Type>();
                column.write_batch(&values, Some(&levels), None)?;
            }
        }
        column.close()?;
    }
    group.close()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::Field as Cell;

    use super::super::tests::{COMPLETION, DECISION, REFUSED};
    use super::*;

    /// The rows of the file as `column=value`.
    fn export(text: String) -> Vec<Vec<String>> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        std::fs::write(&path, text).expect("a file");
        let mut file = Vec::new();
        write_to(&mut file, Filter::default(), &[Source::File(path)]).expect("a file");
        let reader = SerializedFileReader::new(Bytes::from(file)).expect("a Parquet file");
        let rows = reader.get_row_iter(None).expect("rows");
        let row = |row: parquet::record::Row| {
            let cells = row.get_column_iter();
            let cells = cells.filter(|(_, cell)| !matches!(cell, Cell::Null));
            cells
                .map(|(name, cell)| match cell {
                    Cell::Str(text) => format!("{name}={text}"),
                    Cell::TimestampMicros(time) => format!("{name}={time}us"),
                    cell => format!("{name}={cell}"),
                })
                .collect()
        };
        rows.map(|it| row(it.expect("a row"))).collect()
    }

    #[test]
    fn a_row_is_a_request_with_typed_columns() {
        let rows = export([DECISION, REFUSED, COMPLETION].join("\n"));
        assert_eq!(rows.len(), 2);
        let refused = &rows[0];
        for cell in [
            "ts=1773483072123456us",
            "path=/a|b=\u{1b}\n\\\u{202e}<script>",
            "status=401",
            "cred_fp=0011223344556677",
        ] {
            assert!(refused.contains(&cell.to_owned()), "{cell}: {refused:?}");
        }
        assert!(!refused.iter().any(|cell| cell.starts_with("key_id")));
        let accepted = &rows[1];
        for cell in ["key_id=ivr", "status=200", "bytes_sent=66044", "ended=ok"] {
            assert!(accepted.contains(&cell.to_owned()), "{cell}: {accepted:?}");
        }
    }

    #[test]
    fn many_rows_are_several_groups_in_order() {
        let line = |seq: usize| {
            REFUSED
                .replace("\"seq\":8", &format!("\"seq\":{seq}"))
                .replace("\"r2\"", &format!("\"r{seq}\""))
        };
        let count = ROWS + 3;
        let rows = export((0..count).map(line).collect::<Vec<_>>().join("\n"));
        assert_eq!(rows.len(), count);
        for (at, row) in rows.iter().enumerate() {
            assert!(row.contains(&format!("seq={at}")), "{at}: {row:?}");
        }
        assert_eq!(export(String::new()), [[""; 0]; 0]);
    }
}
