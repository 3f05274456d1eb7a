//! `voxgate demo`: the main job at work, with nothing to set up.
//!
//! A sample TTS server in Rime's shape stands behind the very gateway that `serve` runs, on
//! 127.0.0.1 only, with a key made for this run.

mod audio;
mod printer;
mod rime;
mod voice;

use std::error::Error;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;

use voxgate::{Secret, generate_key};

use self::printer::Printer;
use self::voice::Voice;
use super::auditing::AuditSinks;
use super::config::{Config, Logging};
use super::gateway::{Addresses, Gateway};
use super::metrics::Metrics;
use super::settings::{ADMIN_LISTEN, DRAIN, LISTEN, UPSTREAM};
use super::{listener, logging};

/// Where the demo listens, if nobody else does.
const PORT: u16 = 8080;
const ADMIN_PORT: u16 = 8081;

/// What the commands to try say.
const BODY: &str = r#"{"speaker":"cove","modelId":"mistv2","text":"Hello from behind the door."}"#;

/// Runs until Ctrl-C or SIGTERM.
///
/// # Errors
///
/// When there is no free port, no randomness, or no thread.
pub(crate) fn run(preconfigured: bool) -> Result<(), Box<dyn Error>> {
    let writers = logging::start(&Logging {
        filter: "warn".to_owned(),
        json: Some(false),
    })?;
    let key = generate_key()?;
    let voice = Voice::detect();
    let voice_name = voice.name();
    let required = preconfigured.then(|| key.expose().to_owned());
    let upstream = start_server(voice, required)?;

    let key_variable = if preconfigured {
        "RIME_API_KEY"
    } else {
        "VOXGATE_API_KEYS"
    };
    let config = |listen: SocketAddr, admin_listen: SocketAddr| {
        let vars: [(&str, String); 5] = [
            (LISTEN, listen.to_string()),
            (ADMIN_LISTEN, admin_listen.to_string()),
            (UPSTREAM, format!("http://{upstream}")),
            (DRAIN, "2".to_owned()),
            (key_variable, key.expose().to_owned()),
        ];
        Config::from_vars(vars.map(|(name, value)| (name.into(), value.into())))
    };
    let bind = |config| {
        Gateway::bind(
            config,
            Printer,
            Metrics::new(None, AuditSinks::default(), || 0),
        )
    };
    let gateway = match bind(config(free_or_any(PORT), free_or_any(ADMIN_PORT))?) {
        // Somebody was quicker.
        Err(_) => bind(config(local(0), local(0))?).map_err(|error| error.to_string())?,
        Ok(gateway) => gateway,
    };

    let banner = Banner {
        addresses: gateway.addresses(),
        upstream,
        voice: &voice_name,
        key: (!preconfigured).then_some(&key),
    };
    banner.print(&mut io::stdout().lock())?;
    let served = gateway.run();
    writers.finish();
    served.map_err(|error| error.to_string().into())
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// The port if it is free, and any other if it is not.
fn free_or_any(port: u16) -> SocketAddr {
    match listener::bind(local(port), 1) {
        Ok(_) => local(port),
        Err(_) => local(0),
    }
}

/// Serves the sample TTS server on a thread of its own, for as long as the process lives.
fn start_server(voice: Voice, required_key: Option<String>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(local(0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new()
        .name("sample-tts".to_owned())
        .spawn(move || {
            let served = runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                axum::serve(listener, rime::router(voice, required_key)).await
            });
            if let Err(error) = served {
                tracing::error!(%error, "the sample TTS server stopped");
            }
        })?;
    Ok(address)
}

/// What the demo says before the first request.
struct Banner<'a> {
    addresses: Addresses,
    upstream: SocketAddr,
    voice: &'a str,
    /// `None` in preconfigured mode.
    key: Option<&'a Secret>,
}

impl Banner<'_> {
    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let Addresses { data, admin } = self.addresses;
        writeln!(
            out,
            "voxgate demo: a sample TTS server behind the gateway\n"
        )?;
        writeln!(out, "  gateway   http://{data}")?;
        writeln!(
            out,
            "  key       {}",
            self.key
                .map_or("not needed (preconfigured)", Secret::expose)
        )?;
        writeln!(
            out,
            "  server    http://{} speaks with {}",
            self.upstream, self.voice
        )?;
        writeln!(out, "  metrics   http://{admin}/metrics")?;
        if data.port() != PORT {
            writeln!(
                out,
                "\n  port {PORT} is taken, so the gateway took {}",
                data.port()
            )?;
        }
        writeln!(out, "\nIn another terminal:\n")?;
        match self.key {
            Some(key) => {
                self.curl(
                    out,
                    "With the key: speech",
                    "-sSo hello.wav",
                    Some(key.expose()),
                )?;
                self.curl(out, "Without a key: 401 missing headers", "-i", None)?;
                self.curl(
                    out,
                    "With a wrong key: 401 invalid api key",
                    "-i",
                    Some("wrong"),
                )?;
            }
            None => {
                self.curl(
                    out,
                    "Without a key: speech all the same",
                    "-sSo hello.wav",
                    None,
                )?;
                self.curl(
                    out,
                    "With any key: it is not looked at",
                    "-sSo hello.wav",
                    Some("any"),
                )?;
                writeln!(
                    out,
                    "  # The server behind demands the deployment key, which the gateway adds: 401"
                )?;
                writeln!(
                    out,
                    "  curl -i http://{}/v1/rime-tts -d '{{}}'\n",
                    self.upstream
                )?;
            }
        }
        writeln!(
            out,
            "Every decision appears below as it is made. Ctrl-C ends the demo.\n"
        )?;
        out.flush()
    }

    fn curl(
        &self,
        out: &mut impl Write,
        what: &str,
        options: &str,
        key: Option<&str>,
    ) -> io::Result<()> {
        writeln!(out, "  # {what}")?;
        writeln!(
            out,
            "  curl {options} http://{}/v1/rime-tts \\",
            self.addresses.data
        )?;
        if let Some(key) = key {
            writeln!(out, "    -H 'Authorization: Bearer {key}' \\")?;
        }
        writeln!(
            out,
            "    -H 'Accept: audio/wav' -H 'Content-Type: application/json' \\"
        )?;
        writeln!(out, "    -d '{BODY}'\n")
    }
}
