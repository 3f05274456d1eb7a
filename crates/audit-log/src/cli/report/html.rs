//! The report as a page that needs nothing but itself.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::super::log::InvalidLines;
use super::super::row::{bytes, moment};
use super::gather::{Usage, UsageReport};
use super::plot::{self, Bar};
use super::sums;
use super::top::Top;
use voxgate_terminal::text::{Charset, printable};

const STYLE: &str = include_str!("page.css");
/// Bars in a plot. The table below it has the rest.
const BARS: usize = 40;
const MOST: usize = 10;

/// Text as it stands in a page: visible, and nothing but text.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// The same for what comes from the log.
fn visible(text: &str) -> String {
    escape(&printable(text, Charset::Unicode))
}

pub(super) fn page(report: &UsageReport, invalid_lines: &InvalidLines, files: usize) -> String {
    let findings = sums::findings(report, invalid_lines);
    let span = match &report.span {
        Some((first, last)) => format!("{} to {} UTC", moment(first), moment(last)),
        None => "nothing in this time".to_owned(),
    };
    let (class, verdict) = if findings.complete {
        ("findings", "No record is known to be missing")
    } else {
        ("findings incomplete", "This log is not complete")
    };
    let sentences: String = findings
        .sentences
        .iter()
        .map(|sentence| format!("<li>{}</li>", visible(sentence)))
        .collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>Audit report</title><style>\n{STYLE}</style></head>\n<body><main>\
         <h1>Audit report</h1><p class=\"soft\">{}<br>Records: {}, in files: {files}, summed up by \
         voxgate {} at {}</p>\n\
         <section class=\"{class}\"><h2>{verdict}</h2><ul>{sentences}</ul></section>\n{}{}{}{}{}\
         </main></body></html>\n",
        escape(&span),
        report.records,
        env!("CARGO_PKG_VERSION"),
        format_args!("{:.0}", Timestamp::now()),
        periods(report),
        keys(report),
        refusals(report),
        top("Credentials that nobody has", "Fingerprint", &report.prints),
        top(
            "Where credentials that nobody has came from",
            "Address",
            &report.peers
        ),
    )
}

fn periods(report: &UsageReport) -> String {
    let sums = sums::by_period(report);
    let bars: Vec<Bar<'_>> = sums
        .iter()
        .rev()
        .take(BARS)
        .rev()
        .map(|(name, usage)| requests_bar(name, usage))
        .collect();
    let title = format!("Requests by {}", report.period.title().to_lowercase());
    let plot = plot::bars("periods", &title, &bars);
    let rows = sums
        .iter()
        .map(|(period, usage)| usage_row(&[period], usage));
    let heads = [report.period.title()];
    section(&title, &plot, &usage_table(&heads, rows.collect(), report))
}

fn keys(report: &UsageReport) -> String {
    let sums = sums::by_key(report);
    let names: Vec<String> = sums
        .iter()
        .map(|(key, _)| printable(key, Charset::Unicode))
        .collect();
    let bars = names.iter().zip(&sums).take(BARS);
    let bars: Vec<Bar<'_>> = bars
        .map(|(name, (_, usage))| requests_bar(name, usage))
        .collect();
    let plot = plot::bars("keys", "Requests by key", &bars);
    let rows = report
        .usage
        .iter()
        .map(|((period, key), usage)| usage_row(&[sums::key_name(key.as_deref()), period], usage));
    let heads = ["Key", report.period.title()];
    section(
        "Requests by key",
        &plot,
        &usage_table(&heads, rows.collect(), report),
    )
}

fn requests_bar<'a>(name: &'a str, usage: &Usage) -> Bar<'a> {
    Bar {
        name,
        parts: [usage.accepted, usage.refused],
        figure: (usage.accepted + usage.refused).to_string(),
    }
}

