//! `voxgate policy`: the requirements of each route, as a table.

use std::fmt;

use voxgate::Policy;

use voxgate_terminal::color::Colors;
use voxgate_terminal::table::colored_columns;

/// The public routes, and the rules in the order in which they are checked.
pub(crate) struct PolicyTable<'a>(pub(crate) &'a Policy);

impl fmt::Display for PolicyTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heading = ["METHOD", "PATH", "REQUIRES", "VOICE"].map(str::to_owned);
        let mut rows = vec![heading];
        for (method, path) in self.0.public_routes() {
            rows.push([method, path, "nothing (public)", ""].map(str::to_owned));
        }
        for rule in self.0.rules() {
            let mut requires = rule.scope().unwrap_or("any key").to_owned();
            if rule.is_explicit() {
                requires.push_str(" (of every key)");
            }
            if rule.is_realtime() {
                requires.push_str(", or a realtime key");
            }
            let voice = rule.voice().map(ToString::to_string).unwrap_or_default();
            rows.push([
                rule.method().to_owned(),
                rule.pattern().to_owned(),
                requires,
                voice,
            ]);
        }
        f.write_str(&colored_columns(&rows, Colors::of_stdout()))?;
        f.write_str(
            "\nThe first row that matches a request decides. A key without scopes, voices or \
                kind is not limited.\nA limited key is refused on every request that no row \
                matches.\n",
        )
    }
}
