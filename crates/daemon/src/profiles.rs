//! Profiles and their secrets, behind the permission table.
//!
//! A profile's document and its secrets are kept apart: the document in the configuration folder, the secrets sealed in
//! the vault under the document's number and its owner. The vault binds both into the seal, so that a file that was
//! moved from one owner to another does not open.

mod store;

use std::path::Path;

use evenkeel_platform::credentials::{Vault, VaultError};
use evenkeel_platform::dirs::{self, DirError};
use evenkeel_platform::user::UserId;
use evenkeel_profile::{Profile, ProfileName, Secrets};
use zeroize::Zeroizing;

use crate::access::{Action, Caller, Denied, Ownership, permit};
pub use store::{MAX_PER_OWNER, ProfileStore, Record, RecordId, StoreError, Unreadable};

/// Everything that can go wrong with a profile that is kept here.
#[derive(Debug, thiserror::Error)]
pub enum ProfilesError {
    /// The caller has no profile of this name, and there is no managed one. Another user's looks the same.
    #[error("no such profile")]
    NotFound,
    /// The name is that of a managed profile, which a user's own would hide behind.
    #[error("a managed profile has this name")]
    NameIsManaged,
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The documents.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sealed secrets.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// What the vault gave back is no set of secrets.
    #[error("the sealed secrets of this profile are damaged")]
    Damaged,
    /// A folder.
    #[error(transparent)]
    Directory(#[from] DirError),
}

/// All profiles of this machine.
#[derive(Debug)]
pub struct Profiles {
    store: ProfileStore,
    vault: Vault,
    /// Managed secrets are sealed for the account that the daemon runs as.
    system: UserId,
}

impl Profiles {
    /// Opens what the two folders hold, creating what is missing.
    ///
    /// # Errors
    /// When a folder can't be used. Single documents that can't be read are returned beside the rest.
    pub fn open(
        config_dir: &Path,
        state_dir: &Path,
        system: UserId,
    ) -> Result<(Self, Vec<Unreadable>), ProfilesError> {
        let folder = config_dir.join("profiles");
        dirs::create_private(&folder)?;
        let vault = Vault::open(state_dir)?;
        let (store, unreadable) = ProfileStore::open(&folder)?;
        Ok((Self { store, vault, system }, unreadable))
    }

    /// What the caller may see: own profiles and managed ones, an administrator all.
    pub fn list(&self, caller: &Caller) -> impl Iterator<Item = &Record> {
        self.store.iter().filter(|record| permit(caller, Action::See(&record.owner)).is_ok())
    }

    /// The profile that the caller means by this name. A managed one comes first: nobody's own can take its place.
    ///
    /// # Errors
    /// [`ProfilesError::NotFound`], also for another user's.
    pub fn find(&self, caller: &Caller, name: &ProfileName) -> Result<&Record, ProfilesError> {
        [Ownership::Managed, Ownership::User(caller.user.clone())]
            .iter()
            .filter(|owner| permit(caller, Action::See(owner)).is_ok())
            .find_map(|owner| self.store.find(owner, name))
            .ok_or(ProfilesError::NotFound)
    }

    /// The profile that the caller means when asking to change it: the one that [`find`](Self::find) gives, unless only
    /// administrators may change that and a profile of the caller's own hides behind it.
    ///
    /// # Errors
    /// As for `find`.
    pub fn find_to_change(&self, caller: &Caller, name: &ProfileName) -> Result<&Record, ProfilesError> {
        let found = self.find(caller, name)?;
        let own = || self.store.find(&Ownership::User(caller.user.clone()), name);
        Ok(match permit(caller, Action::Change(&found.owner)) {
            Ok(()) => found,
            Err(_) => own().unwrap_or(found),
        })
    }

    /// The profile of exactly this owner and name, if there is one. To be asked before [`import`](Self::import).
    #[must_use]
    pub fn of(&self, owner: &Ownership, name: &ProfileName) -> Option<&Record> {
        self.store.find(owner, name)
    }

