//! What each request does.

use std::sync::Arc;

use evenkeel_ipc::{
    LogLevel, LogLine, Ownership as Whose, ProfileDetails, ProfileSummary, Request, RequestError, Response,
};
use evenkeel_platform::trust;
use evenkeel_profile::{Method, Profile, ProfileName, Secret, Secrets};
use tracing::Level;

use super::Services;
use crate::access::{Action, Caller, Denied, Ownership, permit};
use crate::control::{Activation, Active, Engine};
use crate::logging::Entry;
use crate::profiles::{Profiles, ProfilesError, Record, StoreError};

impl Services {
    /// Answers one request. Every arm ends in the permission table: through [`Profiles`], or in the control task.
    pub(super) async fn handle(
        self: &Arc<Self>,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, RequestError> {
        match request {
            Request::ImportProfile { profile, secrets, managed, replace } => {
                self.import(caller, profile, secrets, managed, replace).await
            }
            Request::ListProfiles => self.list(caller).await,
            Request::ShowProfile { name } => self.show(caller, name).await,
            Request::RemoveProfile { name } => self.remove(caller, name).await,
            Request::Connect { name, secret } => self.connect(caller, name, secret).await,
            Request::Disconnect => self.control.disconnect(caller.clone()).await.map(|()| Response::Done),
            Request::Status | Request::WatchStatus => {
                self.control.status(caller.clone()).await.map(Response::Status)
            }
            Request::Networks => self.control.networks(caller.clone()).await.map(Response::Networks),
            Request::ShowNetwork { id } => {
                self.control.network(caller.clone(), id).await.map(Response::Network)
            }
            Request::ForgetNetwork { id } => {
                self.control.forget_networks(caller.clone(), Some(id)).await.map(|()| Response::Done)
            }
            Request::ForgetNetworks => {
                self.control.forget_networks(caller.clone(), None).await.map(|()| Response::Done)
            }
            Request::Log { lines } => {
                let count = usize::try_from(lines).unwrap_or(usize::MAX);
                Ok(Response::Log(self.log.tail(caller, count).into_iter().map(log_line).collect()))
            }
        }
    }

    async fn import(
        self: &Arc<Self>,
        caller: &Caller,
        profile: Profile,
        secrets: Secrets,
        managed: bool,
        replace: bool,
    ) -> Result<Response, RequestError> {
        let owner = if managed { Ownership::Managed } else { Ownership::User(caller.user.clone()) };
        permit(caller, Action::Change(&owner)).map_err(|_| RequestError::NotPermitted)?;
        let active = self.control.active().await?;
        self.with_profiles(caller, move |profiles, caller| {
            let name = profile.name.clone();
            if let Some(record) = profiles.of(&owner, &name) {
                if !replace {
                    return Err(RequestError::ProfileExists { name });
                }
                not_in_use(active.as_ref(), record)?;
            }
            profiles.import(caller, owner, profile, &secrets).map_err(|error| refusal(error, &name))?;
            Ok(Response::Done)
        })
        .await
    }

    async fn list(self: &Arc<Self>, caller: &Caller) -> Result<Response, RequestError> {
        let active = self.control.active().await?;
        self.with_profiles(caller, move |profiles, caller| {
            let summaries = profiles.list(caller).map(|record| summary(record, caller, active.as_ref()));
            Ok(Response::Profiles(summaries.collect()))
        })
        .await
    }

    async fn show(self: &Arc<Self>, caller: &Caller, name: ProfileName) -> Result<Response, RequestError> {
        let active = self.control.active().await?;
        self.with_profiles(caller, move |profiles, caller| {
            let record = profiles.find(caller, &name).map_err(|error| refusal(error, &name))?;
            Ok(Response::Profile(ProfileDetails {
                summary: summary(record, caller, active.as_ref()),
                profile: record.profile.clone(),
                secret_stored: profiles.has_secret(record),
            }))
        })
        .await
    }

    async fn remove(self: &Arc<Self>, caller: &Caller, name: ProfileName) -> Result<Response, RequestError> {
        let active = self.control.active().await?;
        self.with_profiles(caller, move |profiles, caller| {
            let record = profiles.find_to_change(caller, &name).map_err(|error| refusal(error, &name))?;
            not_in_use(active.as_ref(), record)?;
            profiles.remove(caller, &name).map_err(|error| refusal(error, &name))?;
            Ok(Response::Done)
        })
        .await
    }

    async fn connect(
        self: &Arc<Self>,
        caller: &Caller,
        name: ProfileName,
        given: Option<Secret>,
    ) -> Result<Response, RequestError> {
        let activation = self
            .with_profiles(caller, move |profiles, caller| {
                let (record, mut secrets) =
                    profiles.open_for_use(caller, &name).map_err(|error| refusal(error, &name))?;
                let method = record.profile.method();
                // A private key comes with the profile, never with the wish to connect.
                if let (Some(given), Method::EapMschapv2 | Method::Psk) = (given, method) {
                    secrets.set(method.secret(), given);
                }
                let engine = Engine::new(&record.profile, &secrets, trust::system_roots)?;
                Ok(Activation { record, engine })
            })
            .await?;
        self.control.connect(caller.clone(), activation).await?;
        Ok(Response::Done)
    }

    /// Files are read, written and synced where blocking is allowed.
    async fn with_profiles<T: Send + 'static>(
        self: &Arc<Self>,
        caller: &Caller,
        work: impl FnOnce(&mut Profiles, &Caller) -> Result<T, RequestError> + Send + 'static,
    ) -> Result<T, RequestError> {
        let (services, caller) = (Arc::clone(self), caller.clone());
        let work = move || work(&mut services.profiles(), &caller);
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(internal("profiles")))
    }
}

