//! The flags of `voxgate key`.

use clap::{Arg, ArgAction, Command, value_parser};

const ABOUT: &str = "\
Makes and keeps callers' keys in a keys file (`keys.toml`), which holds their digests only.

A running gateway follows the file. Whatever changes it replaces it at once and as a whole, keeps \
its comments, order and permissions, and may run beside others of its kind.

Exit status: 0 when it is done, 64 when the command line or the file is wrong, 1 when the system \
refuses, or `verify` finds that a token does not count.";

const AFTER: &str = "\
Examples:
  voxgate key new --id ivr-prod --scope tts:synthesize --expires 90d --file keys.toml
  voxgate key rotate ivr-prod --overlap 24h
  voxgate key revoke ivr-prod
  kubectl get secret voxgate-keys -o json \\
    | voxgate key revoke ivr-prod --kubernetes-secret voxgate-keys --from-secret - \\
    | kubectl apply --server-side -f -";

const MOMENT: &str = "90d, 12h, or an RFC 3339 time";

pub(crate) fn command() -> Command {
    Command::new("key")
        .about("Make, list, revoke, rotate, verify and import callers' keys")
        .long_about(ABOUT)
        .after_help(AFTER)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(new())
        .subcommand(list())
        .subcommand(revoke())
        .subcommand(rotate())
        .subcommand(verify())
        .subcommand(import())
}

fn new() -> Command {
    let command = Command::new("new")
        .about("Make a key: print its token once, and append its digest to the file")
        .long_about(
            "Makes a key, appends its digest to the file, and prints its token to standard \
             output, once and alone. The token is what the vendor's client is given as its API \
             key; nobody can read it from the file. A file that is not there is made, for its \
             owner only.",
        )
        .arg(text("id", "ID", "What stands in audit records; unused so far").required(true));
    with_new_target(with_rights(command))
}

fn list() -> Command {
    let json = Arg::new("json")
        .long("json")
        .action(ArgAction::SetTrue)
        .help("Print a JSON array of objects");
    with_file(
        Command::new("list")
            .about("Show the keys: their rights, state, expiry and fingerprint")
            .arg(json),
    )
}

fn revoke() -> Command {
    with_target(
        Command::new("revoke")
            .about("Disable a key; it stays in the file, so that its id keeps its meaning")
            .arg(id())
            .arg(
                Arg::new("without-lock")
                    .long("without-lock")
                    .action(ArgAction::SetTrue)
                    .conflicts_with("kubernetes-secret")
                    .help(
                        "Do not wait for somebody who holds the lock of the file's directory; a \
                         change of theirs that is seen is kept",
                    ),
            ),
    )
}

fn rotate() -> Command {
    let command = Command::new("rotate")
        .about("Make a successor of a key with the same rights; the old one expires soon")
        .long_about(
            "Makes a key with all that the old one has but its id and token, prints the new \
             token to standard output, once and alone, and lets the old key expire after the \
             overlap, or when it would have expired anyway. Ids are unique, so that records tell \
             old and new apart: the successor of `ivr-prod` is `ivr-prod-2`, its successor \
             `ivr-prod-3`, unless --new-id says otherwise. The new key lasts as long from now on \
             as the old one did from `created`, or else `not_before`, to `expires`; where neither \
             is known it ends when the old one would have, and an old one without `expires` has a \
             successor without. --expires says otherwise.",
        )
        .arg(id())
        .arg(
            text(
                "overlap",
                "DURATION",
                "How long the old key still counts, such as 24h or 0s",
            )
            .default_value("24h"),
        )
        .arg(text(
            "new-id",
            "ID",
            "The id of the new key [default: the old one, counted up]",
        ))
        .arg(text(
            "expires",
            "TIME",
            format!("When the new key ends: {MOMENT}, or never"),
        ));
    let force = Arg::new("force")
        .long("force")
        .action(ArgAction::SetTrue)
        .help("Make a successor of a key that is revoked or expired, too");
    with_target(command.arg(force))
}

fn verify() -> Command {
    // Whoever gives the token here is told why not, without seeing it again.
    let token = Arg::new("token").hide(true).num_args(0..);
    with_file(
        Command::new("verify")
            .about("Read a token from standard input, and say whose it is and whether it counts")
            .long_about(
                "Reads a token, as it was printed or as a client has it, from standard input. \
                 Exit status: 0 when it is of a key that counts now, 1 when it is not.",
            )
            .arg(token),
    )
}

