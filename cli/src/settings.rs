//! The flags that lead to the settings, the same on every command that needs them.

use std::path::{Path, PathBuf};

use clap::Args;
use latchkey_runtime::{Config, ConfigError};

use crate::failure::{AskedWrongly, asked_wrongly};

/// Where the settings and the data are.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Place {
    /// Settings file (TOML); every setting is in deploy/config/latchkey.toml
    #[arg(
        long,
        env = "LATCHKEY_CONFIG",
        value_name = "FILE",
        help_heading = "Settings"
    )]
    pub(crate) config: Option<PathBuf>,
    /// Data directory: store, key file, journals [default: ./latchkey-data]
    #[arg(long, value_name = "DIR", help_heading = "Settings")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Directory with catalogue files of your own, one TOML file a provider
    #[arg(long, value_name = "DIR", help_heading = "Settings")]
    pub(crate) catalog_dir: Option<PathBuf>,
}

impl Place {
    /// Reads the settings with these flags and further ones on top.
    ///
    /// # Errors
    /// What is wrong with them; asked wrongly, unless a file cannot be read.
    pub(crate) fn load(&self, further: &[(&str, Option<String>)]) -> anyhow::Result<Config> {
        let text =
            |path: &Option<PathBuf>| path.as_deref().map(Path::display).map(|p| p.to_string());
        let mut flags = Vec::new();
        for (name, value) in [
            ("data_dir", text(&self.data_dir)),
            ("catalog_dir", text(&self.catalog_dir)),
        ] {
            flags.extend(value.map(|value| (name, value)));
        }
        for (name, value) in further {
            flags.extend(value.clone().map(|value| (*name, value)));
        }
        if let Some(path) = &self.config {
            std::fs::File::open(path).map_err(|error| {
                asked_wrongly(format!(
                    "cannot read the settings file {}: {error}",
                    path.display()
                ))
            })?;
        }
        Config::load(self.config.as_deref(), &flags).map_err(|error| asked(&error))
    }
}

/// Settings that do not read are a request that cannot be right.
fn asked(error: &ConfigError) -> anyhow::Error {
    let text = match error {
        ConfigError::Read(source) => format!("{error}: {source}"),
        ConfigError::Invalid { .. } => error.to_string(),
    };
    AskedWrongly(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_and_mistakes_name_the_setting() {
        let place = Place {
            data_dir: Some("/some/where".into()),
            ..Place::default()
        };
        let config = place
            .load(&[
                ("listen", Some("127.0.0.1:1".into())),
                ("admin_listen", None),
            ])
            .unwrap();
        assert_eq!(config.data_dir, Path::new("/some/where"));
        assert_eq!(config.listen.port(), 1);
        let error = place.load(&[("listen", Some("here".into()))]).unwrap_err();
        assert!(
            error.is::<AskedWrongly>() && error.to_string().contains("listen"),
            "{error}"
        );
        let error = place
            .load(&[("public_url", Some("http://a.example".into()))])
            .unwrap_err();
        assert!(error.to_string().contains("https"), "{error}");
    }
}
