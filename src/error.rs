//! Errors of configuration: all of them at once.

use std::fmt;

/// The rest is only counted.
const MAX_PROBLEMS: usize = 1000;

/// All problems of a configuration at once. No problem shows a value.
///
/// Shown one problem a line.
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
    /// A problem at `place` (a variable's name, or file and line). The `message` says what is
    /// wrong and how to fix it. It must not contain a value that might be secret.
    #[must_use]
    pub fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            message: message.into(),
        }
    }

    /// Where it is: a variable's name, or a file and line.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The problem, and how to fix it.
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
    /// All the problems that were found.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The problems themselves, to report them beside others.
    #[must_use]
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// `Ok(value)` if nothing is wrong, all the problems otherwise. A `value` that could not be
    /// made is a problem of its own, even if nobody named it.
    ///
    /// # Errors
    ///
    /// When there is a problem, or no value.
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
