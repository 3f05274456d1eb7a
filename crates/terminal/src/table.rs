//! Tables on the terminal.

use std::io::{self, Write};

use crate::text::{Charset, truncate, width};

/// The number of rows that decide the widths of the columns.
const SAMPLE: usize = 256;
const GAP: usize = 2;
/// The minimum width of a column that is shortened to make the table fit.
const NARROWEST: usize = 8;

/// A column of a [`Table`].
#[derive(Clone, Copy, Debug)]
pub struct Column {
    title: &'static str,
    /// Whether its cells are aligned to the right.
    right: bool,
    /// Whether it may become narrower than its cells.
    flexible: bool,
    /// Its minimum width.
    least: usize,
}

impl Column {
    /// A column of text, as wide as its widest cell.
    #[must_use]
    pub const fn text(title: &'static str) -> Self {
        Self {
            title,
            right: false,
            flexible: false,
            least: title.len(),
        }
    }

    /// A column of text that is shortened if the terminal is narrow.
    #[must_use]
    pub const fn long(title: &'static str) -> Self {
        Self {
            title,
            right: false,
            flexible: true,
            least: title.len(),
        }
    }

    /// A column of numbers, aligned to the right.
    #[must_use]
    pub const fn number(title: &'static str) -> Self {
        Self {
            title,
            right: true,
            flexible: false,
            least: title.len(),
        }
    }

    /// The same column, at least this wide, because later rows may have wider cells.
    #[must_use]
    pub const fn at_least(self, least: usize) -> Self {
        Self { least, ..self }
    }
}

/// A table that is written while its rows are read. The first rows decide the widths of its columns.
#[derive(Debug)]
pub struct Table {
    columns: &'static [Column],
    charset: Charset,
    /// The width of the terminal.
    limit: Option<usize>,
    sample: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
}

impl Table {
    /// A table for a terminal of `limit` columns, or of any width.
    #[must_use]
    pub fn new(columns: &'static [Column], charset: Charset, limit: Option<usize>) -> Self {
        Self {
            columns,
            charset,
            limit,
            sample: Vec::new(),
            widths: None,
        }
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
        let titles: Vec<String> = self.columns.iter().map(|c| c.title.to_owned()).collect();
        self.write_row(out, &widths, &titles)?;
        for cells in std::mem::take(&mut self.sample) {
            self.write_row(out, &widths, &cells)?;
        }
        self.widths = Some(widths);
        Ok(())
    }

    fn layout(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = (0..self.columns.len())
            .map(|at| {
                let cells = self.sample.iter().map(|row| width(&row[at]));
                cells.max().unwrap_or(0).max(self.columns[at].least)
            })
            .collect();
        let gaps = GAP * (widths.len() - 1);
        while let Some(limit) = self.limit
            && widths.iter().sum::<usize>() + gaps > limit
        {
            let flexible = widths
                .iter_mut()
                .zip(self.columns)
                .filter(|(width, column)| column.flexible && **width > NARROWEST);
            match flexible.max_by_key(|(width, _)| **width) {
                Some((width, _)) => *width -= 1,
                None => break,
            }
        }
        widths
    }

    fn write_row(
        &self,
        out: &mut impl Write,
        widths: &[usize],
        cells: &[String],
    ) -> io::Result<()> {
        let mut line = String::new();
        for ((cell, columns), column) in cells.iter().zip(widths).zip(self.columns) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            let cell = match self.limit {
                Some(_) => truncate(cell, *columns, self.charset),
                None => cell.clone(),
            };
            let padding = " ".repeat(columns.saturating_sub(width(&cell)));
            let parts = if column.right {
                [&padding, &cell]
            } else {
                [&cell, &padding]
            };
            line.extend(parts.map(String::as_str));
        }
        let line = line.trim_end();
        match self.limit {
            Some(limit) => writeln!(out, "{}", truncate(line, limit, self.charset)),
            None => writeln!(out, "{line}"),
        }
    }
}

/// The rows as lines, each column as wide as its widest cell. The cells must be safe to print, as
/// [`printable`](crate::text::printable) makes them.
#[must_use]
pub fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = width(cell).max(*widest);
        }
    }
    let mut table = String::new();
    for row in rows {
        let cells = row.iter().zip(widths);
        let cells = cells.map(|(cell, columns)| cell.clone() + &" ".repeat(columns - width(cell)));
        let line = cells.collect::<Vec<_>>().join("  ");
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn late_rows_do_not_break_the_table() {
        let mut rows = vec![["1", "/a", "5"]; SAMPLE];
        rows.push(["1", "/a/long/path", "5"]);
        let text = table(Some(60), &rows);
        assert_eq!(text.lines().last(), Some("1     /a/…      5"));
        assert_eq!(text.lines().count(), SAMPLE + 2);
    }
}
