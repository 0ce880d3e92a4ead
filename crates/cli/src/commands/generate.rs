//! What is generated from the command line's own description.
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Args;
use crate::exit::Failure;
use crate::output::Output;

/// Prints a completion script.
pub(super) fn completions(shell: Shell, output: &mut Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "evenkeel", &mut script);
    output.print(&String::from_utf8_lossy(&script)).map_err(Failure::from)
}

/// Writes one page for the program and one for each command.
pub(super) fn manual(dir: &Path, output: &mut Output) -> Result<(), Failure> {
    let command = Args::command().after_long_help(None::<&str>);
    clap_mangen::generate_to(command, dir)?;
    // The main page once more, with the exit codes laid out as they are in --help.
    let page = clap_mangen::Man::new(Args::command());
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    page.render_subcommands_section(&mut text)?;
    text.extend_from_slice(exit_section().as_bytes());
    page.render_version_section(&mut text)?;
    std::fs::write(dir.join("evenkeel.1"), text)?;
    output.line(&format!("Manual pages written to {}", crate::escape::plain(&dir.display().to_string())))?;
    Ok(())
}

fn exit_section() -> String {
    let mut text = ".SH \"EXIT STATUS\"\n".to_owned();
    for (exit, meaning) in crate::exit::Exit::ALL {
        text.push_str(&format!(".TP\n.B {}\n{meaning}\n", exit.code()));
    }
    text
}
