//! Tables on the terminal.

use std::borrow::Cow;
use std::io::{self, Write};

use crate::color::{Colors, Tone};
use crate::text::{Charset, truncate, width};

/// The number of rows that decide the widths of the columns.
const SAMPLE: usize = 256;
const GAP: usize = 2;
/// The minimum width of a long column.
const NARROWEST: usize = 8;

/// The cell of a value that is absent.
pub const ABSENT: &str = "-";

/// A column of a [`Table`].
#[derive(Clone, Debug)]
pub struct Column {
    title: Cow<'static, str>,
    /// Whether its cells are aligned to the right.
    right: bool,
    /// Whether it may become narrower than its cells.
    flexible: bool,
    /// Whether it may be left out.
    optional: bool,
    /// Its minimum width.
    least: usize,
    /// The tone of a cell.
    tone: Option<fn(&str) -> Option<Tone>>,
}

impl Column {
    const fn new(title: &'static str, right: bool, flexible: bool) -> Self {
        Self {
            title: Cow::Borrowed(title),
            right,
            flexible,
            optional: false,
            least: title.len(),
            tone: None,
        }
    }

    /// The width to which a long column can be shortened.
    fn narrowest(&self) -> usize {
        self.least.max(NARROWEST)
    }

    /// A column of text, as wide as its widest cell.
    #[must_use]
    pub const fn text(title: &'static str) -> Self {
        Self::new(title, false, false)
    }

    /// A column of text that is shortened if the terminal is narrow.
    #[must_use]
    pub const fn long(title: &'static str) -> Self {
        Self::new(title, false, true)
    }

    /// A column of numbers, aligned to the right.
    #[must_use]
    pub const fn number(title: &'static str) -> Self {
        Self::new(title, true, false)
    }

    /// The same column, at least this wide, because later rows may have wider cells.
    #[must_use]
    pub const fn at_least(mut self, least: usize) -> Self {
        self.least = least;
        self
    }

    /// The same column, whose cells have colours if the [table](Table::colored) has.
    #[must_use]
    pub const fn toned(mut self, tone: fn(&str) -> Option<Tone>) -> Self {
        self.tone = Some(tone);
        self
    }

    /// The same column, which is left out if the terminal is narrow.
    #[must_use]
    pub const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// The same column with another title.
    #[must_use]
    pub fn titled(mut self, title: String) -> Self {
        self.least = self.least.max(width(&title));
        self.title = title.into();
        self
    }
}

/// A table that is written while its rows are read. The first rows decide the widths of its columns.
///
/// If the terminal is too narrow, columns whose cells are all [`ABSENT`] are left out first, then
/// long columns are shortened, and then optional columns are left out, the last one first.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    charset: Charset,
    /// The width of the terminal.
    limit: Option<usize>,
    colors: Colors,
    sample: Vec<Vec<String>>,
    /// The width of each column; `None` for a column that is left out.
    widths: Option<Vec<Option<usize>>>,
}

impl Table {
    /// A table for a terminal of `limit` columns, or of any width.
    #[must_use]
    pub fn new(columns: impl Into<Vec<Column>>, charset: Charset, limit: Option<usize>) -> Self {
        Self {
            columns: columns.into(),
            charset,
            limit,
            colors: Colors::NONE,
            sample: Vec::new(),
            widths: None,
        }
    }

    /// The same table, with colours.
    #[must_use]
    pub fn colored(mut self, colors: Colors) -> Self {
        self.colors = colors;
        self
    }

    /// Adds a row. Its cells must be safe to print, as [`printable`](crate::text::printable) makes
    /// them, and as many as the table has columns.
    ///
    /// # Errors
    ///
    /// `out` cannot be written.
    pub fn row(&mut self, out: &mut impl Write, cells: Vec<String>) -> io::Result<()> {
        match &self.widths {
            Some(widths) => self.write_row(out, widths, &cells),
            None => {
                self.sample.push(cells);
                if self.sample.len() < SAMPLE {
                    return Ok(());
                }
                self.settle(out)
            }
        }
    }

    /// Writes the rows that are waiting. The widths stay as they are from now on.
    ///
    /// # Errors
    ///
    /// `out` cannot be written.
    pub fn settle(&mut self, out: &mut impl Write) -> io::Result<()> {
        if self.widths.is_some() {
            return Ok(());
        }
        let widths = self.layout();
        let titles: Vec<String> = self.columns.iter().map(|c| c.title.to_string()).collect();
        self.write_line(out, &widths, &titles, |_, _| Some(Tone::Heading))?;
        for cells in std::mem::take(&mut self.sample) {
            self.write_row(out, &widths, &cells)?;
        }
        self.widths = Some(widths);
        Ok(())
    }

    /// The titles of the columns that are left out. Known as soon as the table is settled.
    pub fn left_out(&self) -> impl Iterator<Item = &str> {
        let widths = self.widths.iter().flatten();
        let columns = widths.zip(&self.columns);
        columns.filter_map(|(width, column)| width.is_none().then_some(&*column.title))
    }