fn import() -> Command {
    let command = Command::new("import")
        .about("Add keys that exist already, of which the file then has the digest")
        .long_about(
            "Reads plain keys, one a line: `key`, or `id key` with a space between. Blank lines \
             and lines that begin with # are passed over. Keys without an id are numbered: \
             imported-1, imported-2, …. Either all of them are added or none. The rights that \
             flags give are given to each.\n\n\
             Only digests are stored, but whoever can guess a key can also find it by its \
             digest: keys of less than 16 characters are refused, and weak ones warned of.",
        )
        .arg(
            Arg::new("keys")
                .value_name("PATH")
                .value_parser(value_parser!(std::path::PathBuf))
                .help("The plain keys [default: standard input]"),
        )
        .arg(
            text("prefix", "PREFIX", "How the ids of keys without one begin")
                .default_value("imported"),
        );
    with_new_target(with_rights(command))
}

fn id() -> Arg {
    Arg::new("id")
        .value_name("ID")
        .required(true)
        .help("The key's id")
}

fn text(name: &'static str, value: &'static str, help: impl Into<String>) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name(value)
        .help(help.into())
}

fn with_rights(command: Command) -> Command {
    let count = |name, help: &'static str| {
        text(name, "N", help).value_parser(value_parser!(u32).range(1..))
    };
    command
        .arg(text(
            "label",
            "TEXT",
            "A name for people, such as \"IVR, production\"",
        ))
        .arg(
            text(
                "scope",
                "SCOPE",
                "Limit it to a scope, such as tts:synthesize; may be repeated",
            )
            .action(ArgAction::Append),
        )
        .arg(
            text(
                "voice",
                "VOICE",
                "Limit it to a voice, or voices such as team-*; may be repeated",
            )
            .action(ArgAction::Append),
        )
        .arg(
            text(
                "kind",
                "KIND",
                "What it is for: realtime is for realtime sessions only",
            )
            .value_parser(["standard", "realtime"]),
        )
        .arg(text(
            "account",
            "ID",
            "The [[account]] of the file that it belongs to",
        ))
        .arg(text(
            "not-before",
            "TIME",
            format!("From when on it counts: {MOMENT}"),
        ))
        .arg(text(
            "expires",
            "TIME",
            format!("When it ends: {MOMENT} [default: never]"),
        ))
        .arg(text(
            "rate",
            "RATE",
            "How often a request may begin: 50/s, 600/min or 10000/h",
        ))
        .arg(count(
            "burst",
            "How many may begin at once before the rate counts",
        ))
        .arg(count(
            "concurrency",
            "How many requests and tunnels may be in flight",
        ))
        .arg(
            text(
                "set-label",
                "NAME=VALUE",
                "A label for attribution, as team=ivr; may be repeated",
            )
            .action(ArgAction::Append),
        )
}

fn with_new_target(command: Command) -> Command {
    let empty = Arg::new("empty")
        .long("empty")
        .action(ArgAction::SetTrue)
        .requires("kubernetes-secret")
        .conflicts_with_all(["from-secret", "file"])
        .help("Begin a Secret that is not there yet, or has no keys");
    with_target(command).arg(empty)
}

fn with_target(command: Command) -> Command {
    with_file(command)
        .arg(text(
            "kubernetes-secret",
            "NAME",
            "Print a manifest of this Secret instead of writing a file: what --from-secret or \
             --file holds, with the change; a new token is in a second Secret, for the caller",
        ))
        .arg(
            text(
                "from-secret",
                "PATH",
                "The Secret as it is now, from `kubectl get secret NAME -o json`; - is standard \
                 input",
            )
            .value_parser(value_parser!(std::path::PathBuf))
            .requires("kubernetes-secret")
            .conflicts_with("file"),
        )
        .arg(
            text("namespace", "NAMESPACE", "The namespace in the manifest")
                .requires("kubernetes-secret"),
        )
}

fn with_file(command: Command) -> Command {
    command
        .arg(
            text("file", "PATH", "The keys file [env: VOXGATE_KEYS_FILE]")
                .value_parser(value_parser!(std::path::PathBuf)),
        )
        .arg(text(
            "dialect",
            "NAME",
            "The vendor whose clients hold the keys [env: VOXGATE_DIALECT, default: rime]",
        ))
}
