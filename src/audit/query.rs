//! The names in a query, without their values.

use std::fmt;

/// The names of a query's parameters. Their values may hold a credential, and cannot be had.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct QueryNames<'a>(&'a str);

impl<'a> QueryNames<'a> {
    /// Those of this query.
    #[must_use]
    pub fn of(query: &'a str) -> Self {
        Self(query)
    }

    /// The names in their order, as they were sent; `*` for what has no `=` and may be a value.
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