    fn layout(&self) -> Vec<Option<usize>> {
        let mut widths: Vec<Option<usize>> = (0..self.columns.len())
            .map(|at| {
                let cells = self.sample.iter().map(|row| width(&row[at]));
                Some(cells.max().unwrap_or(0).max(self.columns[at].least))
            })
            .collect();
        let Some(limit) = self.limit else {
            return widths;
        };
        for at in (0..widths.len()).rev() {
            let mut cells = self.sample.iter().map(|row| &*row[at]);
            if total(&widths) > limit && !self.sample.is_empty() && cells.all(|cell| cell == ABSENT)
            {
                widths[at] = None;
            }
        }
        let narrowest = |widths: &[Option<usize>]| -> usize {
            let shortened = widths.iter().zip(&self.columns).map(|(width, column)| {
                let least = if column.flexible {
                    column.narrowest()
                } else {
                    usize::MAX
                };
                width.map(|width| width.min(least))
            });
            total(&shortened.collect::<Vec<_>>())
        };
        for at in (0..widths.len()).rev() {
            if self.columns[at].optional && narrowest(&widths) > limit {
                widths[at] = None;
            }
        }
        while total(&widths) > limit {
            let flexible = widths
                .iter_mut()
                .zip(&self.columns)
                .filter_map(|(width, column)| {
                    let width = width.as_mut()?;
                    (column.flexible && *width > column.narrowest()).then_some(width)
                });
            match flexible.max_by_key(|width| **width) {
                Some(width) => *width -= 1,
                None => break,
            }
        }
        widths
    }

    fn write_row(
        &self,
        out: &mut impl Write,
        widths: &[Option<usize>],
        cells: &[String],
    ) -> io::Result<()> {
        let tone = |column: &Column, cell: &str| column.tone.and_then(|tone| tone(cell));
        self.write_line(out, widths, cells, tone)
    }

    fn write_line(
        &self,
        out: &mut impl Write,
        widths: &[Option<usize>],
        cells: &[String],
        tone: impl Fn(&Column, &str) -> Option<Tone>,
    ) -> io::Result<()> {
        // A line that does not fit is cut, which must not cut what makes the colours.
        let fits = self.limit.is_none_or(|limit| total(widths) <= limit);
        let colors = if fits { self.colors } else { Colors::NONE };
        let mut line = String::new();
        for ((cell, columns), column) in cells.iter().zip(widths).zip(&self.columns) {
            let Some(columns) = columns else {
                continue;
            };
            if !line.is_empty() {
                line.push_str("  ");
            }
            let shown = match self.limit {
                Some(_) => truncate(cell, *columns, self.charset),
                None => cell.clone(),
            };
            let padding = " ".repeat(columns.saturating_sub(width(&shown)));
            let shown = colors.paint(tone(column, cell), &shown);
            let parts = if column.right {
                [&padding, &*shown]
            } else {
                [&*shown, &padding]
            };
            line.extend(parts);
        }
        let line = line.trim_end();
        match self.limit.filter(|_| !fits) {
            Some(limit) => writeln!(out, "{}", truncate(line, limit, self.charset)),
            None => writeln!(out, "{line}"),
        }
    }
}

/// The width of a line with these columns.
fn total(widths: &[Option<usize>]) -> usize {
    let shown = widths.iter().flatten();
    shown.clone().sum::<usize>() + GAP * shown.count().saturating_sub(1)
}

/// The rows as lines, each column as wide as its widest cell. The cells must be safe to print, as
/// [`printable`](crate::text::printable) makes them.
#[must_use]
pub fn columns(rows: &[impl AsRef<[String]>]) -> String {
    colored_columns(rows, Colors::NONE)
}

