//! Patterns in which `*` stands for any text.

/// A text, or a pattern with `*`. It must match as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob(pub(super) String);

impl<T: Into<String>> From<T> for Glob {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl Glob {
    pub(super) fn matches(&self, text: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else {
            return text == self.0;
        };
        let Some(mut text) = text.strip_prefix(first) else {
            return false;
        };
        let mut rest: Vec<&str> = rest.split('*').collect();
        let last = rest.pop().unwrap_or_default();
        // The first match leaves the most text for the parts that follow.
        for part in rest {
            match text.split_once(part) {
                Some((_, after)) => text = after,
                None => return false,
            }
        }
        text.ends_with(last)
    }

    /// A part of every text that matches; the longest one that is known.
    pub(super) fn literal(&self) -> &str {
        let parts = self.0.split('*');
        parts.max_by_key(|part| part.len()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text() {
        for (pattern, matching, others) in [
            ("ivr", &["ivr"][..], &["ivr-2", "my-ivr", ""][..]),
            ("ivr-*", &["ivr-", "ivr-prod"], &["ivr", "x-ivr-prod"]),
            ("*-prod", &["ivr-prod", "-prod"], &["ivr-prod-2"]),
            ("a*b*c", &["abc", "a-b-b-c"], &["acb", "abca"]),
            ("*", &["", "x"], &[]),
            ("a**b", &["ab", "axb"], &["a"]),
        ] {
            let glob = Glob(pattern.to_owned());
            assert!(matching.iter().all(|text| glob.matches(text)), "{pattern}");
            assert!(!others.iter().any(|text| glob.matches(text)), "{pattern}");
            assert!(matching.iter().all(|text| text.contains(glob.literal())));
        }
    }
}