fn refusals(report: &UsageReport) -> String {
    let total = sums::total(report);
    if total.reasons.is_empty() {
        return String::new();
    }
    let mut reasons: Vec<_> = total.reasons.iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let names: Vec<String> = reasons
        .iter()
        .map(|(reason, _)| printable(reason, Charset::Unicode))
        .collect();
    let bars: Vec<Bar<'_>> = names
        .iter()
        .zip(&reasons)
        .map(|(name, (_, count))| Bar {
            name,
            parts: [0, **count],
            figure: count.to_string(),
        })
        .collect();
    let plot = plot::bars("reasons", "Refusals by reason", &bars);
    let mut rows = String::new();
    for ((period, key), usage) in &report.usage {
        for (reason, count) in &usage.reasons {
            let texts = [sums::key_name(key.as_deref()), period, reason];
            rows.push_str(&row(&texts, &[count.to_string()]));
        }
    }
    let heads = ["Key", report.period.title(), "Reason"];
    let foot = row(&["Total", "", ""], &[total.refused.to_string()]);
    section(
        "Refusals by reason",
        &plot,
        &table(&heads, &["Refused"], &rows, &foot),
    )
}

fn top(title: &str, head: &str, top: &Top) -> String {
    let most = top.most(MOST);
    if most.is_empty() {
        return String::new();
    }
    let rows: String = most
        .iter()
        .map(|(name, entry)| {
            let figures = [
                sums::at_most(entry),
                moment(&entry.first),
                moment(&entry.last),
            ];
            row(&[name], &figures)
        })
        .collect();
    section(
        title,
        "",
        &table(&[head], &["Times", "First (UTC)", "Last (UTC)"], &rows, ""),
    )
}

const FIGURES: [&str; 6] = [
    "Accepted",
    "Refused",
    "WebSockets",
    "Sent",
    "First use (UTC)",
    "Last use (UTC)",
];

fn usage_table(heads: &[&str], rows: String, report: &UsageReport) -> String {
    let mut texts = vec![""; heads.len()];
    texts[0] = "Total";
    let foot = usage_row(&texts, &sums::total(report));
    table(heads, &FIGURES, &rows, &foot)
}

fn usage_row(texts: &[&str], usage: &Usage) -> String {
    let time = |ts: &Option<String>| ts.as_deref().map_or("–".to_owned(), moment);
    let figures = [
        usage.accepted.to_string(),
        usage.refused.to_string(),
        usage.streams.to_string(),
        bytes(usage.bytes),
        time(&usage.first),
        time(&usage.last),
    ];
    row(texts, &figures)
}

fn row(texts: &[&str], figures: &[String]) -> String {
    let mut row = "<tr>".to_owned();
    for text in texts {
        // Writing to a string does not fail.
        let _ = write!(row, "<td class=\"key\">{}</td>", visible(text));
    }
    for figure in figures {
        let _ = write!(row, "<td class=\"number\">{}</td>", escape(figure));
    }
    row + "</tr>\n"
}

fn table(heads: &[&str], figures: &[&str], rows: &str, foot: &str) -> String {
    let mut table = "<div class=\"scroll\"><table><thead><tr>".to_owned();
    for head in heads {
        let _ = write!(table, "<th scope=\"col\">{}</th>", escape(head));
    }
    for figure in figures {
        let _ = write!(
            table,
            "<th scope=\"col\" class=\"number\">{}</th>",
            escape(figure)
        );
    }
    let _ = write!(table, "</tr></thead><tbody>\n{rows}</tbody>");
    if !foot.is_empty() {
        let _ = write!(table, "<tfoot>{foot}</tfoot>");
    }
    table + "</table></div>"
}

fn section(title: &str, plot: &str, table: &str) -> String {
    let figure = match plot {
        "" => String::new(),
        plot => format!(
            "<figure>{plot}<figcaption>Plain: accepted. Hatched: refused. The figures are in the \
             table below.</figcaption></figure>"
        ),
    };
    format!(
        "<section><h2>{}</h2>{figure}{table}</section>\n",
        escape(title)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_strangers_stay_texts() {
        assert_eq!(
            visible("<script>alert('x')</script>\"&\u{202e}\u{1b}"),
            "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;\\u202e\\u001b"
        );
    }
}
