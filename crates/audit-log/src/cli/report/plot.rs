//! Draws plots as inline SVG. Each plot shows the table below it.

use std::fmt::Write as _;

use super::html::escape;

/// How a plot is drawn, in units of its view box, which are pixels unless the screen is narrower.
struct Layout {
    /// Its class: the page shows one of the layouts, by the width of the screen.
    class: &'static str,
    width: usize,
    /// The width of the names, which stand beside the bars; 0 if they stand above them.
    labels: usize,
    /// The most characters of a name.
    letters: usize,
    row: usize,
}

const LAYOUTS: [Layout; 2] = [
    Layout {
        class: "wide",
        width: 720,
        labels: 180,
        letters: 24,
        row: 24,
    },
    Layout {
        class: "narrow",
        width: 350,
        labels: 0,
        letters: 46,
        row: 42,
    },
];

/// The height of a bar.
const BAR: usize = 16;
/// The room for the figure after a bar.
const NUMBERS: usize = 90;

/// One bar: its name, its parts from the left, and the figure at its end.
pub(super) struct Bar<'a> {
    pub(super) name: &'a str,
    pub(super) parts: [u64; 2],
    pub(super) figure: String,
}

/// Draws horizontal bars, for wide and for narrow screens. The second part of each is hatched, so that
/// it is visible without colour.
pub(super) fn bars(id: &str, title: &str, bars: &[Bar<'_>]) -> String {
    let each = LAYOUTS.iter().map(|layout| drawn(layout, id, title, bars));
    each.collect()
}

fn drawn(layout: &Layout, id: &str, title: &str, bars: &[Bar<'_>]) -> String {
    let Layout {
        class,
        width,
        labels,
        letters,
        row,
    } = *layout;
    let id = format!("{id}-{class}");
    let most = bars
        .iter()
        .map(|bar| bar.parts[0].saturating_add(bar.parts[1]));
    let most = most.max().unwrap_or(0).max(1);
    let height = row * bars.len().max(1);
    let mut svg = format!(
        "<svg role=\"img\" class=\"{class}\" aria-labelledby=\"{id}-title\" \
         viewBox=\"0 0 {width} {height}\"><title id=\"{id}-title\">{}</title>\
         <defs><pattern id=\"{id}-hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
         patternTransform=\"rotate(45)\"><rect width=\"6\" height=\"6\" class=\"second\"></rect>\
         <line x1=\"0\" y1=\"0\" x2=\"0\" y2=\"6\" class=\"hatch\"></line></pattern></defs>",
        escape(title)
    );
    let room = width - labels - NUMBERS;
    for (at, bar) in bars.iter().enumerate() {
        let top = (at + 1) * row - BAR - 4;
        let middle = top + BAR / 2 + 5;
        let mut left = labels;
        let name = escape(&short(bar.name, letters));
        // Writing to a string does not fail.
        let _ = match labels {
            0 => write!(svg, "<text x=\"0\" y=\"{}\">{name}</text>", top - 5),
            labels => write!(
                svg,
                "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{name}</text>",
                labels - 8
            ),
        };
        let fills = [
            "class=\"first\"".to_owned(),
            format!("fill=\"url(#{id}-hatch)\""),
        ];
        for (part, fill) in bar.parts.iter().zip(fills) {
            let length = scaled(*part, most, room);
            if length > 0 {
                let _ = write!(
                    svg,
                    "<rect x=\"{left}\" y=\"{top}\" width=\"{length}\" height=\"{BAR}\" {fill}></rect>"
                );
            }
            left += length;
        }
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{middle}\">{}</text>",
            left + 6,
            escape(&bar.figure)
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Scales a part to the width. A part above zero is visible.
fn scaled(part: u64, most: u64, room: usize) -> usize {
    let length = u128::from(part) * room as u128 / u128::from(most);
    let length = usize::try_from(length).unwrap_or(room);
    length.max(usize::from(part > 0))
}

fn short(name: &str, most: usize) -> String {
    match name.chars().count() > most {
        false => name.to_owned(),
        true => name.chars().take(most - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_scaled_and_names_are_escaped() {
        let rows = [
            Bar {
                name: "<script>",
                parts: [300, 100],
                figure: "400".to_owned(),
            },
            Bar {
                name: "a name that is much too long to stand beside a bar",
                parts: [0, 1],
                figure: "1".to_owned(),
            },
        ];
        let svg = bars("p", "Requests & co", &rows);
        assert!(svg.contains("&lt;script&gt;") && !svg.contains("<script"));
        assert!(svg.contains("Requests &amp; co"));
        assert!(
            svg.contains("width=\"337\"") && svg.contains("width=\"112\""),
            "{svg}"
        );
        assert!(svg.contains("a name that is much too…"));
        assert!(svg.contains("a name that is much too long to stand beside …"));
        assert!(bars("p", "nothing", &[]).ends_with("</svg>"));
    }
}
