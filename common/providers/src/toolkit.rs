//! Toolkits: the services of all providers under one name each, for clients that know no providers.

use std::collections::BTreeMap;

use crate::{
    Catalog,
    entry::{Provider, Service},
};

impl Provider {
    /// The name of a service among those of all providers: its own where it is known without its provider, the
    /// provider's where that has no other, else both.
    pub fn toolkit(&self, service: &Service) -> String {
        if service.top_level {
            return service.slug.clone();
        }
        match self.services.as_slice() {
            [_] => self.slug.clone(),
            _ => format!("{}_{}", self.slug, service.slug),
        }
    }

    /// The toolkits that a connection with these switches reaches: those of services with a permission that is
    /// on, or that know no permissions.
    pub fn toolkits_of(&self, enabled: &BTreeMap<String, bool>) -> Vec<String> {
        let reached = |service: &&Service| {
            let mut permissions = service.permissions.iter();
            service.permissions.is_empty() || permissions.any(|p| enabled.get(&p.id) == Some(&true))
        };
        let services = self.services.iter().filter(reached);
        services.map(|service| self.toolkit(service)).collect()
    }
}

impl Catalog {
    /// Every toolkit, in the order of providers.
    pub fn toolkits(&self) -> impl Iterator<Item = (&Provider, &Service)> {
        self.providers().flat_map(|provider| {
            provider
                .services
                .iter()
                .map(move |service| (provider, service))
        })
    }

    /// The toolkit of this name.
    pub fn toolkit(&self, name: &str) -> Option<(&Provider, &Service)> {
        self.toolkits()
            .find(|(provider, service)| provider.toolkit(service) == name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_service_is_a_toolkit_of_its_own_name() {
        let catalog = Catalog::load(None).unwrap();
        let names: Vec<_> = catalog.toolkits().map(|(p, s)| p.toolkit(s)).collect();
        let unique: BTreeSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len(), "{names:?}");
        for name in ["gmail", "calendar", "sandbox", "github"] {
            assert!(catalog.toolkit(name).is_some(), "{name}");
        }
        assert!(catalog.toolkit("google").is_none());
    }

    #[test]
    fn a_connection_reaches_what_it_may_use() {
        let catalog = Catalog::load(None).unwrap();
        let google = catalog.get("google").unwrap();
        let on = |permissions: &[(&str, bool)]| {
            let map = permissions.iter().map(|(p, on)| ((*p).to_owned(), *on));
            google.toolkits_of(&map.collect())
        };
        assert_eq!(
            on(&[
                ("drive.read", true),
                ("gmail.read", true),
                ("gmail.send", false),
                ("docs.read", false)
            ]),
            ["gmail", "drive"]
        );
        assert!(on(&[]).is_empty());
    }
}
