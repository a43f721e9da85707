//! Every kind of job, one file each. Its handler is the file of the same name in `worker/src/handlers`; a
//! test there fails if either half is missing.

pub mod adopt_credentials;
pub mod deliver_callback;
pub mod exchange_code;
pub mod provider_call;
pub mod refresh_grants;
pub mod revoke_grant;

pub use adopt_credentials::AdoptCredentials;
pub use deliver_callback::DeliverCallback;
pub use exchange_code::ExchangeCode;
pub use provider_call::ProviderCall;
pub use refresh_grants::RefreshGrants;
pub use revoke_grant::RevokeGrant;

use crate::job::{JobKind, KindInfo};

/// All kinds. The runner, the metrics and the coverage tests go by this list.
pub fn all() -> [KindInfo; 6] {
    [
        AdoptCredentials::info(),
        DeliverCallback::info(),
        ExchangeCode::info(),
        ProviderCall::info(),
        RefreshGrants::info(),
        RevokeGrant::info(),
    ]
}

/// The constants of a kind by its name.
pub fn info(kind: &str) -> Option<KindInfo> {
    all().into_iter().find(|k| k.kind == kind)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn each_file_here_is_a_kind_in_the_list() {
        // Relative to the package, where tests run: a build folder may outlive the checkout it was filled from.
        let folder = "src/kinds";
        let files: BTreeSet<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|f| f.unwrap().file_name().to_string_lossy().replace(".rs", ""))
            .filter(|name| name != "mod")
            .collect();
        let kinds: BTreeSet<_> = super::all().iter().map(|k| k.kind.to_owned()).collect();
        assert_eq!(files, kinds);
    }
}
