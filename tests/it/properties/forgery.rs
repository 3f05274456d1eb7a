//! Without the key, no change of a request makes it accepted.

use http::Version;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use voxgate::Dialect;

use super::arbitrary::{HEADERS, PATHS};
use super::door::{Door, KEY, PAIR};
use super::draft::{Draft, presenting};
use super::model::base64;

/// One change of a request.
#[derive(Clone, Debug)]
enum Mutation {
    Method(&'static str),
    Version(Version),
    Path(&'static str),
    AddHeader(&'static str, String),
    RemoveHeader(Index),
    RepeatHeader(Index),
    /// Moves a credential to another location unchanged.
    MoveHeader(Index, &'static str),
    ToParameter(Index, &'static str),
    EditHeader(Index, Edit),
    AddParameter(&'static str, String),
    RemoveParameter(Index),
    RepeatParameter(Index),
    EditQuery(Edit),
    ToOffers(&'static str, String),
}

/// A change of a text.
#[derive(Clone, Debug)]
enum Edit {
    Insert(Index, &'static [u8]),
    Replace(Index, u8),
    Remove(Index),
    Lower,
    Upper,
    PercentEncode(Index),
    Base64,
    UrlAlphabet,
    Pad,
    Unpad,
    Twice,
}

/// Credentials that are not the key. Each differs from the key by more than the changes can
/// restore: half of it, its letters in the other case, or another key.
fn wrong(key: &str) -> Vec<String> {
    let other_case = |character: char| match character.is_ascii_lowercase() {
        true => character.to_ascii_uppercase(),
        false => character.to_ascii_lowercase(),
    };
    let (id, secret) = key
        .split_once(':')
        .map_or(("", key), |(id, secret)| (id, secret));
    let colon = if id.is_empty() { "" } else { ":" };
    let secrets = [
        secret[..secret.len() / 2].to_owned(),
        secret.chars().map(other_case).collect(),
        "Zx".repeat(secret.len() / 2),
        "k".to_owned(),
    ];
    secrets
        .map(|secret| format!("{id}{colon}{secret}"))
        .to_vec()
}

fn wrong_credential() -> impl Strategy<Value = String> {
    let pairs = wrong(PAIR);
    let encoded = pairs.iter().map(|pair| base64(pair.as_bytes()));
    select([wrong(KEY), encoded.collect(), pairs].concat())
}

fn value() -> impl Strategy<Value = String> {
    let scheme = select(&["Bearer ", "Token ", "Basic ", "", "bearer_", "token, "][..]);
    (scheme, wrong_credential()).prop_map(|(scheme, key)| scheme.to_owned() + &key)
}

fn edit() -> impl Strategy<Value = Edit> {
    const PIECES: [&[u8]; 14] = [
        b" ", b"\t", b",", b"=", b"&", b"%", b"%20", b"%00", b"\xff", b":", b"Bearer ", b"token, ",
        b"bearer_", b"eu-",
    ];
    let at = any::<Index>;
    prop_oneof![
        4 => (at(), select(&PIECES[..])).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        2 => (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Replace(at, byte)),
        2 => at().prop_map(Edit::Remove),
        2 => at().prop_map(Edit::PercentEncode),
        5 => select(
            &[Edit::Lower, Edit::Upper, Edit::Base64, Edit::UrlAlphabet, Edit::Pad, Edit::Unpad,
              Edit::Twice][..]
        ),
    ]
}

fn mutation() -> impl Strategy<Value = Mutation> {
    const UPGRADE: [(&str, &str); 4] = [
        ("connection", "upgrade"),
        ("connection", "close"),
        ("upgrade", "websocket"),
        ("upgrade", "h2c"),
    ];
    const VERSIONS: [Version; 3] = [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2];
    let at = any::<Index>;
    let header = || select(&HEADERS[..]);
    let parameter = || {
        select(
            &[
                "api_key",
                "access_token",
                "single_use_token",
                "api%5Fkey",
                "x",
            ][..],
        )
    };
    let name = || select(&["token", "bearer", "json"][..]);
    prop_oneof![
        1 => select(&["GET", "POST", "HEAD", "OPTIONS"][..]).prop_map(Mutation::Method),
        1 => select(&VERSIONS[..]).prop_map(Mutation::Version),
        1 => select(&PATHS[..]).prop_map(Mutation::Path),
        2 => select(&UPGRADE[..])
            .prop_map(|(name, value)| Mutation::AddHeader(name, value.to_owned())),
        3 => (header(), value()).prop_map(|(name, value)| Mutation::AddHeader(name, value)),
        2 => at().prop_map(Mutation::RemoveHeader),
        2 => at().prop_map(Mutation::RepeatHeader),
        1 => (at(), header()).prop_map(|(at, name)| Mutation::MoveHeader(at, name)),
        1 => (at(), parameter()).prop_map(|(at, name)| Mutation::ToParameter(at, name)),
        4 => (at(), edit()).prop_map(|(at, edit)| Mutation::EditHeader(at, edit)),
        2 => (parameter(), wrong_credential())
            .prop_map(|(name, key)| Mutation::AddParameter(name, key)),
        1 => at().prop_map(Mutation::RemoveParameter),
        1 => at().prop_map(Mutation::RepeatParameter),
        3 => edit().prop_map(Mutation::EditQuery),
        2 => (name(), wrong_credential()).prop_map(|(name, key)| Mutation::ToOffers(name, key)),
    ]
}

impl Mutation {
    fn apply(&self, draft: &mut Draft) {
        let at = |index: &Index, length: usize| (length > 0).then(|| index.index(length));
        let add = |draft: &mut Draft, parameter: String| {
            draft.query = Some(match draft.query.take() {
                Some(query) => format!("{query}&{parameter}"),
                None => parameter,
            });
        };
        let headers = draft.headers.len();
        let parameters: Vec<&str> = draft
            .query
            .iter()
            .flat_map(|query| query.split('&'))
            .collect();
        match self {
            Self::Method(method) => draft.method = method,
            Self::Version(version) => draft.version = *version,
            Self::Path(path) => draft.path = (*path).to_owned(),
            Self::AddHeader(name, value) => draft.headers.push((name, value.clone().into_bytes())),
            Self::RemoveHeader(index) => {
                at(index, headers).map(|at| draft.headers.remove(at));
            }
            Self::RepeatHeader(index) => {
                draft
                    .headers
                    .extend(at(index, headers).map(|at| draft.headers[at].clone()));
            }
            Self::MoveHeader(index, name) => {
                at(index, headers)
                    .into_iter()
                    .for_each(|at| draft.headers[at].0 = name);
            }
            Self::ToParameter(index, name) => {
                if let Some(at) = at(index, headers) {
                    let (_, value) = draft.headers.remove(at);
                    add(draft, format!("{name}={}", String::from_utf8_lossy(&value)));
                }
            }
            Self::EditHeader(index, edit) => {
                at(index, headers)
                    .into_iter()
                    .for_each(|at| edit.apply(&mut draft.headers[at].1));
            }
            Self::AddParameter(name, key) => add(draft, format!("{name}={key}")),
            Self::RemoveParameter(index) => {
                let mut left = parameters.clone();
                at(index, left.len()).map(|at| left.remove(at));
                draft.query = Some(left.join("&"));
            }
            Self::RepeatParameter(index) => {
                if let Some(at) = at(index, parameters.len()) {
                    let parameter = parameters[at].to_owned();
                    add(draft, parameter);
                }
            }
            Self::EditQuery(edit) => {
                let mut query = draft.query.take().unwrap_or_default().into_bytes();
                edit.apply(&mut query);
                draft.query = Some(String::from_utf8_lossy(&query).into_owned());
            }
            Self::ToOffers(name, key) => {
                let value = format!("{name}, {key}").into_bytes();
                draft.headers.push(("sec-websocket-protocol", value));
            }
        }
    }
}

impl Edit {
    fn apply(&self, text: &mut Vec<u8>) {
        let place = |index: &Index| index.index(text.len().max(1));
        match self {
            Self::Insert(index, piece) => {
                let at = index.index(text.len() + 1);
                text.splice(at..at, piece.iter().copied());
            }
            _ if text.is_empty() => {}
            Self::Replace(index, byte) => {
                let at = place(index);
                text[at] = *byte;
            }
            Self::Remove(index) => {
                text.remove(place(index));
            }
            Self::Lower => text.make_ascii_lowercase(),
            Self::Upper => text.make_ascii_uppercase(),
            Self::PercentEncode(index) => {
                let at = place(index);
                let encoded = format!("%{:02x}", text[at]);
                text.splice(at..=at, encoded.into_bytes());
            }
            Self::Base64 => *text = base64(text).into_bytes(),
            Self::UrlAlphabet => text.iter_mut().for_each(|byte| match *byte {
                b'+' => *byte = b'-',
                b'/' => *byte = b'_',
                b'-' => *byte = b'+',
                b'_' => *byte = b'/',
                _ => {}
            }),
            Self::Pad => text.push(b'='),
            Self::Unpad => _ = text.pop(),
            Self::Twice => text.extend_from_within(..),
        }
    }
}

/// A request of a vendor's client with a wrong key.
fn forged(dialect: Dialect) -> impl Strategy<Value = Draft> {
    let keys = wrong(KEY).into_iter().zip(wrong(PAIR));
    select(
        keys.flat_map(|(key, pair)| presenting(dialect, &key, &pair))
            .collect::<Vec<_>>(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn without_the_key_no_sequence_of_changes_is_accepted(
        drafts in Dialect::ALL.map(forged),
        mutations in vec(mutation(), 1..10),
    ) {
        for (dialect, mut draft) in Dialect::ALL.into_iter().zip(drafts) {
            let door = Door::new(dialect);
            for step in 0..=mutations.len() {
                if let Some(request) = draft.request() {
                    let answer = door.ask(request);
                    prop_assert!(!answer.is_accepted(), "{}: {:?}", dialect, draft);
                }
                if let Some(mutation) = mutations.get(step) {
                    mutation.apply(&mut draft);
                }
            }
        }
    }
}
