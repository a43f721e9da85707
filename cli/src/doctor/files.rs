//! Checks of what lies in the data directory: may it be written, is there room, does the key file read.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use latchkey_runtime::{StartError, context::key_file as key_path};
use latchkey_vault::{KeyFileError, KeyRing};

use crate::doctor::{Finding, Subject, chain};

/// Free bytes below which something is said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space {
    /// Below this, a person should look.
    pub(super) warn: u64,
    /// Below this, the store is about to be full.
    pub(super) fail: u64,
}

impl Space {
    /// A year of a busy partner's receipts is some hundred MiB; a journal and a checkpoint need some more.
    pub(super) const NEEDED: Self = Self {
        warn: 1 << 30,
        fail: 100 << 20,
    };
}

/// The data directory: there, ours alone, writable.
pub(super) fn data_dir(subject: &Subject) -> Finding {
    const CHECK: &str = "data-dir";
    let path = &subject.config.data_dir;
    let shown = path.display();
    let choose = "give this user the right to write there, or choose another with --data-dir";
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = nearest(path);
            return match writable(&parent) {
                Ok(()) => Finding::ok(
                    CHECK,
                    format!("{shown} is not there yet; the first start makes it"),
                ),
                Err(error) => Finding::fail(
                    CHECK,
                    format!(
                        "{shown} is not there and {} cannot be written: {error}",
                        parent.display()
                    ),
                    choose,
                ),
            };
        }
        Err(error) => return Finding::fail(CHECK, format!("{shown}: {error}"), choose),
    };
    if !meta.is_dir() {
        return Finding::fail(
            CHECK,
            format!("{shown} is no directory"),
            "choose another with --data-dir",
        );
    }
    if let Err(error) = writable(path) {
        return Finding::fail(CHECK, format!("{shown} cannot be written: {error}"), choose);
    }
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o022 != 0 {
        let found = format!("others may write to {shown} (mode {mode:03o})");
        return Finding::warn(CHECK, found, format!("chmod 700 {shown}"));
    }
    Finding::ok(CHECK, format!("{shown} is there and can be written"))
}

/// Room on the volume of the data directory.
pub(super) fn disk_space(subject: &Subject) -> Finding {
    const CHECK: &str = "disk-space";
    let place = nearest(&subject.config.data_dir);
    let free = match rustix::fs::statvfs(&place) {
        Ok(volume) => volume.f_bavail.saturating_mul(volume.f_frsize),
        Err(error) => {
            let found = format!(
                "the volume of {} does not tell its free space: {error}",
                place.display()
            );
            return Finding::warn(CHECK, found, "look yourself: df -h");
        }
    };
    let found = format!(
        "{} MiB free on the volume of {}",
        free >> 20,
        place.display()
    );
    let fix = "free space there or move the data directory; a full store refuses writes until there is room";
    if free < subject.space.fail {
        Finding::fail(CHECK, found, fix)
    } else if free < subject.space.warn {
        Finding::warn(CHECK, found, fix)
    } else {
        Finding::ok(CHECK, found)
    }
}

/// The key-encryption keys: they read, and nobody else may read them.
pub(super) fn key_file(subject: &Subject) -> Finding {
    const CHECK: &str = "key-file";
    if let Some(text) = &subject.config.key {
        return match KeyRing::from_text(text) {
            Ok(ring) => Finding::ok(
                CHECK,
                format!("LATCHKEY_KEY holds {} key(s)", ring.ids().count()),
            ),
            Err(error) => Finding::fail(
                CHECK,
                format!("LATCHKEY_KEY does not read: {}", chain(error)),
                "set it to the text of a key file: one line '<id> <base64 of 32 bytes>' for each key",
            ),
        };
    }
    if subject.config.is_fleet() && subject.config.key_file.is_none() {
        let fix = "a key is a line '<id> <base64 of 32 random bytes>'; the README's section 'The fleet' makes one";
        return Finding::fail(CHECK, StartError::NoKey.to_string(), fix);
    }
    let path = key_path(&subject.config);
    let shown = path.display();
    match KeyRing::load(&path) {
        Err(error @ KeyFileError::NotFound { .. }) if subject.config.is_fleet() => Finding::fail(
            CHECK,
            chain(error),
            "put the key file there that the other processes of the fleet have",
        ),
        Ok(ring) => Finding::ok(
            CHECK,
            format!(
                "{shown} holds {} key(s); '{}' is in use",
                ring.ids().count(),
                ring.current_id()
            ),
        ),
        Err(KeyFileError::NotFound { .. }) if subject.database().exists() => Finding::fail(
            CHECK,
            format!("{shown} is missing, and the store beside it was sealed with it"),
            "put the copy of the key file back; without it nothing in the store opens",
        ),
        Err(KeyFileError::NotFound { .. }) => Finding::ok(
            CHECK,
            format!("{shown} is not there yet; the first start makes it"),
        ),
        Err(error @ KeyFileError::Exposed { .. }) => {
            Finding::fail(CHECK, chain(error), format!("chmod 600 {shown}"))
        }
        Err(error) => Finding::fail(CHECK, chain(error), format!("put the copy of {shown} back")),
    }
}

