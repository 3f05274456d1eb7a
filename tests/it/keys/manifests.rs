//! `--kubernetes-secret`.

use std::fs;

use super::{DIGEST, Place, Ran};

const CALLERS: &str = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: ";

/// The text of the block behind `keys.toml`.
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
    // What the gateway would mount lets the caller in.
    fs::write(place.path(), content(gateways)).unwrap();
    assert!(
        place
            .text()
            .starts_with(&format!("{text}\n[[key]]\nid = \"Team:b\"\n"))
    );
    let verified = place.run_with(token, &["verify"]).done();
    assert_eq!(verified.out, "Team:b: active\n");
    // Another id that looks the same gets a Secret of its own.
    let ran = manifest(&place, &["new", "--id=team.b"]);
    let fingerprint = ran.error.split_once("fingerprint ").unwrap().1[..12].to_owned();
    let name = format!("{CALLERS}voxgate-keys-team-b-{fingerprint}\n");
    assert!(ran.out.contains(&name), "{}", ran.out);
}

#[test]
fn other_changes_are_in_a_secret_alone() {
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
    // Who is revoked already is, in the manifest as well.
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

#[test]
fn no_file_is_needed_for_the_first_key() {
    let place = Place::new();
    let mut command = place.command(&["new", "--id=a", "--kubernetes-secret=k"]);
    let ran = Ran::new(command.env_remove("VOXGATE_KEYS_FILE").output().unwrap()).done();
    assert!(
        content(&ran.out).starts_with("[[key]]\nid = \"a\"\n"),
        "{}",
        ran.out
    );
    place
        .run(&["new", "--id=a", "--kubernetes-secret=k"])
        .done();
    assert!(!place.path().exists());
    let error = place.refuses(64, "", &["revoke", "a", "--kubernetes-secret=k"]);
    assert!(error.contains("is not there"), "{error}");
    // What a cluster has can be piped in.
    let text = format!("[[key]]\nid = \"old\"\nsha256 = \"{DIGEST}\"\n");
    let flags = [
        "new",
        "--id=a",
        "--kubernetes-secret=k",
        "--file=/dev/stdin",
    ];
    let ran = place.run_with(&text, &flags).done();
    assert!(content(&ran.out).starts_with(&text), "{}", ran.out);
    assert!(
        !ran.error.contains("no keys to start from"),
        "{}",
        ran.error
    );
}