    /// Keeps a profile, in place of one of the same owner and name.
    ///
    /// # Errors
    /// When the caller may not, the name is taken by a managed profile, or it can't be written.
    pub fn import(
        &mut self,
        caller: &Caller,
        owner: Ownership,
        profile: Profile,
        secrets: &Secrets,
    ) -> Result<RecordId, ProfilesError> {
        permit(caller, Action::Change(&owner))?;
        if owner != Ownership::Managed && self.store.find(&Ownership::Managed, &profile.name).is_some() {
            return Err(ProfilesError::NameIsManaged);
        }
        let id = self.store.next_id();
        let account = self.account(&owner).clone();
        // Secrets first: a crash in between leaves sealed bytes under a number that the next import overwrites,
        // never a profile without the key that it was imported with.
        if secrets.is_empty() {
            self.vault.delete(&sealed_name(id), &account)?;
        } else {
            let plain = Zeroizing::new(serde_json::to_vec(secrets).map_err(|_| ProfilesError::Damaged)?);
            self.vault.seal(&sealed_name(id), &account, &plain)?;
        }
        if let Some(replaced) = self.store.insert(id, owner, profile)? {
            self.forget_secrets(replaced, &account);
        }
        Ok(id)
    }

    /// Forgets a profile and its secrets.
    ///
    /// # Errors
    /// When the caller may not, or the document can't be deleted.
    pub fn remove(&mut self, caller: &Caller, name: &ProfileName) -> Result<RecordId, ProfilesError> {
        let record = self.find_to_change(caller, name)?;
        permit(caller, Action::Change(&record.owner))?;
        let (id, account) = (record.id, self.account(&record.owner).clone());
        self.store.remove(id)?;
        self.forget_secrets(id, &account);
        Ok(id)
    }

    /// The profile and the secrets to connect with. The owner is checked here once more, next to the secrets.
    ///
    /// # Errors
    /// When the caller may not use it, or its secrets can't be opened.
    pub fn open_for_use(
        &self,
        caller: &Caller,
        name: &ProfileName,
    ) -> Result<(Record, Secrets), ProfilesError> {
        let record = self.find(caller, name)?;
        permit(caller, Action::Use(&record.owner))?;
        let sealed = self.vault.unseal(&sealed_name(record.id), self.account(&record.owner))?;
        let secrets = match sealed {
            Some(plain) => serde_json::from_slice(&plain).map_err(|_| ProfilesError::Damaged)?,
            None => Secrets::default(),
        };
        Ok((record.clone(), secrets))
    }

    /// Whether the secret that connecting needs is kept for this profile.
    #[must_use]
    pub fn has_secret(&self, record: &Record) -> bool {
        let sealed = self.vault.unseal(&sealed_name(record.id), self.account(&record.owner)).ok().flatten();
        let secrets = sealed.and_then(|plain| serde_json::from_slice::<Secrets>(&plain).ok());
        secrets.is_some_and(|secrets| secrets.of(record.profile.method().secret()).is_some())
    }

    fn account<'a>(&'a self, owner: &'a Ownership) -> &'a UserId {
        match owner {
            Ownership::Managed => &self.system,
            Ownership::User(user) => user,
        }
    }

