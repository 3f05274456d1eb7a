//! Checkpoints that a real time-stamp authority (`openssl ts`) confirms.

use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

const CONFIGURATION: &str = "
[ req ]
distinguished_name = name
[ name ]
[ ca ]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
[ intermediate ]
basicConstraints = critical, CA:true, pathlen:0
keyUsage = critical, keyCertSign
[ stamps ]
basicConstraints = CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
[ other ]
basicConstraints = CA:false
extendedKeyUsage = serverAuth
[ tsa ]
default_tsa = this
[ this ]
serial = ./serial
signer_cert = ./tsa.pem
signer_key = ./tsa.key
certs = ./chain.pem
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1, millisecs:500
tsa_name = yes
ess_cert_id_chain = no
ess_cert_id_alg = sha256
clock_precision_digits = 3
";

/// A time-stamp authority with a CA of its own.
pub(super) struct Authority {
    directory: TempDir,
}

impl Authority {
    /// Keys of this kind, and a certificate of the authority with this section's extensions.
    /// `None` without openssl.
    fn new(key: &[&str], extensions: &str) -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            skipped("time stamps of the audit log", "openssl is not installed");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let this = Self { directory };
        fs::write(this.path("tsa.cnf"), CONFIGURATION).unwrap();
        fs::write(this.path("serial"), "01\n").unwrap();
        for name in ["ca", "intermediate", "tsa"] {
            let file = format!("{name}.key");
            let generate = [&["genpkey", "-out", &file][..], key].concat();
            this.openssl(&generate);
            let subject = format!("/CN=Test {name}");
            let request = format!("{name}.csr");
            this.openssl(&[
                "req", "-new", "-config", "tsa.cnf", "-subj", &subject, "-key", &file, "-out",
                &request,
            ]);
        }
        let sign = |name: &str, section: &str, issuer: &[&str]| {
            let (request, certificate) = (format!("{name}.csr"), format!("{name}.pem"));
            let arguments = [
                "x509",
                "-req",
                "-days",
                "2",
                "-sha256",
                "-extfile",
                "tsa.cnf",
                "-extensions",
                section,
                "-in",
                &request,
                "-out",
                &certificate,
            ];
            this.openssl(&[&arguments[..], issuer].concat());
        };
        sign("ca", "ca", &["-signkey", "ca.key"]);
        let by =
            |issuer: [&'static str; 2]| ["-CA", issuer[0], "-CAkey", issuer[1], "-CAcreateserial"];
        sign("intermediate", "intermediate", &by(["ca.pem", "ca.key"]));
        sign(
            "tsa",
            extensions,
            &by(["intermediate.pem", "intermediate.key"]),
        );
        let chain = ["tsa.pem", "intermediate.pem"].map(|name| fs::read(this.path(name)).unwrap());
        fs::write(this.path("chain.pem"), chain.concat()).unwrap();
        Some(this)
    }

