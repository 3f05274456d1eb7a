//! The names in a query, without their values.

use std::fmt;

/// The names of a query's parameters. Their values may contain a credential, and are not
/// accessible.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct QueryNames<'a>(&'a str);

impl<'a> QueryNames<'a> {
    /// The names in this query.
    #[must_use]
    pub fn of(query: &'a str) -> Self {
        Self(query)
    }

    /// The names in order, as they were sent. A parameter without `=` may be a value and is shown
    /// as `*`.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let parameters = self.0.split(['&', ';']);
        parameters.map(|parameter| parameter.split_once('=').map_or("*", |(name, _)| name))
    }
}

impl fmt::Display for QueryNames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in self.iter().enumerate() {
            f.write_str(if at > 0 { "&" } else { "" })?;
            f.write_str(name)?;
        }
        Ok(())
    }
}

impl fmt::Debug for QueryNames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QueryNames({self})")
    }
}
