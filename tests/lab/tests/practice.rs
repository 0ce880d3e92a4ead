//! What the practice gateway leaves on a disk.

#![cfg(target_os = "linux")]

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use anyhow::{Context, ensure};
use evenkeel_lab::{Topology, practice::PracticeGateway, sandbox};

fn mode(path: &Path) -> anyhow::Result<u32> {
    Ok(fs::metadata(path).with_context(|| format!("looking at {}", path.display()))?.permissions().mode()
        & 0o777)
}

#[test]
fn nobody_else_can_read_the_demo() {
    sandbox::run(|| {
        let network = Topology::plain().build()?;
        let gateway = PracticeGateway::demo(&network.gateway, network.gateway_address())?;
        let profile = gateway.profile();
        let folder = profile.parent().context("the demo's folder")?;
        ensure!(mode(folder)? == 0o700, "{:o}", mode(folder)?);
        let files: Vec<_> =
            fs::read_dir(folder)?.map(|file| Ok(file?.path())).collect::<anyhow::Result<_>>()?;
        ensure!(files.len() == 5, "{files:?}");
        for file in files {
            ensure!(mode(&file)? == 0o600, "{:o} {}", mode(&file)?, file.display());
        }
        Ok(())
    });
}