/// The directory itself, or the nearest one above it that is there.
fn nearest(path: &Path) -> PathBuf {
    let above = |path: &Path| path.ancestors().find(|p| p.is_dir()).map(Path::to_owned);
    // A relative path has the current directory above it.
    above(path).unwrap_or_else(|| PathBuf::from("."))
}

/// Whether a file can be made there: permissions alone do not tell (read-only mounts, quotas).
fn writable(path: &Path) -> io::Result<()> {
    tempfile::Builder::new()
        .prefix(".latchkey-doctor-")
        .tempfile_in(path)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;
    use crate::doctor::{State, tests::subject};

    #[test]
    fn a_data_dir_that_is_a_file_or_below_one_fails() {
        let (_temp, subject) = subject(&[]);
        let path = &subject.config.data_dir;
        fs::write(path, "x").unwrap();
        assert_eq!(data_dir(&subject).state, State::Fail);
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(data_dir(&subject).state, State::Ok);
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        let finding = data_dir(&subject);
        assert_eq!(finding.state, State::Warn);
        assert!(finding.fix.unwrap().starts_with("chmod 700"));
    }

    #[test]
    fn a_place_that_cannot_be_written_fails() {
        // Nobody, root included, makes files in /proc.
        if Path::new("/proc/self").is_dir() {
            let (_temp, subject) = subject(&[("data_dir", "/proc/self/latchkey")]);
            let finding = data_dir(&subject);
            assert_eq!(finding.state, State::Fail, "{finding:?}");
        }
    }

    #[test]
    fn little_room_warns_and_none_fails() {
        let (_temp, mut subject) = subject(&[]);
        subject.space = Space {
            warn: u64::MAX,
            fail: 0,
        };
        assert_eq!(disk_space(&subject).state, State::Warn);
        subject.space.fail = u64::MAX;
        assert_eq!(disk_space(&subject).state, State::Fail);
        subject.space = Space { warn: 0, fail: 0 };
        assert_eq!(disk_space(&subject).state, State::Ok);
    }

    #[test]
    fn a_key_file_is_missing_exposed_or_corrupt() {
        let (_temp, subject) = subject(&[]);
        fs::create_dir(&subject.config.data_dir).unwrap();
        assert_eq!(key_file(&subject).state, State::Ok, "none yet");
        fs::write(subject.database(), "").unwrap();
        assert!(key_file(&subject).found.contains("missing"));

        let path = key_path(&subject.config);
        KeyRing::create(&path, &latchkey_domain::SeededEntropy::new(1)).unwrap();
        assert_eq!(key_file(&subject).state, State::Ok);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let finding = key_file(&subject);
        assert_eq!(finding.state, State::Fail);
        assert!(finding.fix.unwrap().starts_with("chmod 600"));

        fs::remove_file(&path).unwrap();
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .unwrap();
        io::Write::write_all(&mut file, b"k1 hush-hush\n").unwrap();
        let finding = key_file(&subject);
        assert_eq!(finding.state, State::Fail);
        assert!(!finding.found.contains("hush"), "{}", finding.found);
    }

    #[test]
    fn a_key_setting_that_does_not_read_fails() {
        let (_temp, subject) = subject(&[("key", "k1 hush-hush")]);
        let finding = key_file(&subject);
        assert_eq!(finding.state, State::Fail);
        assert!(!finding.found.contains("hush"), "{}", finding.found);
    }
}