    fn elliptic() -> Option<Self> {
        Self::new(
            &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            "stamps",
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl")
            .current_dir(self.directory.path())
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    fn answer(&self, request: &[u8]) -> Vec<u8> {
        fs::write(self.path("request"), request).unwrap();
        self.openssl(&[
            "ts",
            "-reply",
            "-config",
            "tsa.cnf",
            "-queryfile",
            "request",
            "-out",
            "answer",
        ]);
        fs::read(self.path("answer")).unwrap()
    }

    fn stamp(&self, note: &str) -> TimeStamp {
        let request = TimeStampRequest::new(note, [0xff; 8]).unwrap();
        request.read(&self.answer(request.as_bytes())).unwrap()
    }

    fn required(&self) -> RequiredTimeStamps {
        let pem = fs::read(self.path("ca.pem")).unwrap();
        TimeStampAuthority::from_pem(&pem).unwrap().required()
    }
}

fn hash(note: &str) -> [u8; 32] {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(note).into()
}

fn why(result: Result<SystemTime, InvalidTimeStamp>) -> String {
    result.expect_err("an invalid time stamp").to_string()
}

#[test]
fn tokens_of_a_real_authority_are_checked() {
    let kinds: [&[&str]; 3] = [
        &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
    ];
    for kind in kinds {
        let Some(authority) = Authority::new(kind, "stamps") else {
            return;
        };
        let check = authority.required().check;
        let token = authority.stamp("a note\n").token;
        let confirmed = check(&token, &hash("a note\n")).unwrap();
        let age = SystemTime::now().duration_since(confirmed).unwrap();
        assert!(age < Duration::from_secs(3600), "{age:?}");
        assert_eq!(
            why(check(&token, &hash("another\n"))),
            "the time stamp is not of this checkpoint"
        );
        // No bit of it can be changed.
        for at in (0..token.len()).step_by(7) {
            let mut changed = token.clone();
            changed[at] ^= 1;
            let changed = check(&changed, &hash("a note\n"));
            // Parts that are not signed may be changed: certificates that are not needed, and names.
            assert!(changed.is_err() || changed == Ok(confirmed), "{at}");
        }
        assert_eq!(
            why(check(b"", &hash("a note\n"))),
            "the time stamp cannot be read"
        );
    }
}

#[test]
fn an_authority_that_is_not_trusted_counts_for_nothing() {
    let Some(authority) = Authority::elliptic() else {
        return;
    };
    let Some(other) = Authority::elliptic() else {
        return;
    };
    let token = authority.stamp("a note\n").token;
    let untrusted = why((other.required().check)(&token, &hash("a note\n")));
    assert!(untrusted.contains("is not trusted"), "{untrusted}");
    for wrong in [
        "",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        assert!(
            TimeStampAuthority::from_pem(wrong.as_bytes()).is_err(),
            "{wrong}"
        );
    }
}

/// `openssl ts` signs with no other certificate, but its owner can.
#[test]
fn a_certificate_for_another_purpose_signs_no_time_stamp() {
    let Some(authority) = Authority::elliptic() else {
        return;
    };
    let check = authority.required().check;
    let token = authority.stamp("a note\n").token;
    fs::write(authority.path("token"), &token).unwrap();
    authority.openssl(&[
        "cms",
        "-verify",
        "-noverify",
        "-binary",
        "-inform",
        "DER",
        "-in",
        "token",
        "-out",
        "content",
    ]);
    authority.openssl(&[
        "req", "-new", "-config", "tsa.cnf", "-subj", "/CN=web", "-key", "tsa.key", "-out",
        "web.csr",
    ]);
    authority.openssl(&[
        "x509",
        "-req",
        "-days",
        "2",
        "-extfile",
        "tsa.cnf",
        "-extensions",
        "other",
        "-in",
        "web.csr",
        "-out",
        "web.pem",
        "-CA",
        "intermediate.pem",
        "-CAkey",
        "intermediate.key",
        "-CAcreateserial",
    ]);
    let sign = |certificate: &str| {
        authority.openssl(&[
            "cms",
            "-sign",
            "-binary",
            "-nodetach",
            "-cades",
            "-outform",
            "DER",
            "-md",
            "sha256",
            "-econtent_type",
            "1.2.840.113549.1.9.16.1.4",
            "-signer",
            certificate,
            "-inkey",
            "tsa.key",
            "-certfile",
            "intermediate.pem",
            "-in",
            "content",
            "-out",
            "signed",
        ]);
        check(
            &fs::read(authority.path("signed")).unwrap(),
            &hash("a note\n"),
        )
    };
    assert!(sign("tsa.pem").is_ok());
    assert_eq!(
        why(sign("web.pem")),
        "the authority's certificate is not for time stamps alone"
    );
}

#[test]
fn an_answer_to_another_request_is_refused() {
    let Some(authority) = Authority::elliptic() else {
        return;
    };
    let one = TimeStampRequest::new("a note\n", [1; 8]).unwrap();
    let again = TimeStampRequest::new("a note\n", [2; 8]).unwrap();
    let other = TimeStampRequest::new("another\n", [1; 8]).unwrap();
    let answer = authority.answer(one.as_bytes());
    assert!(one.read(&answer).is_ok());
    for (request, expected) in [
        (&again, "the answer is to another request"),
        (&other, "the time stamp is not of this checkpoint"),
    ] {
        assert_eq!(request.read(&answer).unwrap_err().0, expected);
    }
    // It asks for a digest that the authority does not take.
    let configuration = CONFIGURATION.replace("digests = sha256", "digests = sha512");
    fs::write(authority.path("tsa.cnf"), configuration).unwrap();
    let refused = one.read(&authority.answer(one.as_bytes())).unwrap_err();
    assert_eq!(refused.0, "the authority refuses with status 2");
    assert!(one.read(b"<html>").is_err());
}

/// A log that hands its checkpoints out, and takes time stamps.
struct Stamped {
    directory: TempDir,
    writer: Writer,
    notes: Receiver<String>,
    stamps: Sender<TimeStamp>,
}

impl Stamped {
    /// Its clock is so many seconds after [`at(0)`](at).
    fn open(now: u64) -> Self {
        let directory = scratch();
        let (taken, notes) = channel();
        let (stamps, arrived) = channel();
        let mut its = options(directory.path(), "i1");
        its.signer = Some(signer());
        its.checkpoint_lines = 5;
        its.on_synced_checkpoint = Some(Box::new(move |note| taken.send(note.to_owned()).unwrap()));
        its.time_stamps = Some(arrived);
        let (log, _) = Log::open(its, at(now)).unwrap();
        let writer = Writer {
            log,
            instance: "i1".to_owned(),
            seq: 0,
            now,
        };
        Self {
            directory,
            writer,
            notes,
            stamps,
        }
    }

    /// Writes events, has the checkpoints after them on the disk, and returns the newest.
    fn write(&mut self, count: u64) -> String {
        self.writer.write(count);
        self.tick();
        self.notes.try_iter().last().expect("a checkpoint")
    }

    fn tick(&mut self) {
        let now = self.writer.now();
        self.writer.log.tick(now).unwrap();
    }

    fn take(&mut self, stamp: TimeStamp) {
        self.stamps.send(stamp).unwrap();
        self.tick();
    }
}

/// The present, in the time of [`at`].
fn present() -> u64 {
    SystemTime::now().duration_since(at(0)).unwrap().as_secs()
}

fn with_stamps(authority: &Authority) -> VerifyOptions {
    VerifyOptions {
        time_stamps: Some(authority.required()),
        ..with_key()
    }
}

#[test]
fn an_anchored_log_is_whole_and_says_up_to_where() {
    let Some(authority) = Authority::elliptic() else {
        return;
    };
    let mut log = Stamped::open(present());
    for _ in 0..3 {
        let note = log.write(7);
        log.take(authority.stamp(&note));
    }
    log.write(7);
    let directory = log.directory.path().to_owned();
    log.writer.close();
    let report = check_with(&directory, &with_stamps(&authority));
    assert_eq!(report.outcome, VerifyOutcome::Whole, "{report:#?}");
    assert_eq!(report.time_stamps, 3);
    let (lines, _) = report.time_stamped.unwrap();
    assert!(lines > 20 && lines < report.end.lines, "{lines}");
    // Without the option, time stamps are lines as others.
    assert_whole(&directory);
    assert_eq!(format::python(&directory).0, 0);
    // Nor does another authority do.
    let other = Authority::elliptic().unwrap();
    let report = check_with(&directory, &with_stamps(&other));
    assert_eq!(report.outcome.exit_code(), 1, "{report:#?}");
}

#[test]
fn openssl_itself_checks_what_is_in_the_log() {
    let Some(authority) = Authority::elliptic() else {
        return;
    };
    let mut log = Stamped::open(present());
    let note = log.write(7);
    log.take(authority.stamp(&note));
    let text = fs::read_to_string(segment(log.directory.path(), 1)).unwrap();
    let line = text
        .lines()
        .find(|line| line.contains("time_stamp"))
        .unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let noted = text
        .lines()
        .filter(|line| line.contains(r#""event":"checkpoint""#));
    let noted: Vec<serde_json::Value> = noted
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let lines = format!("\n{}\n", line["lines"]);
    let mut of_it = noted.iter().map(|line| line["note"].as_str().unwrap());
    let of_it = of_it.rfind(|note| note.contains(&lines)).unwrap();
    fs::write(authority.path("note"), of_it).unwrap();
    use base64::Engine as _;
    let token = base64::engine::general_purpose::STANDARD.decode(line["token"].as_str().unwrap());
    fs::write(authority.path("token"), token.unwrap()).unwrap();
    authority.openssl(&[
        "ts",
        "-verify",
        "-in",
        "token",
        "-token_in",
        "-data",
        "note",
        "-CAfile",
        "ca.pem",
        "-untrusted",
        "intermediate.pem",
    ]);
}

/// Somebody has the signing key, and writes the log again as it should have been.
#[test]
fn a_log_that_was_rewritten_with_the_stolen_key_is_found() {
    let Some(authority) = Authority::elliptic() else {
        return;
    };
    let long_ago = present() - 3 * 24 * 60 * 60;
    let mut log = Stamped::open(present());
    let mut stamps = Vec::new();
    for _ in 0..3 {
        let note = log.write(7);
        stamps.push(authority.stamp(&note));
        log.take(stamps.last().unwrap().clone());
    }
    let directory = log.directory.path().to_owned();
    log.writer.close();
    let options = with_stamps(&authority);
    assert_eq!(
        check_with(&directory, &options).outcome,
        VerifyOutcome::Whole
    );

    type Forge<'a> = &'a dyn Fn(&mut Stamped, String, usize);
    let forgeries: [(&str, u64, Forge<'_>); 4] = [
        ("the old time stamps", present(), &|forged, note, at| {
            let token = stamps[at].token.clone();
            forged.take(TimeStamp { note, token });
        }),
        ("none", present(), &|_, _, _| {}),
        ("new ones", long_ago, &|forged, note, _| {
            forged.take(authority.stamp(&note));
        }),
        (
            "those of an authority of one's own",
            present(),
            &|forged, note, _| {
                let own = Authority::elliptic().unwrap();
                forged.take(own.stamp(&note));
            },
        ),
    ];
    for (name, now, forge) in forgeries {
        let mut forged = Stamped::open(now);
        for at in 0..3 {
            let note = forged.write(6);
            forge(&mut forged, note, at);
        }
        let directory = forged.directory.path().to_owned();
        forged.writer.close();
        // The key does not tell.
        let report = check_with(&directory, &with_key());
        assert_eq!(report.outcome, VerifyOutcome::Whole, "{name}: {report:#?}");
        let report = check_with(&directory, &options);
        assert_eq!(report.outcome.exit_code(), 1, "{name}: {report:#?}");
        drop(forged.directory);
    }
}

#[test]
fn a_stretch_without_time_stamps_shows_unless_it_is_allowed() {
    let Some(authority) = Authority::elliptic() else {
        return;
    };
    let mut log = Stamped::open(present() - 3 * 24 * 60 * 60);
    log.write(7);
    log.writer.now = present();
    let note = log.write(7);
    log.take(authority.stamp(&note));
    let directory = log.directory.path().to_owned();
    log.writer.close();
    let mut options = with_stamps(&authority);
    let late = check_with(&directory, &options);
    assert_eq!(verdict(&late), (1, "1:2".to_owned()), "{late:#?}");
    options.time_stamps.as_mut().unwrap().within = Duration::from_secs(7 * 24 * 60 * 60);
    assert_eq!(
        check_with(&directory, &options).outcome,
        VerifyOutcome::Whole
    );
    let mut options = with_stamps(&authority);
    options.time_stamps.as_mut().unwrap().since = Some(at(present() - 24 * 60 * 60));
    assert_eq!(
        check_with(&directory, &options).outcome,
        VerifyOutcome::Whole
    );
    // Nor may the end be without them for too long.
    let mut log = Stamped::open(present());
    let note = log.write(7);
    log.take(authority.stamp(&note));
    log.write(7);
    log.writer.now += 3 * 24 * 60 * 60;
    log.write(7);
    let directory = log.directory.path().to_owned();
    let missing = check_with(&directory, &with_stamps(&authority));
    assert_eq!(missing.outcome.exit_code(), 1, "{missing:#?}");
}

#[test]
fn a_checkpoint_is_handed_out_once_it_is_on_the_disk() {
    let mut log = Stamped::open(present());
    // What a full disk has not kept is no checkpoint to be stamped.
    let before: Vec<String> = log.notes.try_iter().collect();
    assert!(before.is_empty(), "{before:?}");
    log.tick();
    assert_eq!(log.notes.try_iter().count(), 1);
    let text = fs::read_to_string(segment(log.directory.path(), 1)).unwrap();
    assert_eq!(text.matches(r#""event":"checkpoint""#).count(), 1);
}

#[test]
fn a_token_that_does_not_fit_begins_a_segment() {
    let mut log = Stamped::open(present());
    for _ in 0..6 {
        let note = log.write(7);
        log.take(TimeStamp {
            note,
            token: vec![0x30; 4000],
        });
    }
    let too_long = TimeStamp {
        note: log.write(7),
        token: vec![0; MAX_TOKEN_BYTES + 1],
    };
    log.take(too_long);
    let directory = log.directory.path().to_owned();
    log.writer.close();
    let report = assert_whole(&directory);
    assert!(report.end.segment > 1);
    for number in names::segments(&directory).unwrap() {
        let length = fs::metadata(segment(&directory, number)).unwrap().len();
        assert!(length <= 16 * 1024, "{number}: {length}");
    }
}
