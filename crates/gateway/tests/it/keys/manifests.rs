//! `--kubernetes-secret`.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{DIGEST, Place, Ran};

const CALLERS: &str = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: ";

/// The text of the block under `keys.toml`.
fn content(manifest: &str) -> String {
    let (_, block) = manifest.split_once("  keys.toml: |\n").unwrap();
    let lines = block.split_inclusive('\n');
    let lines = lines.take_while(|line| line.starts_with("    ") || *line == "\n");
    lines
        .map(|line| line.strip_prefix("    ").unwrap_or(line))
        .collect()
}

fn manifest(place: &Place, arguments: &[&str]) -> Ran {
    let before = place.text();
    let flags = ["--kubernetes-secret=voxgate-keys"];
    let ran = place.run(&[arguments, &flags].concat()).done();
    assert_eq!(place.text(), before);
    assert_eq!(place.others(), [""; 0]);
    ran
}

/// The manifest is printed, so that a pipe to `kubectl apply` revokes the key.
#[test]
fn a_key_is_revoked_in_a_secret_with_other_problems() {
    let place = Place::with("");
    let broken = format!(
        "[[key]]\nid = \"a\"\nsha256 = \"{DIGEST}\"\n[[key]]\nid = \"b\"\nsha256 = \"zz\"\n"
    );
    let now = secret("k", &broken);
    let flags = ["revoke", "a", "--kubernetes-secret=k", "--from-secret=-"];
    let ran = place.run_with(&now, &flags);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let disabled = broken.replacen("id = \"a\"\n", "id = \"a\"\ndisabled = true\n", 1);
    assert_eq!(content(&ran.out), disabled);
    assert!(
        ran.error.contains("apply it") && ran.error.contains("sha256"),
        "{ran:?}"
    );
    place.refuses(64, &now, &["revoke", "c", flags[2], flags[3]]);
}

/// `kubectl apply` removes what the next manifest leaves out: with the label, all keys of a gateway that
/// watches Secrets by it.
#[test]
fn the_next_manifest_keeps_the_rest_of_the_secret() {
    let place = Place::with("");
    let keys = STANDARD.encode(format!("[[key]]\nid = \"a\"\nsha256 = \"{DIGEST}\"\n"));
    let now = format!(
        r#"{{"kind":"Secret","type":"example.com/keys","metadata":{{"name":"k","labels":{{"voxgate.dev/keys":"true"}},
        "annotations":{{"team":"ivr","kubectl.kubernetes.io/last-applied-configuration":"hunter2"}}}},
        "data":{{"keys.toml":"{keys}","more.toml":"IyB4Cg=="}}}}"#
    );
    let flags = ["revoke", "a", "--kubernetes-secret=k", "--from-secret=-"];
    let ran = place.run_with(&now, &flags).done();
    let head = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: k\n  labels:\n    \
                voxgate.dev/keys: \"true\"\n  annotations:\n    team: ivr\ntype: example.com/keys\n\
                data:\n  more.toml: IyB4Cg==\nstringData:\n  keys.toml: |\n";
    assert!(ran.out.starts_with(head), "{}", ran.out);
    assert!(content(&ran.out).contains("disabled = true"));
    assert!(!ran.out.contains("hunter2"));
}

#[test]
fn a_new_key_is_in_a_secret_and_its_token_in_another() {
    let text = format!("# ours: \"x\"\n[[key]]\nid = \"a\"\nsha256 = \"{DIGEST}\"\n");
    let place = Place::with(&text);
    let ran = manifest(&place, &["new", "--id=Team:b", "--namespace=voice"]);
    let (gateways, callers) = ran.out.split_once("---\n").unwrap();
    let head = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: voxgate-keys\n  \
                namespace: voice\ntype: Opaque\nstringData:\n  keys.toml: |\n    # ours: \"x\"\n    \
                [[key]]\n    id = \"a\"\n";
    assert!(gateways.starts_with(head), "{gateways}");
    let (comment, callers) = callers.split_once("apiVersion").unwrap();
    assert!(
        comment.lines().all(|line| line.starts_with("# ")) && comment.contains("does not need")
    );
    let token = callers.trim_end().rsplit_once("  api-key: ").unwrap().1;
    let expected = format!(
        "{CALLERS}voxgate-keys-team-b\n  namespace: voice\ntype: Opaque\nstringData:\n  \
         api-key: {token}\n"
    );
    assert_eq!(format!("apiVersion{callers}"), expected);
    assert!(!ran.error.contains(token) && !gateways.contains(token));
    // The file that the gateway would mount accepts the caller.
    fs::write(place.path(), content(gateways)).unwrap();
    assert!(
        place
            .text()
            .starts_with(&format!("{text}\n[[key]]\nid = \"Team:b\"\n"))
    );
    let verified = place.run_with(token, &["verify"]).done();
    assert_eq!(verified.out, "Team:b: active\n");
    // Another id with the same label gets its own Secret.
    let ran = manifest(&place, &["new", "--id=team.b"]);
    let fingerprint = ran.error.split_once("fingerprint ").unwrap().1[..12].to_owned();
    let name = format!("{CALLERS}voxgate-keys-team-b-{fingerprint}\n");
    assert!(ran.out.contains(&name), "{}", ran.out);
}

