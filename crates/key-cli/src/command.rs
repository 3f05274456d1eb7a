//! The flags of `voxgate key`.

use std::collections::BTreeSet;

use clap::{Arg, ArgAction, Command, value_parser};
use voxgate::Dialect;
use voxgate::policy::Rule;

const ABOUT: &str = "\
Makes and manages the keys of callers in a keys file (`keys.toml`). The file stores only digests.

A running gateway reads the file again when it changes. Each command replaces the file atomically, \
keeps its comments, order and permissions, and can run at the same time as other commands.

Exit status: 0 for success, 64 if the command line or the file is wrong, 1 if the system reports an \
error or `verify` finds that a token is not valid.";

const AFTER: &str = "\
Examples:
  voxgate key new --id ivr-prod --scope tts:synthesize --expires 90d --file keys.toml
  voxgate key rotate ivr-prod --overlap 24h
  voxgate key revoke ivr-prod
  kubectl get secret voxgate-keys -o json \\
    | voxgate key revoke ivr-prod --kubernetes-secret voxgate-keys --from-secret - \\
    | kubectl apply --server-side -f -";

const MOMENT: &str = "90d, 12h, a date such as 2027-03-01 (midnight in UTC), or an RFC 3339 time";

/// The command `key`, with its subcommands.
#[must_use]
pub fn command() -> Command {
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
            "Makes a key, appends its digest to the keys file, and prints its token once, \
                to standard output. Configure the token as the API key of the vendor's client. \
                The token cannot be recovered from the file. If the file does not exist, it is \
                created with access for its owner only.",
        )
        .arg(
            text(
                "id",
                "ID",
                "Id of the new key, which audit records show; it must be unique",
            )
            .required(true),
        );
    with_new_target(with_rights(command))
}

fn list() -> Command {
    let json = Arg::new("json")
        .long("json")
        .action(ArgAction::SetTrue)
        .help("Print a JSON array of objects");
    with_watched(
        Command::new("list")
            .about("Show the keys: their rights, state, expiry and fingerprint")
            .arg(json),
    )
}

fn revoke() -> Command {
    with_target(
        Command::new("revoke")
            .about("Disable a key; its entry stays in the file, so that the id is not used again")
            .arg(id())
            .arg(now(
                "Tell the running gateways of the file at once, and say which have confirmed; also if \
                the file cannot be written. With --kubernetes-secret, it needs --apply and the \
                VOXGATE_CONTROL_DIR of the gateway",
            ))
            .arg(
                Arg::new("without-lock")
                    .long("without-lock")
                    .action(ArgAction::SetTrue)
                    .conflicts_with("kubernetes-secret")
                    .help(
                        "Do not wait for the lock of the file's directory; a concurrent change that is \
                detected is kept",
                    ),
            ),
    )
}

fn rotate() -> Command {
    let command = Command::new("rotate")
        .about("Replace a key by a new one with the same rights; the old key expires soon")
        .long_about(
            "Makes a new key with the rights of the old key but its own id and token, and \
                prints the new token once, to standard output. The old key expires after the \
                overlap, or earlier if its own expiry is earlier. Ids are unique, so that \
                audit records distinguish the keys: `ivr-prod` is followed by `ivr-prod-2`, \
                then `ivr-prod-3`, unless --new-id is given. The new key has the lifetime of \
                the old key: from its `created` (or `not_before`) to its `expires`. If neither \
                start is known, the new key expires when the old key would have. If the old \
                key has no `expires`, the new key never expires. --expires overrides this.",
        )
        .arg(id())
        .arg(
            text(
                "overlap",
                "DURATION",
                "How long the old key remains valid, such as 24h or 0s",
            )
            .default_value("24h"),
        )
        .arg(text(
            "new-id",
            "ID",
            "Id of the new key [default: the old id with the next number]",
        ))
        .arg(text(
            "expires",
            "TIME",
            format!(
                "When the new key expires: {MOMENT}, or never [default: the lifetime of the old \
                key]"
            ),
        ));
    let force = Arg::new("force")
        .long("force")
        .action(ArgAction::SetTrue)
        .help("Also replace a key that is revoked or expired");
    let now = now(
        "Wait until the running gateways of the file accept the new key, and say which have \
                confirmed; with `--overlap 0s`, also until they refuse the old key",
    );
    with_target(command.arg(force).arg(now))
}

