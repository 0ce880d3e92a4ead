//! One side could not prove who it is.
use evenkeel_ipc::{Cause, EapFault, Status};
use evenkeel_profile::SecretKind;

use super::{ASK_OPERATOR, Explanation, gateway, unworded};
use crate::escape::plain;

const CHECK_CA: &str = "Don't go round this: somebody may be in between. Ask whoever runs the gateway for its CA \
                        certificate and import the profile again with it.";

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "one category a function; the last arm words any other code"
)]
pub(super) fn authentication(cause: &Cause, status: &Status) -> Explanation {
    let gateway = gateway(status);
    let account = |what: &str, why: &str| Explanation::new(what, why, "Ask whoever runs your accounts.");
    match cause {
        Cause::AuthenticationRejected => Explanation::new(
            "The gateway did not accept who you are.",
            format!(
                "{gateway} refused your key, certificate or identity and does not say which (AUTHENTICATION_FAILED)."
            ),
            "Check the pre-shared key or certificate, and local_id in the profile; the gateway's log says what it disliked.",
        ),
        Cause::WrongPassword => Explanation::new(
            "The user name or the password is wrong.",
            format!("{gateway} says so (MSCHAPv2 error 691)."),
            "Try again. If it keeps happening, check the user name in the profile, and whether the password changed.",
        ),
        Cause::PasswordExpired => Explanation::new(
            "Your password has expired.",
            "The gateway says so (MSCHAPv2 error 648).",
            "Change it where you usually do, the intranet say, then connect with the new one.",
        ),
        Cause::AccountDisabled => {
            account("Your account is disabled.", "The gateway says so (MSCHAPv2 error 647).")
        }
        Cause::OutsideLogonHours => {
            account("Your account may not connect at this hour.", "The gateway says so (MSCHAPv2 error 646).")
        }
        Cause::NoDialInPermission => account(
            "Your account may not use the VPN.",
            "It has no permission to dial in, says the gateway (MSCHAPv2 error 649).",
        ),
        Cause::EapRejected { error } => Explanation::new(
            "The gateway did not accept user name and password.",
            match error {
                Some(number) => format!("It answered with MSCHAPv2 error {number}."),
                None => "It ended EAP with a failure and gave no reason.".to_owned(),
            },
            "Check the user name in the profile and the password; then ask whoever runs the gateway.",
        ),
        Cause::EapMethodUnsupported { method } => Explanation::new(
            "The gateway wants to check you in a way that Evenkeel can't do.",
            format!("It insists on EAP method {method}; Evenkeel has MSCHAPv2."),
            "Ask whoever runs the gateway to allow EAP-MSCHAPv2, or for a certificate.",
        ),
        Cause::EapProtocol { fault } => Explanation::new(
            "The gateway could not be trusted with your password.",
            match fault {
                EapFault::EarlySuccess => "It claimed success before it had proved to know your password.",
                EapFault::ServerNotAuthentic => "It could not prove to know your password.",
                EapFault::Malformed => "It sent EAP packets that can't be read.",
                EapFault::Unexpected => "It sent EAP packets out of turn.",
            },
            "Nothing you can mend; tell whoever runs the gateway.",
        ),
        Cause::SecretMissing { secret } => secret_missing(*secret),
        Cause::PskMismatch => Explanation::new(
            "You and the gateway don't have the same pre-shared key.",
            "What the gateway sent was not made with the key that you gave.",
            "Type the key again, exactly; also check remote_id in the profile.",
        ),
        Cause::GatewayAuthInvalid => Explanation::new(
            "The gateway could not prove who it is.",
            format!("Its signature does not fit its certificate, so this may not be {gateway}."),
            "Try from another network. If it happens there too, tell whoever runs the gateway.",
        ),
        Cause::GatewayAuthMethod => Explanation::new(
            "The gateway proves itself in another way than the profile says.",
            "One side uses a pre-shared key where the other expects a certificate.",
            "Check auth.method in the profile with whoever runs the gateway.",
        ),
        Cause::GatewayIdentity { expected, presented } => Explanation::new(
            "The gateway is not the one that the profile names.",
            format!("It says it is {}; the profile expects {}.", plain(presented), plain(expected)),
            "If the gateway's name changed, correct remote_id in the profile; otherwise somebody may be in between.",
        ),
        Cause::GatewayCertificateMissing => Explanation::new(
            "The gateway did not show a certificate.",
            "Without one it can't prove who it is.",
            ASK_OPERATOR,
        ),
        Cause::GatewayCertificateExpired { not_after } => Explanation::new(
            "The gateway's certificate has expired.",
            format!("It was valid until {not_after}."),
            "Check this machine's date. If it is right, ask whoever runs the gateway to renew the certificate.",
        ),
        Cause::GatewayCertificateNotYetValid { not_before } => Explanation::new(
            "The gateway's certificate is not valid yet.",
            format!("It is valid from {not_before}."),
            "Check this machine's date and time; most often they are wrong.",
        ),
        Cause::GatewayCertificateUntrusted => Explanation::new(
            "The gateway's certificate is not trusted.",
            "No certificate authority that the profile trusts vouches for it.",
            CHECK_CA,
        ),
        Cause::GatewayCertificateName { expected, presented } => Explanation::new(
            "The gateway's certificate is for another name.",
            format!("The profile expects {}; the certificate names {}.", plain(expected), names(presented)),
            "If one of these is the gateway, correct remote_id in the profile; otherwise somebody may be in between.",
        ),
        Cause::GatewayCertificateUsage => Explanation::new(
            "The gateway's certificate is not meant for a gateway.",
            "Its key usage does not allow it to prove a VPN gateway's identity.",
            "Ask whoever runs the gateway for a certificate with extended key usage serverAuth.",
        ),
        Cause::GatewayCertificateConstraint => Explanation::new(
            "The gateway's certificate authority may not vouch for this name.",
            "A certificate above the gateway's limits the names below it, and this name is outside.",
            ASK_OPERATOR,
        ),
        Cause::GatewayCertificateInvalid => Explanation::new(
            "The gateway's certificate can't be used.",
            "It is damaged, or uses algorithms that Evenkeel doesn't have.",
            ASK_OPERATOR,
        ),
        other => unworded(other),
    }
}

