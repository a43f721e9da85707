//! The data directory: its lock (one server at a time on the embedded engine) and `run.json`, by which
//! commands find the server that runs. Processes of a fleet may share one: it holds their journals, each
//! locked by itself (`worker/src/refresh/journal.rs`), and the `run.json` of the first.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use latchkey_domain::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::error::StartError;

/// Only the owner may read what lies here.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// A data directory that this process holds, alone or with others.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    // Held for as long as the process uses the directory; the system lets go at any kind of end. `None` for
    // a process of a fleet that was not the first here.
    lock: Option<File>,
}

impl DataDir {
    /// Makes the directory if needed and takes its lock.
    ///
    /// # Errors
    /// [`StartError::InUse`] if another process holds it, [`StartError::Path`] if it cannot be made.
    pub fn lock(path: &Path) -> Result<Self, StartError> {
        let failed = |source| StartError::Path {
            path: path.to_owned(),
            source,
        };
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, DIR_MODE);
        builder.create(path).map_err(failed)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(FILE_MODE)
            .open(path.join("lock"))
            .map_err(failed)?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                lock: Some(lock),
            }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StartError::InUse {
                path: path.to_owned(),
                pid: RunFile::read(path).ok().flatten().map(|run| run.pid),
            }),
            Err(e) => Err(failed(e.into())),
        }
    }

    /// Makes the directory if needed, for a process of a fleet: others may use it too.
    ///
    /// # Errors
    /// [`StartError::Path`] if it cannot be made.
    pub fn share(path: &Path) -> Result<Self, StartError> {
        match Self::lock(path) {
            Err(StartError::InUse { path, .. }) => Ok(Self { path, lock: None }),
            locked => locked,
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Publishes `run.json`, replacing an old one in one step; does nothing where another process is first.
    ///
    /// # Errors
    /// [`StartError::Path`] if it cannot be written.
    pub fn publish(&self, run: &RunFile) -> Result<(), StartError> {
        if self.lock.is_none() {
            return Ok(());
        }
        let path = self.path.join(RunFile::NAME);
        let failed = |source| StartError::Path {
            path: path.clone(),
            source,
        };
        let fresh = self.path.join("run.json.new");
        drop(fs::remove_file(&fresh));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&fresh)
            .map_err(failed)?;
        let text = serde_json::to_string_pretty(run).map_err(|e| failed(e.into()))?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        fs::rename(&fresh, &path).map_err(failed)
    }

    /// Takes `run.json` away at a clean stop.
    pub fn unpublish(&self) {
        if self.lock.is_some() {
            drop(fs::remove_file(self.path.join(RunFile::NAME)));
        }
    }
}

/// Makes an empty file that only its owner reads, where there is none. SQLite would make its own readable by
/// all, and gives those beside it the mode of the first.
pub(crate) fn make_private(path: &Path) -> Result<(), StartError> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(FILE_MODE)
        .open(path)
        .map(drop)
        .map_err(|source| StartError::Path {
            path: path.to_owned(),
            source,
        })
}

/// How commands reach the server that runs on a data directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunFile {
    /// Its process.
    pub pid: u32,
    /// The public origin.
    pub public_url: String,
    /// The admin listener.
    pub admin_url: String,
    /// The sandbox beside it, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_url: Option<String>,
    /// What operator requests carry.
    #[serde(serialize_with = "expose", deserialize_with = "hide")]
    pub operator_token: SecretString,
    /// When it came up.
    pub started_at: Timestamp,
    /// Which version it is.
    pub version: String,
}

fn expose<S: serde::Serializer>(token: &SecretString, s: S) -> Result<S::Ok, S::Error> {
    // The one place where it is written: a file that only its owner reads.
    s.serialize_str(token.expose_secret())
}

fn hide<'de, D: serde::Deserializer<'de>>(d: D) -> Result<SecretString, D::Error> {
    String::deserialize(d).map(SecretString::from)
}

impl RunFile {
    const NAME: &'static str = "run.json";

    /// Reads the file of a data directory, if there is one.
    ///
    /// # Errors
    /// [`StartError::Path`] if it is there and does not read.
    pub fn read(data_dir: &Path) -> Result<Option<Self>, StartError> {
        let path = data_dir.join(Self::NAME);
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text)
                .map(Some)
                .map_err(|e| StartError::Path {
                    path,
                    source: e.into(),
                }),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StartError::Path { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn run() -> RunFile {
        RunFile {
            pid: 7,
            public_url: "http://127.0.0.1:1".into(),
            admin_url: "http://127.0.0.1:2".into(),
            sandbox_url: None,
            operator_token: SecretString::from("op-secret"),
            started_at: Timestamp::from_secs(1),
            version: "0".into(),
        }
    }

    #[test]
    fn one_process_at_a_time_and_the_second_is_told_who() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("data");
        let first = DataDir::lock(&path).unwrap();
        first.publish(&run()).unwrap();
        match DataDir::lock(&path).unwrap_err() {
            StartError::InUse { pid, .. } => assert_eq!(pid, Some(7)),
            other => panic!("{other}"),
        }
        first.unpublish();
        drop(first);
        DataDir::lock(&path).unwrap();
        assert!(RunFile::read(&path).unwrap().is_none());
    }

    #[test]
    fn processes_of_a_fleet_share_and_the_first_is_found() {
        let temp = tempfile::tempdir().unwrap();
        let first = DataDir::share(temp.path()).unwrap();
        let second = DataDir::share(temp.path()).unwrap();
        first.publish(&run()).unwrap();
        second.publish(&RunFile { pid: 8, ..run() }).unwrap();
        second.unpublish();
        assert_eq!(RunFile::read(temp.path()).unwrap().unwrap().pid, 7);
        first.unpublish();
        assert!(RunFile::read(temp.path()).unwrap().is_none());
    }

    #[test]
    fn a_private_file_is_made_and_one_that_is_there_stays() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("store");
        make_private(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&path, "kept").unwrap();
        make_private(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "kept");
    }

    #[test]
    fn only_the_owner_reads_run_json() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::lock(temp.path()).unwrap();
        dir.publish(&run()).unwrap();
        let mode = fs::metadata(temp.path().join("run.json"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = RunFile::read(temp.path()).unwrap().unwrap();
        assert_eq!(read.operator_token.expose_secret(), "op-secret");
        assert!(!format!("{read:?}").contains("op-secret"));
    }
}
