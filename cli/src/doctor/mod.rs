//! What may be wrong with an installation, each as a named check with what was found and how to mend it. A
//! check changes nothing: it makes no directory, no key, no store.

mod files;
mod fleet;
mod place;
mod running;
mod store;

use std::{path::PathBuf, sync::Arc};

use latchkey_domain::{Clock, SystemClock};
use latchkey_runtime::Config;
use serde::Serialize;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Right.
    Ok,
    /// Works, but somebody should look.
    Warn,
    /// Does not work.
    Fail,
}

/// One check's finding.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    /// The check's name, which stays the same from version to version.
    pub(crate) check: &'static str,
    /// How it ended.
    pub(crate) state: State,
    /// What was found.
    pub(crate) found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fix: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            state: State::Ok,
            found: found.into(),
            fix: None,
        }
    }

    fn warn(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            check,
            state: State::Warn,
            found: found.into(),
            fix: Some(fix.into()),
        }
    }

    fn fail(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            check,
            state: State::Fail,
            found: found.into(),
            fix: Some(fix.into()),
        }
    }
}

/// What is examined.
#[derive(Debug)]
pub(crate) struct Subject {
    config: Config,
    clock: Arc<dyn Clock>,
    space: files::Space,
}

impl Subject {
    /// An installation with these settings.
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            clock: Arc::new(SystemClock),
            space: files::Space::NEEDED,
        }
    }

    fn database(&self) -> PathBuf {
        self.config.data_dir.join("latchkey.db")
    }
}

/// Makes every check, in an order in which an earlier one explains a later one.
pub(crate) async fn examine(subject: &Subject) -> Vec<Finding> {
    let server = running::look(subject).await;
    let mut findings = vec![
        Finding::ok("settings", "they read and do not contradict each other"),
        files::data_dir(subject),
        files::disk_space(subject),
        files::key_file(subject),
        place::clock(subject),
        place::catalog(subject),
        place::egress(subject),
    ];
    findings.extend(running::findings(subject, server.as_ref()).await);
    if subject.config.is_fleet() {
        findings.extend(fleet::findings(subject).await);
    } else {
        findings.extend(store::findings(subject, server.is_some()).await);
    }
    findings
}

/// The finding when the settings themselves do not read: nothing else can be examined.
pub(crate) fn unreadable(error: &anyhow::Error) -> Finding {
    let fix = "mend the setting that is named; deploy/config/latchkey.toml explains each";
    Finding::fail("settings", format!("{error:#}"), fix)
}

/// An error with its causes in one line.
fn chain(error: impl std::error::Error + Send + Sync + 'static) -> String {
    format!("{:#}", anyhow::Error::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A subject in a directory of its own.
    pub(super) fn subject(flags: &[(&str, &str)]) -> (tempfile::TempDir, Subject) {
        let temp = tempfile::tempdir().unwrap();
        let data = temp.path().join("data").display().to_string();
        let mut all = vec![
            ("data_dir", data),
            ("listen", "127.0.0.1:0".into()),
            ("admin_listen", "127.0.0.1:0".into()),
        ];
        all.extend(
            flags
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        let subject = Subject::new(Config::load(None, &all).unwrap());
        (temp, subject)
    }

    #[tokio::test]
    async fn a_fresh_place_has_nothing_wrong_and_stays_untouched() {
        let (temp, subject) = subject(&[]);
        let findings = examine(&subject).await;
        let wrong: Vec<_> = findings.iter().filter(|f| f.state == State::Fail).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        assert_eq!(
            temp.path().read_dir().unwrap().count(),
            0,
            "the doctor made something"
        );
    }

    #[test]
    fn settings_that_do_not_read_are_a_finding() {
        let place = crate::settings::Place {
            config: Some("/does/not/exist".into()),
            ..Default::default()
        };
        let finding = unreadable(&place.load(&[]).unwrap_err());
        assert_eq!((finding.check, finding.state), ("settings", State::Fail));
        assert!(
            finding.found.contains("/does/not/exist"),
            "{}",
            finding.found
        );
    }
}
