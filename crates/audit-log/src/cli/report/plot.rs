//! Draws plots as inline SVG. Each plot shows the table below it.

use std::fmt::Write as _;

use super::html::escape;

const WIDTH: usize = 720;
const LABELS: usize = 180;
const ROW: usize = 24;
const NUMBERS: usize = 90;

/// One bar: its name, its parts from the left, and the figure at its end.
pub(super) struct Bar<'a> {
    pub(super) name: &'a str,
    pub(super) parts: [u64; 2],
    pub(super) figure: String,
}

/// Draws horizontal bars. The second part of each is hatched, so that it is visible without colour.
pub(super) fn bars(id: &str, title: &str, bars: &[Bar<'_>]) -> String {
    let most = bars
        .iter()
        .map(|bar| bar.parts[0].saturating_add(bar.parts[1]));
    let most = most.max().unwrap_or(0).max(1);
    let height = ROW * bars.len().max(1);
    let mut svg = format!(
        "<svg role=\"img\" aria-labelledby=\"{id}-title\" viewBox=\"0 0 {WIDTH} {height}\">\
         <title id=\"{id}-title\">{}</title>\
         <defs><pattern id=\"{id}-hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
         patternTransform=\"rotate(45)\"><rect width=\"6\" height=\"6\" class=\"second\"></rect>\
         <line x1=\"0\" y1=\"0\" x2=\"0\" y2=\"6\" class=\"hatch\"></line></pattern></defs>",
        escape(title)
    );
    let room = WIDTH - LABELS - NUMBERS;
    for (at, bar) in bars.iter().enumerate() {
        let (top, middle) = (at * ROW + 4, at * ROW + ROW / 2 + 5);
        let mut left = LABELS;
        // Writing to a string does not fail.
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{}</text>",
            LABELS - 8,
            escape(&short(bar.name))
        );
        let fills = [
            "class=\"first\"".to_owned(),
            format!("fill=\"url(#{id}-hatch)\""),
        ];
        for (part, fill) in bar.parts.iter().zip(fills) {
            let length = scaled(*part, most, room);
            if length > 0 {
                let _ = write!(
                    svg,
                    "<rect x=\"{left}\" y=\"{top}\" width=\"{length}\" height=\"{}\" {fill}></rect>",
                    ROW - 8
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

fn short(name: &str) -> String {
    match name.chars().count() {
        0..=24 => name.to_owned(),
        _ => name.chars().take(23).chain(['…']).collect(),
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
        assert!(bars("p", "nothing", &[]).ends_with("</svg>"));
    }
}
