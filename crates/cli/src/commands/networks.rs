//! `evenkeel networks`.
use std::path::PathBuf;

use evenkeel_ipc::Request;

use crate::args::NetworksCommand;
use crate::daemon;
use crate::exit::Failure;
use crate::output::Output;
use crate::view;

pub(super) async fn run(
    command: NetworksCommand,
    socket: Option<PathBuf>,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut client = daemon::connect(socket).await?;
    match command {
        NetworksCommand::List { json } => {
            let networks = daemon::answer(client.networks()).await?;
            if json {
                return output.line(&super::json(&networks, true)?).map_err(Failure::from);
            }
            if networks.is_empty() {
                output.note("No networks yet. Each one is remembered once you have been connected on it.");
                return Ok(());
            }
            let text = view::network_list(&networks, super::now(), output.canvas());
            output.print(&text).map_err(Failure::from)
        }
        NetworksCommand::Show { id, json } => {
            let network = daemon::answer(client.network(id)).await?;
            if json {
                return output.line(&super::json(&network, true)?).map_err(Failure::from);
            }
            let text = view::network_details(&network, super::now(), output.canvas());
            output.print(&text).map_err(Failure::from)
        }
        NetworksCommand::Forget { id, all: _ } => {
            let (request, done) = match id {
                Some(id) => (Request::ForgetNetwork { id }, format!("Forgot {id}.")),
                None => (Request::ForgetNetworks, "Forgot all networks.".to_owned()),
            };
            daemon::answer(client.perform(request)).await?;
            output.line(&done).map_err(Failure::from)
        }
    }
}
