//! Requests, responses and notifications.
use evenkeel_profile::{Host, Method, Profile, ProfileName, Secret, SecretKind, Secrets};
use serde::{Deserialize, Serialize};

use crate::{NetworkId, RememberedNetwork, Status, Timestamp};

/// First frame of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The protocol that it speaks.
    pub protocol: u32,
    /// Name and version, for the daemon's log.
    pub client: String,
}

/// First frame of the daemon, whether or not it goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The protocol that it speaks. If it isn't the client's, the connection ends here.
    pub protocol: u32,
    /// The daemon's release.
    pub daemon: String,
}

/// Ties a response to its request. The client chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u64);

/// Any further frame of a client. No `Debug`: it may carry secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientFrame {
    /// Chosen by the client.
    pub id: RequestId,
    /// What it wants.
    pub request: Request,
}

/// Any further frame of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerFrame {
    /// What was asked for.
    Response {
        /// The request's.
        id: RequestId,
        /// The answer.
        response: Response,
    },
    /// Why not.
    Error {
        /// The request's.
        id: RequestId,
        /// The reason.
        error: RequestError,
    },
    /// Something happened.
    Notification(Notification),
}

/// What a client may ask. No `Debug`: two of them carry secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "one request at a time is in memory")]
pub enum Request {
    /// Store a profile: [`Response::Done`].
    ImportProfile {
        /// The profile, every reference resolved.
        profile: Profile,
        /// What came with it.
        secrets: Secrets,
        /// For every user of this machine; needs an administrator.
        managed: bool,
        /// Take the place of a profile of the same name.
        replace: bool,
    },
    /// [`Response::Profiles`].
    ListProfiles,
    /// [`Response::Profile`].
    ShowProfile {
        /// Which.
        name: ProfileName,
    },
    /// [`Response::Done`].
    RemoveProfile {
        /// Which.
        name: ProfileName,
    },
    /// Begin to connect: [`Response::Done`] once the status speaks of this attempt; the outcome is in the status.
    Connect {
        /// Which profile.
        name: ProfileName,
        /// Its password, pre-shared key or passphrase, if the daemon has none stored.
        secret: Option<Secret>,
    },
    /// Begin to disconnect: [`Response::Done`], also if there is nothing to disconnect; the outcome is in the status.
    Disconnect,
    /// [`Response::Status`].
    Status,
    /// [`Response::Status`], and a [`Notification::Status`] with each change and, while traffic flows, about
    /// once a second, until the connection ends.
    WatchStatus,
    /// [`Response::Networks`].
    Networks,
    /// [`Response::Network`].
    ShowNetwork {
        /// Which.
        id: NetworkId,
    },
    /// [`Response::Done`] once nothing of it is left on disk.
    ForgetNetwork {
        /// Which.
        id: NetworkId,
    },
    /// [`Response::Done`] once nothing of them is left on disk.
    ForgetNetworks,
    /// [`Response::Log`].
    Log {
        /// The last so many lines; the daemon may have fewer.
        lines: u32,
    },
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// It is done, or under way.
    Done,
    /// The profiles that the caller may use.
    Profiles(Vec<ProfileSummary>),
    /// One of them.
    Profile(ProfileDetails),
    /// The connection.
    Status(Status),
    /// The networks that are remembered, the last visited first.
    Networks(Vec<RememberedNetwork>),
    /// One of them.
    Network(RememberedNetwork),
    /// The daemon's log, oldest line first.
    Log(Vec<LogLine>),
}

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "kebab-case", rename_all_fields = "snake_case")]
pub enum RequestError {
    /// The caller may not do this.
    #[error("not permitted")]
    NotPermitted,
    /// There is no such profile, or it is another user's.
    #[error("no profile '{name}'")]
    ProfileNotFound {
        /// Its name.
        name: ProfileName,
    },
    /// There is no such network among the remembered ones.
    #[error("no network '{id}'")]
    NetworkNotFound {
        /// Its ID.
        id: NetworkId,
    },
    /// There is one of this name.
    #[error("profile '{name}' exists")]
    ProfileExists {
        /// Its name.
        name: ProfileName,
    },
    /// The profile is in use.
    #[error("profile '{name}' is in use")]
    ProfileInUse {
        /// Its name.
        name: ProfileName,
    },
    /// The profile says something that the engine can't do.
    #[error("profile key '{key}' can't be used: {detail}")]
    ProfileUnusable {
        /// The key, dotted.
        key: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A secret is needed and the daemon has none stored.
    #[error("a secret is needed")]
    SecretNeeded {
        /// Which.
        secret: SecretKind,
    },
    /// Another connection is up, or coming up.
    #[error("already connected with '{active}'")]
    Busy {
        /// The profile it uses.
        active: ProfileName,
    },
    /// Somebody asked to disconnect before it was done.
    #[error("cancelled")]
    Cancelled,
    /// More profiles, clients or requests than the daemon takes.
    #[error("too many")]
    LimitReached,
    /// A fault of the daemon's own; its log says more.
    #[error("internal error: {detail}")]
    Internal {
        /// What.
        detail: String,
    },
}

/// What the daemon says unasked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notification {
    /// The connection changed, or its counters did.
    Status(Status),
}

/// A profile in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileSummary {
    /// Its name.
    pub name: ProfileName,
    /// Its gateway.
    pub gateway: Host,
    /// Its authentication method.
    pub method: Method,
    /// Whose it is.
    pub ownership: Ownership,
    /// Whether it is the one in use.
    pub active: bool,
}

/// Whose profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ownership {
    /// The caller's own.
    Own,
    /// For every user of this machine.
    Managed,
    /// Another user's; administrators see them.
    Other,
}

/// A profile in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileDetails {
    /// As in a list.
    pub summary: ProfileSummary,
    /// What it says.
    pub profile: Profile,
    /// Whether the daemon has the secret to connect stored.
    pub secret_stored: bool,
}

/// A line of the daemon's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When.
    pub at: Timestamp,
    /// How grave.
    pub level: LogLevel,
    /// Which part of the daemon.
    pub target: String,
    /// What.
    pub message: String,
}

/// How grave a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something is odd.
    Warn,
    /// What is going on.
    Info,
    /// For developers.
    Debug,
    /// For developers, in detail.
    Trace,
}
