//! The command line of `voxgate explain`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command, value_parser};

const ABOUT: &str = "\
Decides about a request as the gateway would, and shows each step, the answer that the caller gets, \
and what to change. Nothing is sent, and no secret is needed: --key is the id of a key.

With --request-id, explains a decision in the audit log (VOXGATE_AUDIT_DIR or --audit-dir): callers \
have the id in the header X-Request-Id of their response.

Examples:
  voxgate explain POST /v1/rime-tts --key ivr-prod --body request.json
  voxgate explain GET '/ws2?speaker=cove' --key ivr-prod --websocket
  voxgate explain GET /v1/voices --key ivr-prod --client 203.0.113.7
  voxgate explain --request-id 0198c0de-0000-7000-8000-000000000000";

/// The command `explain`. The program adds a flag for each setting.
#[must_use]
pub fn command() -> Command {
    Command::new("explain")
        .about("Show why a request is accepted or refused, and what to change")
        .long_about(ABOUT)
        .arg(
            Arg::new("method")
                .value_name("METHOD")
                .required_unless_present("request-id")
                .help("Method of the request, such as POST"),
        )
        .arg(
            Arg::new("target")
                .value_name("PATH")
                .required_unless_present("request-id")
                .help("Path of the request, with its query if it has one"),
        )
        .arg(
            Arg::new("key")
                .long("key")
                .value_name("ID")
                .help("Id of the caller's key; without it, the request has no credential"),
        )
        .arg(
            Arg::new("header")
                .long("header")
                .value_name("NAME: VALUE")
                .action(ArgAction::Append)
                .help("A header of the request, such as 'Content-Type: application/json'; may be repeated"),
        )
        .arg(
            Arg::new("body")
                .long("body")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("File with the body, or - for standard input; it is JSON unless --header says otherwise"),
        )
        .arg(
            Arg::new("websocket")
                .long("websocket")
                .action(ArgAction::SetTrue)
                .conflicts_with("body")
                .help("The request opens a WebSocket"),
        )
        .arg(
            Arg::new("client")
                .long("client")
                .value_name("ADDRESS")
                .value_parser(value_parser!(IpAddr))
                .default_value("127.0.0.1")
                .help("Address of the client, which decides for keys with `allow_from`"),
        )
        .arg(
            Arg::new("request-id")
                .long("request-id")
                .value_name("REQUEST_ID")
                .conflicts_with_all(["method", "target", "key", "header", "body", "websocket"])
                .help("Explain the request with this id in the audit log"),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_well_formed() {
        command().debug_assert();
    }
}