fn now(help: &'static str) -> Arg {
    Arg::new("now")
        .long("now")
        .action(ArgAction::SetTrue)
        .conflicts_with("from-secret")
        .help(help)
}

fn verify() -> Command {
    // A token on the command line gets an explanation, and is not repeated.
    let token = Arg::new("token").hide(true).num_args(0..);
    with_watched(
        Command::new("verify")
            .about("Read a token from standard input, and show its key and whether it is valid")
            .long_about(
                "Reads a token from standard input, as it was printed or as a client sends it. \
                Exit status: 0 if it belongs to a key that is valid now, otherwise 1.",
            )
            .arg(token),
    )
}

fn import() -> Command {
    let command = Command::new("import")
        .about("Add existing keys; the file stores only their digests")
        .long_about(
            "Reads plain keys, one per line: `key`, or `id key` separated by a space. Blank \
                lines and lines that begin with # are ignored. Keys without an id get a \
                number: imported-1, imported-2, …. Either all keys are added or none. The \
                flags apply to every key.\n\n\
             Only digests are stored, but a key that can be guessed can also be found from \
                its digest: keys shorter than 16 characters are refused, and weak keys cause a \
                warning.",
        )
        .arg(
            Arg::new("keys")
                .value_name("PATH")
                .value_parser(value_parser!(std::path::PathBuf))
                .help("File with the plain keys [default: standard input]"),
        )
        .arg(
            text("prefix", "PREFIX", "Prefix of the ids of keys without one")
                .default_value("imported"),
        );
    with_new_target(with_rights(command))
}

fn id() -> Arg {
    Arg::new("id")
        .value_name("ID")
        .required(true)
        .help("Id of the key")
}

fn text(name: &'static str, value: &'static str, help: impl Into<String>) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name(value)
        .help(help.into())
}

/// The scopes that the routes of all dialects require.
fn scopes() -> Vec<String> {
    let policy = Dialect::ALL.map(Dialect::policy);
    let rules = policy.iter().flat_map(|policy| policy.rules());
    let scopes: BTreeSet<&str> = rules.filter_map(Rule::scope).collect();
    scopes.into_iter().map(str::to_owned).collect()
}

fn with_rights(command: Command) -> Command {
    let count = |name, help: &'static str| {
        text(name, "N", help).value_parser(value_parser!(u32).range(1..))
    };
    command
        .arg(text(
            "label",
            "TEXT",
            "Display name, such as \"IVR, production\"",
        ))
        .arg(
            text(
                "scope",
                "SCOPE",
                format!(
                    "Limit the key to a scope; may be repeated. The dialects have: {}",
                    scopes().join(", ")
                ),
            )
            .action(ArgAction::Append),
        )
        .arg(
            text(
                "voice",
                "VOICE",
                "Limit the key to a voice, or to voices such as team-*; may be repeated",
            )
            .action(ArgAction::Append),
        )
        .arg(
            text(
                "model",
                "MODEL",
                "Limit the key to a model, or to models such as aura-*; may be repeated",
            )
            .action(ArgAction::Append),
        )
        .arg(
            text(
                "language",
                "LANGUAGE",
                "Limit the key to a language, or to languages such as en-*; may be repeated",
            )
            .action(ArgAction::Append),
        )
        .arg(
            text(
                "allow-from",
                "NETWORK",
                "Limit the key to clients in a network such as 10.0.0.0/8, or to an address; may be repeated",
            )
            .action(ArgAction::Append),
        )
        .arg(text(
            "certificate",
            "NAME",
            "Make the client certificate with this name the credential, instead of a token: a URI such as \
             spiffe://example.org/ivr, or a DNS name in lower case",
        ))
        .arg(
            text(
                "kind",
                "KIND",
                "Kind of key; `realtime` allows only realtime sessions",
            )
            .value_parser(["standard", "realtime"]),
        )
        .arg(text(
            "account",
            "ID",
            "Id of the [[account]] in the file that the key belongs to",
        ))
        .arg(text(
            "not-before",
            "TIME",
            format!("When the key becomes valid: {MOMENT} [default: now]"),
        ))
        .arg(text(
            "expires",
            "TIME",
            format!("When the key expires: {MOMENT} [default: never]"),
        ))
        .arg(text(
            "rate",
            "RATE",
            "Rate limit of the key: 50/s, 600/min or 10000/h",
        ))
        .arg(count(
            "burst",
            "Requests that may start at once before the rate applies",
        ))
        .arg(count(
            "concurrency",
            "Maximum number of requests and tunnels in flight",
        ))
        .arg(
            text(
                "quota",
                "QUOTA",
                "Quota of the key: \"2M characters/month\", \"10h audio/month\" or \"1000 \
                    requests/day\"; may be repeated",
            )
            .action(ArgAction::Append),
        )
        .arg(
            text(
                "set-label",
                "NAME=VALUE",
                "Label for attribution, such as team=ivr; may be repeated",
            )
            .action(ArgAction::Append),
        )
}

