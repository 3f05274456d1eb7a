//! The fields of a new key, in the order in which they are written.

use std::time::SystemTime;

use clap::ArgMatches;
use toml_edit::{Array, Datetime, InlineTable, Item, Table, Value};
use voxgate::rate_limit::{InvalidQuota, Quota};
use voxgate::{Digest, Problem};
use voxgate_terminal::text::misleads;

use super::failure::KeyCommandError;
use super::{actor, moment};

/// The fields that a new key takes over from the key it replaces.
const RIGHTS: [&str; 13] = [
    "label",
    "kind",
    "scopes",
    "voices",
    "models",
    "languages",
    "allow_from",
    "account",
    "rate",
    "burst",
    "concurrency",
    "quota",
    "labels",
];

const MAX_LABEL: usize = 256;
const SPECIAL: &str = "contains a control character or an invisible character; remove it";

/// The validity of a new key.
#[derive(Clone, Copy, Default)]
pub(super) struct KeyLifetime {
    pub(super) created: Option<SystemTime>,
    pub(super) not_before: Option<SystemTime>,
    pub(super) expires: Option<SystemTime>,
}

/// What a caller proves to have.
#[derive(Clone, Copy)]
pub(super) enum Proof<'a> {
    /// The token with this digest.
    Digest(&'a Digest),
    /// A client certificate with this name.
    Certificate(&'a str),
}

/// The rights of a new key, from flags or from an older key.
pub(super) struct Rights {
    rights: Table,
    /// Who makes the key, and why: fields and their values in TOML.
    note: Vec<(&'static str, String)>,
}

impl Rights {
    /// The rights that the flags give.
    pub(super) fn given(matches: &ArgMatches) -> Result<Self, KeyCommandError> {
        let mut table = Table::new();
        let one = |name| matches.get_one::<String>(name).map(String::as_str);
        for (flag, field) in [
            ("label", "label"),
            ("kind", "kind"),
            ("account", "account"),
            ("rate", "rate"),
        ] {
            if let Some(text) = one(flag) {
                if text.contains(misleads) {
                    return Err(KeyCommandError::wrong(format!("--{flag}"), SPECIAL));
                }
                if text.chars().count() > MAX_LABEL {
                    let message = format!("is longer than {MAX_LABEL} characters");
                    return Err(KeyCommandError::wrong(format!("--{flag}"), message));
                }
                table.insert(field, Item::Value(text.into()));
            }
        }
        for (flag, field) in [
            ("scope", "scopes"),
            ("voice", "voices"),
            ("model", "models"),
            ("language", "languages"),
            ("allow-from", "allow_from"),
        ] {
            if let Some(values) = matches.get_many::<String>(flag) {
                let values: Array = values.map(String::as_str).collect();
                table.insert(field, Item::Value(values.into()));
            }
        }
        for flag in ["burst", "concurrency"] {
            if let Some(count) = matches.get_one::<u32>(flag) {
                table.insert(flag, Item::Value(i64::from(*count).into()));
            }
        }
        if let Some(given) = matches.get_many::<String>("quota") {
            for text in given.clone() {
                let wrong = |error: InvalidQuota| {
                    KeyCommandError::wrong("--quota".to_owned(), error.to_string())
                };
                Quota::parse(text).map_err(wrong)?;
            }
            let quotas: Vec<&str> = given.map(String::as_str).collect();
            let value = match quotas[..] {
                [quota] => quota.into(),
                _ => quotas.into_iter().collect::<Array>().into(),
            };
            table.insert("quota", Item::Value(value));
        }
        let labels = labels(matches)?;
        if !labels.is_empty() {
            table.insert("labels", Item::Value(labels.into()));
        }
        Ok(Self {
            rights: table,
            note: actor::fields(matches)?,
        })
    }

    /// The rights in the fields of a key.
    pub(super) fn of(fields: &Table, note: Vec<(&'static str, String)>) -> Self {
        let mut table = Table::new();
        for field in RIGHTS {
            let value = fields.get(field).cloned().map(Item::into_value);
            if let Some(Ok(mut value)) = value {
                value.decor_mut().clear();
                table.insert(field, Item::Value(value));
            }
        }
        Self {
            rights: table,
            note,
        }
    }

    /// The fields of a key with these rights. What identifies it comes last, so that a truncated file
    /// has no key with more rights than intended.
    pub(super) fn fields(&self, id: &str, proof: Proof<'_>, lifetime: KeyLifetime) -> Table {
        let mut fields = Table::new();
        fields.insert("id", Item::Value(id.into()));
        for field in RIGHTS {
            if let Some(value) = self.rights.get(field) {
                fields.insert(field, value.clone());
            }
        }
        for (field, moment) in [
            ("created", lifetime.created),
            ("not_before", lifetime.not_before),
            ("expires", lifetime.expires),
        ] {
            if let Some(moment) = moment {
                fields.insert(field, Item::Value(value(moment)));
            }
        }
        for (field, text) in &self.note {
            let value = text
                .parse::<Value>()
                .unwrap_or_else(|_| text.as_str().into());
            fields.insert(field, Item::Value(value.decorated(" ", "")));
        }
        let (field, value) = match proof {
            Proof::Digest(digest) => ("sha256", digest.to_hex().into()),
            Proof::Certificate(name) => ("certificate", name.into()),
        };
        fields.insert(field, Item::Value(value));
        fields
    }
}

fn value(moment: SystemTime) -> Value {
    let written = moment::written(moment);
    match written.parse::<Datetime>() {
        Ok(datetime) => datetime.into(),
        // A keys file also accepts a time in quotes.
        Err(_) => written.into(),
    }
}

fn labels(matches: &ArgMatches) -> Result<InlineTable, Problem> {
    let wrong = |message| Problem::new("--set-label", message);
    let mut labels = InlineTable::new();
    for given in matches
        .get_many::<String>("set-label")
        .into_iter()
        .flatten()
    {
        let Some((name, text)) = given.split_once('=') else {
            return Err(wrong("must be a name and a value, such as team=ivr"));
        };
        if text.contains(misleads) {
            return Err(wrong(SPECIAL));
        }
        if labels.insert(name, text.into()).is_some() {
            return Err(wrong("gives one name two values; give each name once"));
        }
    }
    Ok(labels)
}

/// The validity that the flags give.
pub(super) fn lifetime(matches: &ArgMatches, now: SystemTime) -> Result<KeyLifetime, Problem> {
    let given = |name: &str| matches.get_one::<String>(name);
    let not_before = given("not-before").map(|text| moment::read("--not-before", text, now));
    Ok(KeyLifetime {
        created: None,
        not_before: not_before.transpose()?,
        expires: expires(matches, now)?.flatten(),
    })
}

/// The expiry from `--expires`, if the flag is given. `Some(None)` means never.
pub(super) fn expires(
    matches: &ArgMatches,
    now: SystemTime,
) -> Result<Option<Option<SystemTime>>, Problem> {
    let Some(text) = matches.get_one::<String>("expires") else {
        return Ok(None);
    };
    if text == "never" {
        return Ok(Some(None));
    }
    let expires = moment::read("--expires", text, now)?;
    if expires <= now {
        let message = "is not in the future; the key would never be valid";
        return Err(Problem::new("--expires", message));
    }
    Ok(Some(Some(expires)))
}
