//! What only a start finds out: `voxgate check` tries it, and leaves nothing behind.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

#[cfg(feature = "kubernetes")]
use voxgate::env::Mode;
use voxgate::env::path_to_show;
use voxgate::{ConfigError, Problem};

use super::config::Config;
use super::listener;
use super::settings::{ADMIN_LISTEN, AUDIT_DIR, CONTROL_DIR, LISTEN};

/// Tries what the start of the gateway would do. Returns warnings: a port that is in use may be that
/// of a gateway that this one shall replace.
///
/// # Errors
///
/// What the system does not permit.
pub(crate) fn check(config: &Config) -> Result<Vec<Problem>, ConfigError> {
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    for (setting, address) in [
        (ADMIN_LISTEN, &config.admin_listen),
        (LISTEN, &config.listen),
    ] {
        match listener::bind(address, config.listen_mode, 1) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let message = format!(
                    "another process listens on {address}; the gateway cannot start while it does"
                );
                warnings.push(Problem::new(setting, message));
            }
            Err(error) => {
                let message = format!(
                    "cannot listen on {address} ({error}); give an address of this machine and a port \
                     that this user may use, or a path in a directory that this user may write to"
                );
                problems.push(Problem::new(setting, message));
            }
        }
    }
    let audit = config.audit.log.as_ref().map(|files| &*files.directory);
    let control = config
        .control
        .as_ref()
        .and_then(|control| control.directory());
    for (setting, directory) in [(AUDIT_DIR, audit), (CONTROL_DIR, control)] {
        if let Some(directory) = directory
            && let Err(error) = try_to_write(directory)
        {
            let shown = path_to_show(directory).unwrap_or("the directory");
            let message = format!(
                "cannot write to {shown} ({error}); create the directory, and let the user of the gateway \
                 write to it"
            );
            problems.push(Problem::new(setting, message));
        }
    }
    warnings.extend(watched_keys(config));
    ConfigError::check(Some(warnings), problems)
}

/// What is wrong with watched Secrets. The gateway starts nevertheless, and so this warns.
#[cfg(feature = "kubernetes")]
fn watched_keys(config: &Config) -> Vec<Problem> {
    let Some(watch) = config.key_watch.as_ref() else {
        return Vec::new();
    };
    if config.auth.mode() != Mode::Validate {
        return Vec::new();
    }
    match watch.list(config.auth.dialect()) {
        Ok(listed) if listed.keys.is_empty() && listed.problems.is_empty() => {
            vec![watch.warning("there are no keys, so every request is refused")]
        }
        Ok(listed) => listed.problems,
        Err(problem) => {
            let message = format!(
                "{}; a gateway that cannot either refuses every request, and is not ready",
                problem.message()
            );
            vec![Problem::new(problem.place(), message)]
        }
    }
}

/// This build watches no Secrets.
#[cfg(not(feature = "kubernetes"))]
fn watched_keys(_: &Config) -> Vec<Problem> {
    Vec::new()
}

/// Makes a file in the directory, or a directory where it would be made, and removes it again.
fn try_to_write(directory: &Path) -> io::Result<()> {
    let name = format!(".voxgate-check-{}", std::process::id());
    if directory.try_exists()? {
        if !directory.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let file = directory.join(name);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&file)?;
        return fs::remove_file(&file);
    }
    let existing = directory.ancestors().find(|ancestor| ancestor.is_dir());
    let trial = existing.unwrap_or(Path::new(".")).join(name);
    fs::create_dir(&trial)?;
    fs::remove_dir(&trial)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn config(vars: &[(&str, &str)]) -> Config {
        let always = [
            ("VOXGATE_API_KEYS", "a-long-enough-key-1"),
            ("VOXGATE_UPSTREAM", "http://127.0.0.1:8000"),
            ("VOXGATE_LISTEN", "127.0.0.1:0"),
            ("VOXGATE_ADMIN_LISTEN", "127.0.0.1:0"),
        ];
        let kept = always
            .iter()
            .filter(|(name, _)| vars.iter().all(|(own, _)| own != name));
        let vars = kept
            .chain(vars)
            .map(|(name, value)| (name.into(), value.into()));
        Config::from_vars(vars).expect("a good configuration")
    }

    fn places(vars: &[(&str, &str)]) -> Vec<String> {
        let error = check(&config(vars)).expect_err("the system does not permit it");
        let places = error.problems().iter();
        places.map(|problem| problem.place().to_owned()).collect()
    }

    #[test]
    fn a_port_in_use_is_a_warning_and_a_strange_address_is_wrong() {
        assert_eq!(check(&config(&[])).expect("fine").len(), 0);
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("its address").to_string();
        let warnings = check(&config(&[("VOXGATE_LISTEN", &address)])).expect("only a warning");
        assert_eq!(warnings.len(), 1);
        assert!(
            warnings[0]
                .to_string()
                .contains(&format!("listens on {address}"))
        );
        // A documentation address (RFC 5737) that no machine has.
        assert_eq!(
            places(&[("VOXGATE_LISTEN", "192.0.2.1:0")]),
            ["VOXGATE_LISTEN"]
        );
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_found_and_nothing_is_left() {
        let place = tempfile::tempdir().expect("a directory");
        let file = place.path().join("file");
        fs::write(&file, "").expect("written");
        for wrong in [&file, &file.join("log")] {
            let path = wrong.to_str().expect("text");
            assert_eq!(
                places(&[("VOXGATE_AUDIT_DIR", path)]),
                ["VOXGATE_AUDIT_DIR"],
                "{path}"
            );
        }
        for good in [place.path().to_owned(), place.path().join("a/b")] {
            let path = good.to_str().expect("text");
            check(&config(&[("VOXGATE_AUDIT_DIR", path)])).expect("it can be made");
        }
        let left = fs::read_dir(place.path()).expect("readable").count();
        assert_eq!(left, 1, "only the file");
    }
}