fn with_new_target(command: Command) -> Command {
    let empty = Arg::new("empty")
        .long("empty")
        .action(ArgAction::SetTrue)
        .requires("kubernetes-secret")
        .conflicts_with_all(["from-secret", "file", "apply"])
        .help("Start with no keys, for a Secret that does not exist yet");
    let label = text(
        "secret-label",
        "NAME=VALUE",
        "Label of the Secret, such as voxgate.dev/keys=true for gateways that watch Secrets by this label; \
         may be repeated",
    )
    .action(ArgAction::Append)
    .requires("kubernetes-secret");
    with_target(command).arg(empty).arg(label)
}

fn with_target(command: Command) -> Command {
    with_file(command)
        .arg(text(
            "reason",
            "TEXT",
            "Why the key is changed; audit records of the change have it, and the user and host of this \
                command",
        ))
        .arg(text(
            "kubernetes-secret",
            "NAME",
            "Print a manifest of this Secret instead of writing a file. It contains the \
                keys of --from-secret or --file, with the change. A new token goes into a \
                second Secret, for the caller",
        ))
        .arg(
            text(
                "from-secret",
                "PATH",
                "The current Secret, from `kubectl get secret NAME -o json`; - reads standard \
                input",
            )
            .value_parser(value_parser!(std::path::PathBuf))
            .requires("kubernetes-secret")
            .conflicts_with("file"),
        )
        .arg(
            text("namespace", "NAMESPACE", "Namespace of the Secret")
                .requires("kubernetes-secret"),
        )
        .arg(
            Arg::new("apply")
                .long("apply")
                .action(ArgAction::SetTrue)
                .requires("kubernetes-secret")
                .conflicts_with_all(["from-secret", "file"])
                .help(
                    "Change the Secret in the cluster instead of printing a manifest: read it, and write \
                    it by server-side apply as the field manager `voxgate`. Uses KUBECONFIG, \
                    ~/.kube/config or the ServiceAccount of the pod. A new token is printed",
                ),
        )
}

/// The sources of commands that only read keys.
fn with_watched(command: Command) -> Command {
    with_file(command)
        .arg(
            text(
                "kubernetes-secret",
                "NAME",
                "Read the keys of this Secret in the cluster [env: VOXGATE_KEYS_KUBERNETES_SECRET]. Uses \
                 KUBECONFIG, ~/.kube/config or the ServiceAccount of the pod",
            )
            .conflicts_with("file"),
        )
        .arg(
            text(
                "kubernetes-selector",
                "LABELS",
                "Read the keys of the Secrets with these labels, such as voxgate.dev/keys=true [env: \
                 VOXGATE_KEYS_KUBERNETES_SELECTOR]",
            )
            .conflicts_with_all(["file", "kubernetes-secret"]),
        )
        .arg(text(
            "namespace",
            "NAMESPACE",
            "Namespace of the Secrets [env: VOXGATE_KEYS_KUBERNETES_NAMESPACE, default: that of the \
             kubeconfig or the pod]",
        ))
}

fn with_file(command: Command) -> Command {
    command
        .arg(
            text("file", "PATH", "Keys file [env: VOXGATE_KEYS_FILE]")
                .value_parser(value_parser!(std::path::PathBuf)),
        )
        .arg(text(
            "dialect",
            "NAME",
            "Dialect of the clients that use the keys [env: VOXGATE_DIALECT, default: rime]",
        ))
}
