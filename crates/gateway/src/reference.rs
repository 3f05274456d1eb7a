//! Generates the reference pages docs/reference/settings.md, cli.md and headers.md from the table of
//! settings, from the command line and from the tables of headers, and the tables of dialects.md from
//! the dialects.

use std::fmt::Write as _;
use std::time::Duration;

use clap::{Arg, ArgAction, Command};

use http::Request;
use voxgate::dialect::RefusalContext;
use voxgate::{DenialKind, Dialect, RequestId};
use voxgate_forwarding::{ALLOWED, BY_DIALECT, RESERVED};

use crate::cli;
use crate::settings::{Setting, flag, settings};

const SETTINGS_HEAD: &str = "\
<!-- Generated from the table of settings. To update this page, run `make reference`. -->
# Settings

Every setting is an environment variable. Most settings are also a flag of `voxgate serve` and
`voxgate check`; a flag takes precedence over its variable. Secrets have no flag, because other users
of a machine can see command lines: use the variable that ends in `_FILE`.

A secret, path or URL that is blank is an error, and so is any other blank setting without a default: a
Compose file turns `${UNSET}` into a blank value. A blank setting with a default gets the default.
An unknown variable that begins with `VOXGATE_` is an error, except for the variables that Kubernetes
injects for a Service. `voxgate check` reports all problems at once.
";

const HEADERS_HEAD: &str = "\
<!-- Generated from the tables in the code. To update this page, run `make reference`. -->
# Request headers

The gateway decides in this order which headers of a client reach the TTS server:

1. Headers of one connection are removed: `Connection` and what it names, `Keep-Alive`, `TE` (except
   `trailers`), `Transfer-Encoding`, `Upgrade`, `Proxy-Authenticate`, `Proxy-Authorization` and
   `Proxy-Connection`. So are `Host`, `Expect` and `Trailer`, and the trailers themselves.