/// As [`columns`], with colours: the first row has the titles, and the states have their tone
/// ([`Tone::of_state`]) in the column `STATE`.
#[must_use]
pub fn colored_columns(rows: &[impl AsRef<[String]>], colors: Colors) -> String {
    let titles = rows.first().map_or(&[][..], AsRef::as_ref);
    let state = titles.iter().position(|title| title == "STATE");
    let most = rows.iter().map(|row| row.as_ref().len()).max();
    let mut widths = vec![0; most.unwrap_or_default()];
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row.as_ref()) {
            *widest = width(cell).max(*widest);
        }
    }
    let mut table = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells = row.as_ref().iter().zip(&widths).enumerate();
        let cells = cells.map(|(at, (cell, columns))| {
            let tone = match number {
                0 => Some(Tone::Heading),
                _ if state == Some(at) => Tone::of_state(cell),
                _ => None,
            };
            let padding = " ".repeat(columns - width(cell));
            colors.paint(tone, cell).into_owned() + &padding
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_change_no_width_and_are_never_cut() {
        let columns = || {
            vec![
                Column::text("KEY"),
                Column::long("DECISION").toned(Tone::of_state),
                Column::number("STATUS").toned(Tone::of_status),
            ]
        };
        let rows = [["a", "accepted", "200"], ["b", "refused: no_rule", "403"]];
        let shown = |colors, limit| {
            let mut table = Table::new(columns(), Charset::Ascii, limit).colored(colors);
            let mut out = Vec::new();
            for row in rows {
                let cells = row.map(str::to_owned).to_vec();
                table.row(&mut out, cells).expect("in memory");
            }
            table.settle(&mut out).expect("in memory");
            String::from_utf8(out).expect("text")
        };
        let plain = |text: &str| anstream::adapter::strip_str(text).to_string();
        for limit in [None, Some(80), Some(24), Some(20), Some(5)] {
            let without = shown(Colors::NONE, limit);
            assert!(!without.contains('\u{1b}'), "{without}");
            assert_eq!(plain(&shown(Colors::ALWAYS, limit)), without, "{limit:?}");
        }
        let colored = shown(Colors::ALWAYS, Some(24));
        assert!(colored.contains("\u{1b}[1mKEY\u{1b}[0m"), "{colored}");
        assert!(colored.contains("\u{1b}[33m403\u{1b}[0m"), "{colored}");
        let rows = [["ID", "STATE"], ["a", "disabled"]].map(|row| row.map(str::to_owned));
        let colored = colored_columns(&rows, Colors::ALWAYS);
        assert!(
            colored.ends_with("\u{1b}[31mdisabled\u{1b}[0m\n"),
            "{colored}"
        );
        assert_eq!(plain(&colored), super::columns(&rows));
    }

    const COLUMNS: &[Column] = &[
        Column::text("TIME"),
        Column::long("PATH"),
        Column::number("BYTES"),
    ];

    fn table(limit: Option<usize>, rows: &[[&str; 3]]) -> String {
        let mut table = Table::new(COLUMNS, Charset::Unicode, limit);
        let mut out = Vec::new();
        for row in rows {
            let cells = row.map(str::to_owned).to_vec();
            table.row(&mut out, cells).expect("a row");
        }
        table.settle(&mut out).expect("a table");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn rows_are_aligned_by_the_columns_of_the_terminal() {
        let rows = [["ID", "LABEL"], ["東京", "a"], ["b", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows), "ID    LABEL\n東京  a\nb\n");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["10:00", "/v1/東", "5"], ["10:01", "", "12345"]];
        let wide = "TIME   PATH    BYTES\n10:00  /v1/東      5\n10:01          12345\n";
        assert_eq!(table(None, &rows), wide);
        assert_eq!(table(Some(80), &rows), wide);
        assert_eq!(table(None, &[]), "TIME  PATH  BYTES\n");
    }

    #[test]
    fn long_columns_are_shortened_on_a_narrow_terminal() {
        let rows = [["10:00", "/a/very/long/path/indeed", "5"]];
        assert_eq!(
            table(Some(24), &rows),
            "TIME   PATH        BYTES\n10:00  /a/very/l…      5\n"
        );
        let narrow = table(Some(10), &rows);
        assert!(narrow.lines().all(|line| width(line) <= 10), "{narrow}");
    }

    #[test]
    fn columns_are_left_out_of_a_narrow_table() {
        let columns = [
            Column::text("TIME"),
            Column::long("ACCOUNT"),
            Column::long("PATH"),
            Column::number("STATUS").optional(),
            Column::number("BYTES").optional(),
        ];
        let text = |limit: usize, account: &str| {
            let mut table = Table::new(columns.clone(), Charset::Unicode, Some(limit));
            let mut out = Vec::new();
            let cells = ["10:00", account, "/a/very/long/path", "200", "5"];
            table
                .row(&mut out, cells.map(str::to_owned).to_vec())
                .expect("a row");
            table.settle(&mut out).expect("a table");
            let out = String::from_utf8(out).expect("text");
            assert!(out.lines().all(|line| width(line) <= limit), "{out}");
            let left_out: Vec<_> = table.left_out().map(str::to_owned).collect();
            (out.lines().nth(1).expect("a row").to_owned(), left_out)
        };
        let (row, left_out) = text(80, "-");
        assert_eq!(row, "10:00  -        /a/very/long/path     200      5");
        assert_eq!(left_out, [""; 0]);
        let (row, left_out) = text(43, "-");
        assert_eq!(row, "10:00  /a/very/long/path     200      5");
        assert_eq!(left_out, ["ACCOUNT"]);
        let (row, left_out) = text(34, "acme");
        assert_eq!(row, "10:00  acme     /a/very/l…     200");
        assert_eq!(left_out, ["BYTES"]);
        assert_eq!(text(24, "acme").1, ["STATUS", "BYTES"]);
    }

    #[test]
    fn late_rows_do_not_break_the_table() {
        let mut rows = vec![["1", "/a", "5"]; SAMPLE];
        rows.push(["1", "/a/long/path", "5"]);
        let text = table(Some(60), &rows);
        assert_eq!(text.lines().last(), Some("1     /a/…      5"));
        assert_eq!(text.lines().count(), SAMPLE + 2);
    }
}
