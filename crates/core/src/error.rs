//! Configuration errors. All problems are reported together.

use std::fmt;

/// Maximum number of problems to keep. Further problems are only counted.
const MAX_PROBLEMS: usize = 1000;

/// All problems of a configuration. No problem shows a value.
///
/// `Display` writes one problem per line.
#[derive(Debug)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

/// One problem: its place, and how to fix it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    place: String,
    message: String,
}

impl Problem {
    /// A problem at `place` (the name of a variable, or a file and line). The `message` describes
    /// the problem and its fix. It must not contain a value that might be secret.
    #[must_use]
    pub fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            message: message.into(),
        }
    }

    /// The place: the name of a variable, or a file and line.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The problem and its fix.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl ConfigError {
    /// All problems.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Returns the problems, to report them together with others.
    #[must_use]
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Returns the value if there are no problems, otherwise all problems. A missing `value` is an
    /// error, even without a problem.
    ///
    /// # Errors
    ///
    /// If there is a problem, or no value.
    pub fn check<T>(value: Option<T>, mut problems: Vec<Problem>) -> Result<T, Self> {
        if problems.len() > MAX_PROBLEMS {
            let more = problems.len() - MAX_PROBLEMS;
            problems.truncate(MAX_PROBLEMS);
            let message = format!("{more} more problems are not shown; fix these first");
            problems.push(Problem::new("configuration", message));
        }
        match value {
            Some(value) if problems.is_empty() => Ok(value),
            Some(_) => Err(Self { problems }),
            None => {
                if problems.is_empty() {
                    problems.push(Problem::new("configuration", "is incomplete"));
                }
                Err(Self { problems })
            }
        }
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