/// What to say when a secret is needed and there is nobody to ask.
pub(crate) fn secret_missing(secret: SecretKind) -> Explanation {
    match secret {
        SecretKind::Password => Explanation::new(
            "A password is needed.",
            "None is stored with the profile, and none was given.",
            "Run the command on a terminal to be asked for it, or feed it with --password-stdin.",
        ),
        SecretKind::Psk => Explanation::new(
            "The pre-shared key is needed.",
            "None is stored with the profile, and none was given.",
            "Run the command on a terminal to be asked for it, or feed it with --password-stdin.",
        ),
        SecretKind::PrivateKey => Explanation::new(
            "The private key of your certificate is missing.",
            "It is not stored with the profile.",
            "Import the profile again, with --replace.",
        ),
        SecretKind::WireguardPrivateKey | SecretKind::WireguardPresharedKey => Explanation::new(
            "A key for the WireGuard fallback is missing.",
            "It is not stored with the profile.",
            "Import the profile again, with --replace.",
        ),
    }
}

fn names(presented: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut list: Vec<String> = presented.iter().take(SHOWN).map(|name| plain(name)).collect();
    if list.is_empty() {
        return "nobody".to_owned();
    }
    if presented.len() > SHOWN {
        list.push(format!("{} more", presented.len() - SHOWN));
    }
    list.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_of_names_are_cut() {
        let presented = (0..1000).map(|n| format!("host{n}")).collect::<Vec<_>>();
        assert_eq!(names(&presented), "host0, host1, host2, host3, host4, 995 more");
    }
}