fn not_in_use(active: Option<&Active>, record: &Record) -> Result<(), RequestError> {
    match active {
        Some(active) if active.profile == record.id => {
            Err(RequestError::ProfileInUse { name: record.profile.name.clone() })
        }
        Some(_) | None => Ok(()),
    }
}

fn summary(record: &Record, caller: &Caller, active: Option<&Active>) -> ProfileSummary {
    ProfileSummary {
        name: record.profile.name.clone(),
        gateway: record.profile.gateway.clone(),
        method: record.profile.method(),
        ownership: match &record.owner {
            Ownership::Managed => Whose::Managed,
            Ownership::User(user) if *user == caller.user => Whose::Own,
            Ownership::User(_) => Whose::Other,
        },
        // That somebody else uses a managed profile is that user's business.
        active: active.is_some_and(|active| active.profile == record.id && caller.may_act_for(&active.user)),
    }
}

/// What the caller hears. Paths and system errors are for the log: they are the machine's, not the caller's.
fn refusal(error: ProfilesError, name: &ProfileName) -> RequestError {
    match error {
        ProfilesError::NotFound | ProfilesError::Denied(Denied::NotYours) => {
            RequestError::ProfileNotFound { name: name.clone() }
        }
        ProfilesError::NameIsManaged => RequestError::ProfileExists { name: name.clone() },
        ProfilesError::Denied(Denied::NeedsAdministrator | Denied::ConnectionInUse) => {
            RequestError::NotPermitted
        }
        ProfilesError::Store(StoreError::TooMany) => RequestError::LimitReached,
        error @ (ProfilesError::Store(StoreError::Io { .. })
        | ProfilesError::Vault(_)
        | ProfilesError::Damaged
        | ProfilesError::Directory(_)) => {
            tracing::error!(%error, "profiles");
            internal("profiles")
        }
    }
}

fn internal(what: &str) -> RequestError {
    RequestError::Internal { detail: what.to_owned() }
}

fn log_line(entry: Entry) -> LogLine {
    LogLine {
        at: entry.at.into(),
        level: match entry.level {
            Level::ERROR => LogLevel::Error,
            Level::WARN => LogLevel::Warn,
            Level::INFO => LogLevel::Info,
            Level::DEBUG => LogLevel::Debug,
            Level::TRACE => LogLevel::Trace,
        },
        target: entry.target.to_owned(),
        message: entry.text,
    }
}