2. The caller's credential is removed from every place in which a dialect sends one, and so are its
   [copies](../explanation/threat-model.md#copies-of-the-key).
3. A header whose name has a character other than letters, digits and `-` is removed. Servers that
   speak CGI, WSGI or PHP read `Content_Length` or `X.Forwarded.For` as `Content-Length` or
   `X-Forwarded-For`. With `VOXGATE_HEADER_NAMES=refuse` the request is refused with 400 instead.
4. Every header in the first table is removed, in each spelling.
5. With `VOXGATE_FORWARD_HEADERS=listed`, every header that is not in the second table is removed,
   except those in `VOXGATE_FORWARD_HEADERS_ALSO`.
6. The gateway sets `X-Voxgate-Key-Id`, `X-Request-Id`, `X-Forwarded-For`, `X-Forwarded-Host`,
   `X-Forwarded-Proto`, and the deployment key if there is one. What [trusted
   proxies](../how-to/run-behind-proxies.md) say is the only part of these that is not its own.

A request whose headers could be read in two ways is refused before its key is read: a value that
begins or ends with a space or a tab, more than one `Content-Length` or one that is not a plain decimal
(400), and a `Transfer-Encoding` other than `chunked` (501).
";

const RESERVED_HEAD: &str = "
## Headers that are always removed

Each of them tells a server another caller, address, host, scheme, method or path than the gateway
checked. A `*` stands for any rest of a name. The second column names who sets or reads the header.
No list can be complete: a TTS server that trusts another header needs `VOXGATE_FORWARD_HEADERS=listed`.

| header | set or read by |
|---|---|
";

const ALLOWED_HEAD: &str = "
## Headers that `VOXGATE_FORWARD_HEADERS=listed` forwards

| dialect | headers |
|---|---|
";

const CLI_HEAD: &str = "\
<!-- Generated from the command line. To update this page, run `make reference`. -->
# Command line

Exit status, unless a command lists its own: 0 for success, 64 if the command line, the configuration
or a file is wrong, 1 for any other failure.
";

/// The page about settings.
#[must_use]
pub fn settings_page() -> String {
    let mut page = SETTINGS_HEAD.to_owned();
    let mut group = "";
    for setting in settings() {
        if setting.group != group {
            group = setting.group;
            let _ = write!(
                page,
                "\n## {group}\n\n| variable | flag | value | meaning | default |\n|---|---|---|---|---|\n"
            );
        }
        page.push_str(&row(setting));
    }
    page
}

fn row(setting: &Setting) -> String {
    let Setting {
        variable,
        value,
        meaning,
        default,
        ..
    } = setting;
    let flag = flag(setting).map_or("(secret)".to_owned(), |flag| format!("`--{flag}`"));
    let default = match *default {
        "" | "required" => (*default).to_owned(),
        one if !one.contains(' ') => format!("`{one}`"),
        words => words.to_owned(),
    };
    format!("| `{variable}` | {flag} | {value} | {meaning} | {default} |\n").replace("|  |", "| |")
}

/// The page about request headers.
#[must_use]
pub fn headers_page() -> String {
    let mut page = HEADERS_HEAD.to_owned();
    page.push_str(RESERVED_HEAD);
    for (name, source) in RESERVED {
        let _ = writeln!(page, "| `{name}` | {source} |");
    }
    page.push_str(ALLOWED_HEAD);
    let all: (&str, &[&str]) = ("every dialect", &ALLOWED);
    for (dialect, names) in [all].iter().chain(&BY_DIALECT) {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(page, "| {dialect} | {} |", names.join(", "));
    }
    page
}

/// The page about dialects with its tables made anew. `None` if a table's markers are missing.
#[must_use]
pub fn dialects_page(page: &str) -> Option<String> {
    let tables = [
        ("credentials", credentials_table()),
        ("refusals", refusals_table()),
        ("routes", routes_tables()),
    ];
    let mut page = page.to_owned();
    for (name, table) in tables {
        let begin =
            format!("<!-- Generated from the dialects: {name}. `make reference` updates it. -->\n");
        let end = "<!-- End of the generated part. -->\n";
        let (before, rest) = page.split_once(&begin)?;
        let (_, after) = rest.split_once(end)?;
        page = format!("{before}{begin}\n{table}\n{end}{after}");
    }
    Some(page)
}

fn vendors() -> impl Iterator<Item = Dialect> {
    let all = Dialect::ALL.into_iter();
    all.filter(|dialect| *dialect != Dialect::Auto)
}

fn credentials_table() -> String {
    let mut table =
        "| dialect | the caller's key is read from | deployment key, and its form upstream |\n\
                     |---|---|---|\n"
            .to_owned();
    for dialect in vendors() {
        let description = dialect.description();
        let credentials = description.credentials.join("<br>");
        let deployment = description.deployment_key;
        let deployment = deployment.map(|(variable, form)| format!("`{variable}`: {form}"));
        let deployment = deployment.unwrap_or_else(|| "none".to_owned());
        let _ = writeln!(table, "| `{dialect}` | {credentials} | {deployment} |");
    }
    table
}

fn refusals_table() -> String {
    const KINDS: [DenialKind; 5] = [
        DenialKind::MissingCredential,
        DenialKind::MalformedCredential,
        DenialKind::UnknownCredential,
        DenialKind::InsufficientScope,
        DenialKind::RateLimited,
    ];
    let context = RefusalContext::of(&Request::new(()), RequestId::new(Duration::ZERO));
    let mut table = "| dialect | no key | malformed | unknown | may not | limited | a limited caller that must wait \
                     for more than a second gets |\n|---|---|---|---|---|---|---|\n"
        .to_owned();
    for dialect in vendors() {
        let description = dialect.description();
        let statuses = KINDS.map(|kind| description.status(kind, context).to_string());
        let statuses = statuses.join(" | ");
        let _ = writeln!(
            table,
            "| `{dialect}` | {statuses} | {} |",
            description.long_wait
        );
    }
    table
}

fn routes_tables() -> String {
    let mut tables = String::new();
    for dialect in vendors() {
        let _ = write!(
            tables,
            "### Routes of `{dialect}`\n\n| method | path | scope | realtime keys |\n|---|---|---|---|\n"
        );
        for rule in dialect.policy().rules() {
            let scope = rule.scope().map(|scope| match rule.is_explicit() {
                true => format!("`{scope}`, of every key unless `VOXGATE_TOKEN_MINT=on`"),
                false => format!("`{scope}`"),
            });
            let scope = scope.unwrap_or_else(|| "none".to_owned());
            let realtime = if rule.is_realtime() { "yes" } else { "no" };
            let (method, pattern) = (rule.method(), rule.pattern());
            let _ = writeln!(
                tables,
                "| `{method}` | `{pattern}` | {scope} | {realtime} |"
            );
        }
        tables.push('\n');
    }
    tables.trim_end().to_owned() + "\n"
}

/// The page about the command line.
#[must_use]
pub fn cli_page() -> String {
    let mut root = cli::command().term_width(0).disable_help_subcommand(true);
    root.build();
    let mut page = CLI_HEAD.to_owned();
    describe(&mut page, &root, &[]);
    page
}

fn describe(page: &mut String, command: &Command, parents: &[&str]) {
    let path: Vec<&str> = parents
        .iter()
        .copied()
        .chain([command.get_name()])
        .collect();
    let name = path.join(" ");
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    let about = command.get_long_about().or(command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    let _ = write!(
        page,
        "\n## {name}\n\n{}\n\n```text\n{usage}\n```\n",
        escaped(&about)
    );
    let is_setting =
        |argument: &Arg| settings().any(|row| row.variable == argument.get_id().as_str());
    let shown = |argument: &&Arg| {
        let builtin = matches!(
            argument.get_action(),
            ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
        );
        !argument.is_hide_set() && !builtin
    };
    let arguments: Vec<&Arg> = command.get_arguments().filter(shown).collect();
    let (flags, own): (Vec<&Arg>, Vec<&Arg>) = arguments
        .into_iter()
        .partition(|argument| is_setting(argument));
    if !own.is_empty() {
        page.push_str("\n| argument | meaning | default |\n|---|---|---|\n");
        for argument in own {
            page.push_str(&argument_row(argument));
        }
    }
    let settings = settings().filter(|setting| flag(setting).is_some()).count();
    if !flags.is_empty() && flags.len() == settings {
        page.push_str("\nThe flags are those of all [settings](settings.md).\n");
    } else if !flags.is_empty() {
        let names = flags.iter().filter_map(|flag| flag.get_long());
        let names: Vec<String> = names.map(|name| format!("`--{name}`")).collect();
        let _ = write!(
            page,
            "\nThe flags are [settings](settings.md): {}. Flags of other settings are accepted and \
             have no effect.\n",
            names.join(", ")
        );
    }
    if let Some(after) = command.get_after_long_help().or(command.get_after_help()) {
        let after = after.to_string();
        match after.contains("\n  ") {
            true => _ = write!(page, "\n```text\n{after}\n```\n"),
            false => _ = write!(page, "\n{}\n", escaped(&after)),
        }
    }
    for each in command.get_subcommands().filter(|each| !each.is_hide_set()) {
        describe(page, each, &path);
    }
}

fn argument_row(argument: &Arg) -> String {
    let values: Vec<&str> = argument
        .get_value_names()
        .unwrap_or_default()
        .iter()
        .map(AsRef::as_ref)
        .collect();
    let takes_value = argument.get_action().takes_values();
    let short = argument.get_short();
    let short = short.map_or(String::new(), |short| format!("-{short}, "));
    let shown = match (argument.get_long(), takes_value) {
        (Some(long), true) => format!("{short}--{long} {}", values.join(" ")),
        (Some(long), false) => format!("{short}--{long}"),
        (None, _) => values.join(" "),
    };
    let help = argument.get_long_help().or(argument.get_help());
    let mut help = help.map(ToString::to_string).unwrap_or_default();
    let mut default = String::new();
    if argument.is_required_set() {
        "required".clone_into(&mut default);
    } else if let Some((meaning, words)) = help.split_once(" [default: ") {
        words.trim_end_matches(']').clone_into(&mut default);
        help = meaning.to_owned();
    } else if takes_value {
        let values = argument.get_default_values().iter();
        let values = values.map(|value| format!("`{}`", value.to_string_lossy()));
        default = values.collect::<Vec<_>>().join(" ");
    }
    let choices: Vec<String> = match takes_value && !argument.is_hide_possible_values_set() {
        true => argument.get_possible_values(),
        false => Vec::new(),
    }
    .iter()
    .filter(|choice| !choice.is_hide_set())
    .map(|choice| format!("`{}`", choice.get_name()))
    .collect();
    if !choices.is_empty() {
        let _ = write!(help, " ({})", choices.join(", "));
    }
    format!(
        "| `{shown}` | {} | {default} |\n",
        escaped(&help).replace('|', "\\|").replace('\n', " ")
    )
    .replace("|  |", "| |")
}

/// Escapes markup outside backquotes.
fn escaped(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let parts = parts.map(|(index, part)| match index % 2 {
        0 => part
            .replace('<', "\\<")
            .replace('*', "\\*")
            .replace('[', "\\["),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("`")
}
