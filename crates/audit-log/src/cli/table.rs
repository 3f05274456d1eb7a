//! A table on the terminal, written while it is read.

use std::io::{self, Write};

use crate::text::{Charset, truncate, width};

/// The widths are those of the first rows; the rest has to fit.
const SAMPLE: usize = 256;
const GAP: usize = 2;
/// No column becomes narrower to make a table fit.
const NARROWEST: usize = 8;

pub(super) struct Column {
    pub(super) title: &'static str,
    /// Numbers stand to the right.
    pub(super) right: bool,
    /// It may become narrower than what is in it.
    pub(super) flexible: bool,
    /// How wide it is at least, because wider rows may come.
    pub(super) least: usize,
}

impl Column {
    pub(super) const fn text(title: &'static str) -> Self {
        Self {
            title,
            right: false,
            flexible: false,
            least: title.len(),
        }
    }

    pub(super) const fn long(title: &'static str) -> Self {
        Self {
            title,
            right: false,
            flexible: true,
            least: title.len(),
        }
    }

    pub(super) const fn number(title: &'static str) -> Self {
        Self {
            title,
            right: true,
            flexible: false,
            least: title.len(),
        }
    }

    pub(super) const fn at_least(self, least: usize) -> Self {
        Self { least, ..self }
    }
}

pub(super) struct Table {
    columns: &'static [Column],
    charset: Charset,
    /// How wide a line may be.
    limit: Option<usize>,
    sample: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
}

impl Table {
    pub(super) fn new(columns: &'static [Column], charset: Charset, limit: Option<usize>) -> Self {
        Self {
            columns,
            charset,
            limit,
            sample: Vec::new(),
            widths: None,
        }
    }

    /// Adds a row of texts that are safe to show.
    pub(super) fn row(&mut self, out: &mut impl Write, cells: Vec<String>) -> io::Result<()> {
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

    /// Writes what there is. The widths stay as they are from now on.
    pub(super) fn settle(&mut self, out: &mut impl Write) -> io::Result<()> {
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
    fn columns_are_as_wide_as_what_is_in_them() {
        let rows = [["10:00", "/v1/東", "5"], ["10:01", "", "12345"]];
        let wide = "TIME   PATH    BYTES\n10:00  /v1/東      5\n10:01          12345\n";
        assert_eq!(table(None, &rows), wide);
        assert_eq!(table(Some(80), &rows), wide);
        assert_eq!(table(None, &[]), "TIME  PATH  BYTES\n");
    }

    #[test]
    fn a_narrow_terminal_cuts_what_can_be_cut() {
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
