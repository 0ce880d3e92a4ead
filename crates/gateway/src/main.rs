//! The practice gateway's command line.

#![forbid(unsafe_code)]

use std::io::{IsTerminal as _, Write as _};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use evenkeel_gateway::config::{GatewayConfig, TunSettings};
use evenkeel_gateway::demo::{self, DemoOptions};
use evenkeel_gateway::server::{Ready, Server};
use evenkeel_gateway::{BANNER, control};
use tracing_subscriber::EnvFilter;

/// An IKEv2 gateway to practise on, with a small network behind it. NOT FOR PRODUCTION.
#[derive(Parser)]
#[command(
    name = "evenkeel-gateway",
    version,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true
)]
struct CommandLine {
    #[command(flatten)]
    serve: Serve,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Send one request to a running gateway's control socket and print the answer.
    ///
    /// For example: evenkeel-gateway control gateway.sock '{"command":"status"}'
    Control {
        /// The control socket.
        socket: PathBuf,
        /// A request: one JSON object.
        request: String,
    },
}

#[derive(Args)]
struct Serve {
    /// Configuration file.
    #[arg(long, value_name = "FILE", required_unless_present = "demo")]
    config: Option<PathBuf>,
    /// Write fresh certificates, a user and a client profile into this folder, and serve them.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    demo: Option<PathBuf>,
    /// Address to listen on, instead of the configured ones; may be repeated. With --demo one address, which also
    /// goes into the profile; 127.0.0.1 by default.
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<IpAddr>,
    /// UDP port for IKE without the non-ESP marker, instead of the configured one.
    #[arg(long, value_name = "PORT")]
    ike_port: Option<u16>,
    /// UDP port for IKE with the marker and for ESP, instead of the configured one.
    #[arg(long, value_name = "PORT")]
    nat_port: Option<u16>,
    /// TCP port for IKE and ESP in a stream (RFC 9329), instead of the configured ones; may be repeated. With --demo
    /// 4500 and 443 by default, or the port of --nat-port.
    #[arg(long, value_name = "PORT")]
    tcp_port: Vec<u16>,
    /// Unix socket for status, faults and commands, instead of the configured one.
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// Make this TUN device and use the system's network instead of the built-in one; needs privileges.
    #[arg(long, value_name = "NAME")]
    tun: Option<String>,
    /// MTU of the TUN device.
    #[arg(long, value_name = "BYTES", requires = "tun")]
    tun_mtu: Option<u16>,
    /// Write the line that says "ready" to this file, or to this file descriptor as /dev/fd/N, instead of to the
    /// standard output.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// How to write the log, on the standard error.
    #[arg(long, value_enum, default_value_t = LogFormat::Plain)]
    log_format: LogFormat,
    /// What to log: a level, or directives such as "info,evenkeel_gateway=debug".
    #[arg(long, value_name = "FILTER", env = "EVENKEEL_LOG", default_value = "info")]
    log: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Plain,
    Json,
}

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    match command_line.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the log may not have started")]
            {
                eprintln!("evenkeel-gateway: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

impl CommandLine {
    fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            match self.command {
                Some(Command::Control { socket, request }) => {
                    let answer = control::send(&socket, &request).await?;
                    print_line(&answer)?;
                    anyhow::ensure!(answer.starts_with(r#"{"ok""#), "the gateway refused");
                    Ok(())
                }
                None => self.serve.run().await,
            }
        })
    }
}

impl Serve {
    async fn run(self) -> anyhow::Result<()> {
        self.start_log()?;
        tracing::warn!("{BANNER}");
        let server = Server::start(self.configuration()?)?;
        self.announce(server.ready()).context("can't say that the gateway is ready")?;
        server.run(stop_signal()).await;
        tracing::info!("ended");
        Ok(())
    }

    fn configuration(&self) -> anyhow::Result<GatewayConfig> {
        let path = match (&self.config, &self.demo) {
            (Some(path), _) => path.clone(),
            (None, Some(dir)) => demo::write(dir, &self.demo_options()?)?,
            (None, None) => anyhow::bail!("--config or --demo is needed"),
        };
        let mut config = GatewayConfig::load(&path)?;
        let listen = &mut config.listen;
        if !self.listen.is_empty() {
            listen.addresses.clone_from(&self.listen);
        }
        listen.ike_port = self.ike_port.unwrap_or(listen.ike_port);
        listen.nat_port = self.nat_port.unwrap_or(listen.nat_port);
        if !self.tcp_port.is_empty() {
            listen.tcp_ports.clone_from(&self.tcp_port);
        }
        if self.control.is_some() {
            listen.control.clone_from(&self.control);
        }
        if let Some(name) = &self.tun {
            let mtu = self.tun_mtu.unwrap_or(TunSettings::DEFAULT_MTU);
            config.tun = Some(TunSettings { name: name.clone(), mtu });
        }
        Ok(config)
    }

    fn demo_options(&self) -> anyhow::Result<DemoOptions> {
        let address = match self.listen.as_slice() {
            [] => IpAddr::from([127, 0, 0, 1]),
            [address] if !address.is_unspecified() => *address,
            _ => anyhow::bail!("--demo takes one --listen address, which the client can connect to"),
        };
        anyhow::ensure!(
            self.ike_port != Some(0) && self.nat_port != Some(0) && !self.tcp_port.contains(&0),
            "--demo needs ports that the profile can name"
        );
        Ok(DemoOptions {
            address,
            ike_port: self.ike_port.unwrap_or(500),
            nat_port: self.nat_port.unwrap_or(4500),
            tcp_ports: match (self.tcp_port.as_slice(), self.nat_port) {
                ([], None) => demo::TCP_PORTS.to_vec(),
                ([], Some(port)) => vec![port],
                (ports, _) => ports.to_vec(),
            },
        })
    }

    fn announce(&self, ready: &Ready) -> anyhow::Result<()> {
        let line = serde_json::to_string(ready)?;
        match &self.ready_file {
            None => print_line(&line),
            Some(path) => {
                // Not `fs::write`: a pipe can't be truncated.
                let mut file =
                    std::fs::OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
                Ok(writeln!(file, "{line}")?)
            }
        }
    }

    fn start_log(&self) -> anyhow::Result<()> {
        let filter = EnvFilter::try_new(&self.log).context("--log")?;
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal());
        match self.log_format {
            LogFormat::Plain => log.init(),
            LogFormat::Json => log.json().init(),
        }
        Ok(())
    }
}

/// One line on the standard output, at once even into a pipe.
fn print_line(line: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    Ok(stdout.flush()?)
}

/// Ctrl-C.
async fn stop_signal() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        tracing::warn!(%error, "Ctrl-C can't be caught; use the control socket to stop");
        std::future::pending::<()>().await;
    }
}