    fn forget_secrets(&self, id: RecordId, account: &UserId) {
        if let Err(error) = self.vault.delete(&sealed_name(id), account) {
            tracing::warn!(%error, profile = %id, "could not delete sealed secrets");
        }
    }
}

fn sealed_name(id: RecordId) -> String {
    format!("profile-{id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_profile::Secret;
    use std::fs;
    use tempfile::TempDir;

    struct Machine {
        config: TempDir,
        state: TempDir,
    }

    impl Machine {
        fn new() -> Self {
            Self { config: tempfile::tempdir().unwrap(), state: tempfile::tempdir().unwrap() }
        }

        /// What a daemon sees that starts now; also what one sees that starts again after a crash.
        fn start(&self) -> (Profiles, Vec<Unreadable>) {
            Profiles::open(self.config.path(), self.state.path(), UserId::Uid(0)).unwrap()
        }

        fn documents(&self) -> Vec<String> {
            let mut names: Vec<String> = fs::read_dir(self.config.path().join("profiles"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    fn user(uid: u32) -> Caller {
        Caller { user: UserId::Uid(uid), administrator: uid == 0 }
    }

    fn own(uid: u32) -> Ownership {
        Ownership::User(UserId::Uid(uid))
    }

    fn name(text: &str) -> ProfileName {
        text.parse().unwrap()
    }

    fn profile(name: &str, gateway: &str) -> Profile {
        serde_json::from_value(serde_json::json!({
            "name": name, "gateway": gateway, "remote_id": "vpn.example", "auth": { "method": "psk" },
        }))
        .unwrap()
    }

    fn psk(text: &str) -> Secrets {
        Secrets { psk: Some(Secret::new(text)), ..Secrets::default() }
    }

    fn gateway_and_psk(profiles: &Profiles, uid: u32, wanted: &str) -> (String, String) {
        let (record, secrets) = profiles.open_for_use(&user(uid), &name(wanted)).unwrap();
        (record.profile.gateway.to_string(), secrets.psk.unwrap().expose().to_owned())
    }

    #[test]
    fn a_profile_and_its_secret_survive_a_restart() {
        let machine = Machine::new();
        let (mut profiles, _) = machine.start();
        profiles.import(&user(1000), own(1000), profile("Lab", "192.0.2.1"), &psk("one")).unwrap();
        let (profiles, unreadable) = machine.start();
        assert!(unreadable.is_empty());
        assert_eq!(gateway_and_psk(&profiles, 1000, "Lab"), ("192.0.2.1".into(), "one".into()));
    }

    #[test]
    fn no_document_holds_a_secret() {
        let machine = Machine::new();
        let (mut profiles, _) = machine.start();
        profiles.import(&user(1000), own(1000), profile("Lab", "192.0.2.1"), &psk("correct horse")).unwrap();
        for document in machine.documents() {
            let text = fs::read_to_string(machine.config.path().join("profiles").join(document)).unwrap();
            assert!(!text.contains("correct horse"));
        }
    }

    #[test]
    fn importing_the_same_name_again_replaces_profile_and_secret() {
        let machine = Machine::new();
        let (mut profiles, _) = machine.start();
        profiles.import(&user(1000), own(1000), profile("Lab", "192.0.2.1"), &psk("one")).unwrap();
        profiles.import(&user(1000), own(1000), profile("Lab", "192.0.2.2"), &psk("two")).unwrap();
        assert_eq!(machine.documents(), ["2.json"]);
        assert_eq!(gateway_and_psk(&profiles, 1000, "Lab"), ("192.0.2.2".into(), "two".into()));
    }

    #[test]
    fn two_users_may_use_one_name_for_two_profiles() {
        let machine = Machine::new();
        let (mut profiles, _) = machine.start();
        profiles.import(&user(1000), own(1000), profile("Lab", "192.0.2.1"), &psk("one")).unwrap();
        profiles.import(&user(1001), own(1001), profile("Lab", "192.0.2.2"), &psk("two")).unwrap();
        assert_eq!(gateway_and_psk(&profiles, 1000, "Lab"), ("192.0.2.1".into(), "one".into()));
        assert_eq!(gateway_and_psk(&profiles, 1001, "Lab"), ("192.0.2.2".into(), "two".into()));
        assert_eq!(profiles.list(&user(1000)).count(), 1);
        assert_eq!(profiles.list(&user(0)).count(), 2);
    }

    #[test]
    fn a_profile_can_be_put_under_nobody_elses_name() {
        let machine = Machine::new();
        let (mut profiles, _) = machine.start();
        let refused = profiles.import(&user(1001), own(1000), profile("Lab", "192.0.2.9"), &psk("trap"));
        assert!(matches!(refused, Err(ProfilesError::Denied(Denied::NotYours))));
        let refused =
            profiles.import(&user(1001), Ownership::Managed, profile("Lab", "192.0.2.9"), &psk("trap"));
        assert!(matches!(refused, Err(ProfilesError::Denied(Denied::NeedsAdministrator))));
        assert!(machine.documents().is_empty());
    }

    #[test]
    fn a_managed_profile_can_be_used_by_all_changed_by_administrators_and_hidden_by_nobody() {
        let machine = Machine::new();
        let (mut profiles, _) = machine.start();
        profiles.import(&user(0), Ownership::Managed, profile("Corp", "192.0.2.1"), &psk("corp")).unwrap();
        assert_eq!(gateway_and_psk(&profiles, 1000, "Corp"), ("192.0.2.1".into(), "corp".into()));
        let hidden = profiles.import(&user(1000), own(1000), profile("Corp", "192.0.2.9"), &psk("trap"));
        assert!(matches!(hidden, Err(ProfilesError::NameIsManaged)));
        let removed = profiles.remove(&user(1000), &name("Corp"));
        assert!(matches!(removed, Err(ProfilesError::Denied(Denied::NeedsAdministrator))));
        profiles.remove(&user(0), &name("Corp")).unwrap();
        assert!(machine.documents().is_empty());
    }

    #[test]
    fn a_profile_that_a_managed_one_of_its_name_hides_can_still_be_removed() {
        let machine = Machine::new();
        let (mut profiles, _) = machine.start();
        let own_id =
            profiles.import(&user(1000), own(1000), profile("Corp", "192.0.2.9"), &psk("mine")).unwrap();
        profiles.import(&user(0), Ownership::Managed, profile("Corp", "192.0.2.1"), &psk("corp")).unwrap();
        assert_eq!(gateway_and_psk(&profiles, 1000, "Corp"), ("192.0.2.1".into(), "corp".into()));
        assert_eq!(profiles.remove(&user(1000), &name("Corp")).unwrap(), own_id);
        let again = profiles.remove(&user(1000), &name("Corp"));
        assert!(matches!(again, Err(ProfilesError::Denied(Denied::NeedsAdministrator))));
        assert_eq!(profiles.list(&user(1000)).count(), 1);
    }

    #[test]
    fn another_users_profile_does_not_exist_for_you_whatever_you_ask() {
        let machine = Machine::new();
        let (mut profiles, _) = machine.start();
        profiles.import(&user(1000), own(1000), profile("Lab", "192.0.2.1"), &psk("one")).unwrap();
        for uid in [1001, 0] {
            let (caller, lab) = (user(uid), name("Lab"));
            assert!(matches!(profiles.open_for_use(&caller, &lab), Err(ProfilesError::NotFound)));
            assert!(matches!(profiles.remove(&caller, &lab), Err(ProfilesError::NotFound)));
        }
    }

    #[test]
    fn removing_a_profile_removes_its_secret() {
        let machine = Machine::new();
        let (mut profiles, _) = machine.start();
        profiles.import(&user(1000), own(1000), profile("Lab", "192.0.2.1"), &psk("one")).unwrap();
        profiles.remove(&user(1000), &name("Lab")).unwrap();
        // The number is free again; what was sealed under it must not come back.
        profiles.import(&user(1000), own(1000), profile("Lab", "192.0.2.1"), &Secrets::default()).unwrap();
        let (_, secrets) = profiles.open_for_use(&user(1000), &name("Lab")).unwrap();
        assert!(secrets.is_empty());
    }

    #[test]
    fn a_secret_for_something_else_is_not_the_one_that_connecting_needs() {
        let machine = Machine::new();
        let (mut profiles, _) = machine.start();
        let wireguard = Secrets { wireguard_private_key: Some(Secret::new("key")), ..Secrets::default() };
        profiles.import(&user(1000), own(1000), profile("Lab", "192.0.2.1"), &wireguard).unwrap();
        let (record, kept) = profiles.open_for_use(&user(1000), &name("Lab")).unwrap();
        assert!(!kept.is_empty() && !profiles.has_secret(&record));
        profiles.import(&user(1000), own(1000), profile("Lab", "192.0.2.1"), &psk("one")).unwrap();
        let (record, _) = profiles.open_for_use(&user(1000), &name("Lab")).unwrap();
        assert!(profiles.has_secret(&record));
    }

    #[test]
    fn a_crash_between_the_new_document_and_the_end_of_the_old_leaves_the_new_one() {
        let machine = Machine::new();
        let (mut profiles, _) = machine.start();
        profiles.import(&user(1000), own(1000), profile("Lab", "192.0.2.1"), &psk("one")).unwrap();
        let folder = machine.config.path().join("profiles");
        let old = fs::read(folder.join("1.json")).unwrap();
        profiles.import(&user(1000), own(1000), profile("Lab", "192.0.2.2"), &psk("two")).unwrap();
        fs::write(folder.join("1.json"), old).unwrap();
        let (profiles, _) = machine.start();
        assert_eq!(gateway_and_psk(&profiles, 1000, "Lab"), ("192.0.2.2".into(), "two".into()));
        assert_eq!(machine.documents(), ["2.json"]);
    }

    #[test]
    fn a_document_torn_anywhere_costs_only_itself() {
        let machine = Machine::new();
        let (mut profiles, _) = machine.start();
        profiles.import(&user(1000), own(1000), profile("Lab", "192.0.2.1"), &psk("one")).unwrap();
        profiles.import(&user(1000), own(1000), profile("Home", "192.0.2.2"), &psk("two")).unwrap();
        let folder = machine.config.path().join("profiles");
        let whole = fs::read(folder.join("1.json")).unwrap();
        for length in 0..whole.len() - 1 {
            fs::write(folder.join("1.json"), &whole[..length]).unwrap();
            let (profiles, unreadable) = machine.start();
            assert_eq!(unreadable.len(), 1, "{length}");
            assert_eq!(gateway_and_psk(&profiles, 1000, "Home").1, "two");
        }
        // Its number is not given away while it lies there.
        let (mut profiles, _) = machine.start();
        let id = profiles.import(&user(1000), own(1000), profile("Lab", "192.0.2.1"), &psk("one")).unwrap();
        assert_eq!(id.to_string(), "3");
    }

    #[test]
    fn only_regular_files_are_documents() {
        let machine = Machine::new();
        let (mut profiles, _) = machine.start();
        profiles.import(&user(1000), own(1000), profile("Lab", "192.0.2.1"), &psk("one")).unwrap();
        fs::create_dir(machine.config.path().join("profiles/2.json")).unwrap();
        let (profiles, unreadable) = machine.start();
        assert_eq!((profiles.list(&user(1000)).count(), unreadable.len()), (1, 1));
    }

    #[test]
    fn nobody_fills_the_disk_with_profiles() {
        let machine = Machine::new();
        let (mut profiles, _) = machine.start();
        for number in 0..MAX_PER_OWNER {
            let profile = profile(&format!("P{number}"), "192.0.2.1");
            profiles.import(&user(1000), own(1000), profile, &Secrets::default()).unwrap();
        }
        let one_more = profiles.import(&user(1000), own(1000), profile("more", "192.0.2.1"), &psk("x"));
        assert!(matches!(one_more, Err(ProfilesError::Store(StoreError::TooMany))));
        profiles.import(&user(1000), own(1000), profile("P7", "192.0.2.2"), &psk("x")).unwrap();
        profiles.import(&user(1001), own(1001), profile("P7", "192.0.2.2"), &psk("x")).unwrap();
    }
}
