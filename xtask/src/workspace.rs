//! Facts about the workspace: where it is, what is in it, what depends on what.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde_json::Value;

use crate::process::Step;

/// The folder of the workspace's `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest_dir.parent().unwrap_or(manifest_dir)
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    // Every step runs in the root, so that is where a relative one begins.
    root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// Files that git knows, and new ones that it does not ignore, relative to the root.
pub(crate) fn files(pattern: &str) -> anyhow::Result<Vec<PathBuf>> {
    let listed = Step::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", pattern])
        .output()?;
    Ok(listed.lines().map(PathBuf::from).filter(|file| root().join(file).is_file()).collect())
}

/// The normal dependencies of every package in the graph, all targets and all features of ours included.
pub(crate) struct Graph {
    names: BTreeMap<String, String>,
    normal: BTreeMap<String, BTreeSet<String>>,
    members: BTreeSet<String>,
}

impl Graph {
    pub(crate) fn load() -> anyhow::Result<Self> {
        let text = Step::cargo()
            .args(["metadata", "--format-version", "1", "--all-features", "--locked"])
            .output()?;
        let metadata: Value = serde_json::from_str(&text).context("cargo metadata")?;
        let string = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();

        let names = list(&metadata["packages"])
            .iter()
            .map(|package| (string(&package["id"]), string(&package["name"])))
            .collect();
        let normal = list(&metadata["resolve"]["nodes"])
            .iter()
            .map(|node| {
                let dependencies = list(&node["deps"])
                    .iter()
                    .filter(|dependency| {
                        list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null())
                    })
                    .map(|dependency| string(&dependency["pkg"]))
                    .collect();
                (string(&node["id"]), dependencies)
            })
            .collect();
        let members = list(&metadata["workspace_members"]).iter().map(string).collect();
        Ok(Self { names, normal, members })
    }

    /// Names of the workspace's own packages.
    pub(crate) fn members(&self) -> BTreeSet<&str> {
        self.members.iter().map(|id| self.name(id)).collect()
    }

    /// The workspace packages that `package` names as its dependencies.
    pub(crate) fn own_dependencies(&self, package: &str) -> BTreeSet<&str> {
        self.ids(package)
            .filter_map(|id| self.normal.get(id))
            .flatten()
            .filter(|id| self.members.contains(*id))
            .map(|id| self.name(id))
            .collect()
    }

    /// Everything that a build of `package` links, itself included.
    pub(crate) fn closure(&self, package: &str) -> BTreeSet<&str> {
        let mut open: Vec<&str> = self.ids(package).collect();
        let mut seen = BTreeSet::new();
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                open.extend(self.normal.get(id).into_iter().flatten().map(String::as_str));
            }
        }
        seen.into_iter().map(|id| self.name(id)).collect()
    }

    fn ids<'a>(&'a self, package: &str) -> impl Iterator<Item = &'a str> {
        let wanted = package.to_owned();
        self.members.iter().map(String::as_str).filter(move |id| self.name(id) == wanted)
    }

    fn name<'a>(&'a self, id: &'a str) -> &'a str {
        self.names.get(id).map_or(id, String::as_str)
    }
}