#[test]
fn other_changes_print_one_secret() {
    let place = Place::new();
    let token = place.run(&["new", "--id=a"]).token();
    let rotated = manifest(&place, &["rotate", "a"]).out;
    assert!(
        rotated.contains(&format!("{CALLERS}voxgate-keys-a-2\n")),
        "{rotated}"
    );
    assert!(content(&rotated).contains("expires = ") && content(&rotated).contains("\"a-2\""));
    let revoked = manifest(&place, &["revoke", "a"]).out;
    assert!(!revoked.contains("---"), "{revoked}");
    assert_eq!(
        content(&revoked),
        place
            .text()
            .replacen("\"a\"\n", "\"a\"\ndisabled = true\n", 1)
    );
    place.run(&["revoke", "a"]).done();
    // A key that is already revoked stays revoked in the manifest.
    let revoked = manifest(&place, &["revoke", "a"]).out;
    assert_eq!(content(&revoked), place.text());
    let flags = ["import", "--kubernetes-secret=k"];
    let imported = place
        .run_with("b 9f3c1b7ae5d24860b1c7f0e2d3a49586\n", &flags)
        .done();
    assert!(!imported.out.contains("---") && !imported.out.contains("9f3c1b7ae5d24860"));
    assert!(content(&imported.out).starts_with(&place.text()));
    assert!(!place.text().contains(&token[4..]));
}

/// Runs with no keys file in the environment.
fn without_file(place: &Place, input: &str, arguments: &[&str]) -> Ran {
    let path = place.directory().join("input");
    fs::write(&path, input).unwrap();
    let mut command = place.command(arguments);
    command
        .env_remove("VOXGATE_KEYS_FILE")
        .arg("--kubernetes-secret=k")
        .stdin(fs::File::open(path).unwrap());
    Ran::new(command.output().unwrap())
}

/// The output of `kubectl get secret -o json` for this keys file.
fn secret(name: &str, text: &str) -> String {
    let encoded = STANDARD.encode(text);
    format!(
        "{{\"apiVersion\": \"v1\", \"kind\": \"Secret\", \"type\": \"Opaque\", \
         \"data\": {{\"keys.toml\": \"{encoded}\", \"other\": \"eA==\"}}, \
         \"metadata\": {{\"name\": \"{name}\", \"namespace\": \"voice\"}}}}"
    )
}

#[test]
fn a_change_starts_from_the_secret_in_the_cluster() {
    let place = Place::new();
    let text = format!("# ours\n[[key]]\nid = \"a\"\ndisabled = true\nsha256 = \"{DIGEST}\"\n");
    let now = secret("k", &text);
    let ran = without_file(&place, &now, &["new", "--id=b", "--from-secret=-"]).done();
    assert!(content(&ran.out).starts_with(&text), "{}", ran.out);
    let namespaces = ran.out.matches("\n  namespace: voice\n").count();
    assert_eq!(namespaces, 2, "{}", ran.out);
    // The environment names a different file: the flag takes precedence.
    fs::write(place.path(), "not TOML").unwrap();
    let flags = ["revoke", "a", "--kubernetes-secret=k", "--from-secret=-"];
    let ran = place.run_with(&now, &flags).done();
    assert_eq!(content(&ran.out), text);
    assert!(!ran.error.contains("was not changed"), "{}", ran.error);
    for (input, flags, wanted) in [
        ("", &["--from-secret=-"][..], "kubectl failed"),
        ("[", &["--from-secret=-"], "is not JSON"),
        (
            &secret("other", &text),
            &["--from-secret=-"],
            "is not the name",
        ),
        (&now, &["--from-secret=-", "--namespace=x"], "--namespace: "),
        (
            &secret("k", "[[key]]\n"),
            &["--from-secret=-"],
            "of the Secret k:1: ",
        ),
        (&now, &["--from-secret=/absent"], "/absent: "),
        (&now, &["--from-secret=-", "--file=keys.toml"], "--file"),
        (&now, &["--from-secret=-", "--empty"], "--empty"),
    ] {
        let ran = without_file(&place, input, &[&["new", "--id=b"], flags].concat());
        assert_eq!((ran.code, ran.out.as_str()), (Some(64), ""), "{flags:?}");
        assert!(ran.error.contains(wanted), "no {wanted} in {}", ran.error);
    }
    let both = without_file(&place, &now, &["import", "--from-secret=-"]);
    assert!(
        both.code == Some(64) && both.error.contains("as a PATH"),
        "{both:?}"
    );
}

/// Otherwise, the new key would be the only one in the Secret, and all other callers would be
/// refused.
#[test]
fn the_content_of_the_secret_is_required() {
    let place = Place::new();
    for command in [&["new", "--id=a"][..], &["revoke", "a"], &["rotate", "a"]] {
        let ran = without_file(&place, "", command);
        assert_eq!((ran.code, ran.out.as_str()), (Some(64), ""), "{ran:?}");
        for wanted in ["--from-secret -", "--file", "--empty"] {
            assert!(ran.error.contains(wanted), "no {wanted} in {}", ran.error);
        }
        // The environment names a file that does not exist.
        let flags = [command, &["--kubernetes-secret=k"]].concat();
        let error = place.refuses(64, "", &flags);
        assert!(error.contains("--from-secret -"), "{error}");
        let directory = format!("--file={}", place.directory().display());
        let error = place.refuses(1, "", &[&flags[..], &[&directory]].concat());
        assert!(error.contains("cannot be read"), "{error}");
    }
    let ran = without_file(&place, "", &["new", "--id=a", "--empty"]).done();
    let text = content(&ran.out);
    assert!(text.starts_with("[[key]]\nid = \"a\"\n"), "{text}");
    assert!(!place.path().exists());
    let ran = without_file(&place, "", &["revoke", "a", "--empty"]);
    assert_eq!(ran.code, Some(64), "{ran:?}");
    // A note says that the file does not have the change.
    let place = Place::with(&text);
    for command in [&["new", "--id=b"][..], &["revoke", "a"]] {
        let ran = manifest(&place, command);
        assert!(ran.error.contains("was not changed"), "{}", ran.error);
    }
}
