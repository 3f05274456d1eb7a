//! `--now`: tells the running gateways of a keys file at once, and says which have confirmed.

use std::io::{self, Write as _};
use std::path::Path;

use clap::ArgMatches;
use voxgate::env::Environment;
use voxgate::keys::Revocation;

use super::control::{self, ControlPlace, ControlRequest, ControlResponse};
use super::failure::KeyCommandError;
use super::target::Source;

const CONTROL_DIR: &str = "VOXGATE_CONTROL_DIR";

/// Whether `--now` is given.
pub(super) fn is_given(matches: &ArgMatches) -> Result<bool, KeyCommandError> {
    let prints_manifest = matches.contains_id("kubernetes-secret") && !matches.get_flag("apply");
    match matches.get_flag("now") {
        true if prints_manifest => {
            let message =
                "needs --apply beside --kubernetes-secret: a printed manifest changes no key yet";
            Err(KeyCommandError::wrong("--now", message))
        }
        given => Ok(given),
    }
}

/// The key with this id, as gateways know it: with its secret if the file can be read, and with any
/// secret otherwise.
pub(super) fn revocation(source: &Source, id: &str) -> Result<Revocation, KeyCommandError> {
    let wrong =
        |error: voxgate::keys::InvalidRevocation| KeyCommandError::wrong("ID", error.to_string());
    let loaded = source.load().ok();
    let keys = loaded.iter().flat_map(|loaded| &loaded.keys);
    let key = keys.into_iter().find(|key| key.principal().id() == id);
    match key {
        Some(key) => key.revocation().map_err(wrong),
        None => Revocation::new(id, None).map_err(wrong),
    }
}

/// Tells the gateways, and prints who has confirmed.
///
/// # Errors
///
/// When there is no gateway, or one has not confirmed.
pub(super) fn tell(
    source: &Source,
    environment: &Environment,
    request: &ControlRequest,
) -> Result<(), KeyCommandError> {
    let failed = |message: String| KeyCommandError::failed("--now", message);
    let directory = environment.get(CONTROL_DIR).map(Path::new);
    let place = match (&source.path, &source.watched, directory) {
        (Some(keys_file), ..) => ControlPlace::of(keys_file, directory).map_err(|error| {
            failed(format!(
                "cannot find the directory of the keys file ({error})"
            ))
        })?,
        (None, Some(_), Some(directory)) => ControlPlace::of_watch(directory),
        (None, Some(_), None) => {
            return Err(failed(format!(
                "needs the {CONTROL_DIR} of the gateway, where its control socket is; set it, and run this \
                 where the gateway runs (in its container)"
            )));
        }
        (None, None, _) => return Err(failed("needs a keys file; give --file".to_owned())),
    };
    let shown = place.directory().display();
    let answers = control::tell(&place, request).map_err(|error| {
        failed(format!(
            "cannot read the directory {shown} of the control sockets ({error}); run this as the \
                user of the gateways, with the {CONTROL_DIR} of the gateways"
        ))
    })?;
    if answers.is_empty() {
        return Err(failed(format!(
            "no running gateway of this file was found: there is no control socket of it in {shown}. \
                If one runs, run this where it runs (in its container), with its path of the keys \
                file and its {CONTROL_DIR}; its log says where its control socket is"
        )));
    }
    let mut said = String::new();
    let mut unconfirmed = Vec::new();
    for (process, answer) in answers {
        match answer {
            Ok(response) => match shortfalls(&response) {
                shortfalls if shortfalls.is_empty() => said.push_str(&confirmed(&response, request)),
                shortfalls => unconfirmed.push(format!("process {}: {}", response.process, shortfalls.join("; "))),
            },
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => unconfirmed.push(format!(
                "process {process}: its control socket may not be used ({error}); run this as the \
                user of the gateway, or as root"
            )),
            Err(error) => unconfirmed.push(format!("process {process}: {error}; if it hangs, end it")),
        }
    }
    let _ = io::stderr().write_all(said.as_bytes());
    if unconfirmed.is_empty() {
        return Ok(());
    }
    let list: String = unconfirmed
        .iter()
        .map(|line| format!("\n  {line}"))
        .collect();
    Err(failed(format!("NOT EVERY GATEWAY HAS CONFIRMED:{list}")))
}

/// What a gateway says that it has done.
fn confirmed(response: &ControlResponse, request: &ControlRequest) -> String {
    let ids = |keys: &[Revocation]| {
        let ids: Vec<_> = keys.iter().map(|key| format!("`{}`", key.id())).collect();
        ids.join(", ")
    };
    let mut done = Vec::new();
    if !request.revoke.is_empty() {
        done.push(format!("refuses {}", ids(&request.revoke)));
    }
    if !request.load.is_empty() {
        done.push(format!("accepts {}", ids(&request.load)));
    }
    if response.shared == Some(true) {
        done.push("has told the other replicas through Redis".to_owned());
    }
    format!(
        "confirmed: process {} {}\n",
        response.process,
        done.join(", ")
    )
}

/// What a gateway has not done.
fn shortfalls(response: &ControlResponse) -> Vec<String> {
    let mut shortfalls = Vec::new();
    if !response.accepted.is_empty() {
        shortfalls.push(format!(
            "it still accepts {}; end it",
            response.accepted.join(", ")
        ));
    }
    if !response.missing.is_empty() {
        shortfalls.push(format!(
            "it has not loaded {} from the file; see its log",
            response.missing.join(", ")
        ));
    }
    if response.shared == Some(false) {
        shortfalls.push(
            "it refuses the key, but could not tell the other replicas, because Redis is \
                unavailable; it does so when Redis is back, if it still runs then"
                .to_owned(),
        );
    }
    shortfalls
}
