//! `voxgate demo`: the gateway in front of a sample TTS server, without any setup.
//!
//! The gateway is the one that `serve` runs. The sample server has the API of Rime. Both listen
//! only on 127.0.0.1, with a key made for this run.

mod printer;
mod rime;
mod tone;

use std::error::Error;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;

use voxgate::Secret;
use voxgate::keys::generate_key;
use voxgate_terminal::color::Colors;

use self::printer::Printer;
use super::auditing::AuditSinks;
use super::config::{Config, Logging};
use super::gateway::{Addresses, Gateway};
use super::listener::{self, ListenAddress};
use super::logging;
use super::metrics::Metrics;
use super::settings::{ADMIN_LISTEN, DRAIN, LISTEN, UPSTREAM};

/// The usual ports of the demo.
const PORT: u16 = 8080;
const ADMIN_PORT: u16 = 8081;

/// The request body of the printed commands.
const BODY: &str = r#"{"speaker":"cove","modelId":"mistv2","text":"Hello from behind the door."}"#;

/// Runs until Ctrl-C or SIGTERM.
///
/// # Errors
///
/// If a port, random bytes or a thread are not available.
pub(crate) fn run(preconfigured: bool) -> Result<(), Box<dyn Error>> {
    let (writers, level) = logging::start(&Logging {
        filter: "warn".to_owned(),
        json: Some(false),
    })?;
    let key = generate_key()?;
    let required = preconfigured.then(|| key.expose().to_owned());
    let upstream = start_server(required)?;

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
            Printer(Colors::of_stdout()),
            Metrics::new(None, AuditSinks::default(), || 0),
            level.clone(),
            None,
        )
    };
    let gateway = match bind(config(free_or_any(PORT), free_or_any(ADMIN_PORT))?) {
        // Another process has taken a port in the meantime.
        Err(_) => bind(config(local(0), local(0))?).map_err(|error| error.to_string())?,
        Ok(gateway) => gateway,
    };

    let banner = Banner {
        addresses: gateway.addresses(),
        upstream,
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

/// The address with this port if it is free, otherwise with any free port.
fn free_or_any(port: u16) -> SocketAddr {
    match listener::bind(&ListenAddress::Ip(local(port)), 0, 1) {
        Ok(_) => local(port),
        Err(_) => local(0),
    }
}

/// Serves the sample TTS server on its own thread until the process ends.
fn start_server(required_key: Option<String>) -> io::Result<SocketAddr> {
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
                axum::serve(listener, rime::router(required_key)).await
            });
            if let Err(error) = served {
                tracing::error!(%error, "the sample TTS server stopped");
            }
        })?;
    Ok(address)
}

/// The text that the demo prints before the first request.
struct Banner<'a> {
    addresses: Addresses,
    upstream: SocketAddr,
    /// `None` in preconfigured mode.
    key: Option<&'a Secret>,
}

impl Banner<'_> {
    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let Addresses { data, admin, .. } = &self.addresses;
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
            "  server    http://{} (synthesizes tones)",
            self.upstream
        )?;
        writeln!(out, "  metrics   http://{admin}/metrics")?;
        if let Some(other) = data
            .ip()
            .map(|data| data.port())
            .filter(|port| *port != PORT)
        {
            writeln!(
                out,
                "\n  port {PORT} is in use, so the gateway uses port {other}"
            )?;
        }
        writeln!(out, "\nIn another terminal:\n")?;
        match self.key {
            Some(key) => {
                self.curl(
                    out,
                    "With the key: audio",
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
                self.curl(out, "Without a key: audio", "-sSo hello.wav", None)?;
                self.curl(
                    out,
                    "With any key: audio, because the key is not checked",
                    "-sSo hello.wav",
                    Some("any"),
                )?;
                writeln!(
                    out,
                    "  # Directly to the server: 401, because only the gateway adds the deployment \
                key"
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
            "Each audit record appears below. Press Ctrl-C to stop.\n"
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
