//! Numeric user ids and the groups that make an administrator.

use std::{ffi::CString, io};

use nix::unistd::{Gid, Group, Uid, User, geteuid};

use super::UserId;

/// Membership in one of these makes an account an administrator: Debian's and Ubuntu's `sudo`,
/// `wheel` of Fedora, Arch and openSUSE, `admin` of macOS and old Ubuntu.
const ADMIN_GROUPS: [&str; 3] = ["sudo", "wheel", "admin"];

pub(super) fn current() -> io::Result<UserId> {
    Ok(UserId::Uid(geteuid().as_raw()))
}

/// Whether `uid` may administer this machine. Asks the user database, which may be a directory
/// server: call it where blocking is allowed. What cannot be found out counts as "no".
pub(crate) fn is_admin(uid: u32) -> bool {
    uid == 0 || admin_by_group(uid).unwrap_or(false)
}

fn admin_by_group(uid: u32) -> nix::Result<bool> {
    let Some(user) = User::from_uid(Uid::from_raw(uid))? else { return Ok(false) };
    let Ok(name) = CString::new(user.name.clone()) else { return Ok(false) };
    let groups = member_of(&name, &user)?;
    for admin in ADMIN_GROUPS {
        if let Some(group) = Group::from_name(admin)?
            && groups.contains(&group.gid)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(target_os = "linux")]
fn member_of(name: &std::ffi::CStr, user: &User) -> nix::Result<Vec<Gid>> {
    nix::unistd::getgrouplist(name, user.gid)
}

/// nix has no `getgrouplist` for Apple systems; the member lists of the few groups in question say
/// the same.
#[cfg(not(target_os = "linux"))]
fn member_of(_name: &std::ffi::CStr, user: &User) -> nix::Result<Vec<Gid>> {
    let mut groups = vec![user.gid];
    for admin in ADMIN_GROUPS {
        if let Some(group) = Group::from_name(admin)?
            && group.mem.contains(&user.name)
        {
            groups.push(group.gid);
        }
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_an_administrator_and_an_unknown_account_is_not() {
        assert!(is_admin(0));
        assert!(!is_admin(4_000_000_001));
    }
}
