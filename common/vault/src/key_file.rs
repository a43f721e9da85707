//! The key file: made once with mode 0600, read at each start. It is the one thing to back up apart from
//! the database, and the one thing without which a backup of the database is worthless.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use latchkey_domain::{Entropy, entropy};
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::{KeyFileError, KeyRing, key_ring};

/// Bytes of a key file: [`key_ring::MAX_KEYS`] keys with long ids and some words on each fit several times.
pub const MAX_BYTES: u64 = 64 * 1024;

const HEADING: &str = "\
# Latchkey's key-encryption keys, one a line: <id> <base64 of 32 bytes>. The last one is in use.
# Keep a copy apart from the database: without it, nothing sealed opens again. Keep it secret: mode 0600.
";

impl KeyRing {
    /// Reads a key file.
    ///
    /// # Errors
    /// [`KeyFileError`] names the file and, for its text, the line; never content. A file that others than
    /// its owner may read or write is refused.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let text = read(path)?;
        Self::from_text(&text).map_err(|source| KeyFileError::Text {
            path: path.to_owned(),
            source,
        })
    }

    /// Makes a key file with one new key, mode 0600. The file appears whole or not at all.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`] when something is there already; `Io` when it cannot be written.
    pub fn create(path: &Path, entropy: &dyn Entropy) -> Result<Self, KeyFileError> {
        let line = key_ring::new_line(entropy);
        let temp = write_beside(path, &line, entropy)?;
        // Unlike a rename, a link never replaces what is there: of two processes that start at once, one
        // makes the file and the other is told so.
        let linked = fs::hard_link(&temp, path);
        let removed = fs::remove_file(&temp);
        match linked {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(KeyFileError::Exists {
                    path: path.to_owned(),
                });
            }
            done => done.and(removed).map_err(failed("create", path))?,
        }
        File::open(folder(path))
            .and_then(|dir| dir.sync_all())
            .map_err(failed("sync the folder of", path))?;
        Self::load(path)
    }

    /// Reads the key file, or makes it if there is none. Processes that start at once end with one key.
    ///
    /// # Errors
    /// As [`KeyRing::load`] and [`KeyRing::create`].
    pub fn load_or_create(path: &Path, entropy: &dyn Entropy) -> Result<Self, KeyFileError> {
        match Self::load(path) {
            Err(KeyFileError::NotFound { .. }) => match Self::create(path, entropy) {
                Err(KeyFileError::Exists { .. }) => Self::load(path),
                done => done,
            },
            done => done,
        }
    }
}

fn read(path: &Path) -> Result<SecretString, KeyFileError> {
    let mut file = File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => KeyFileError::NotFound {
            path: path.to_owned(),
        },
        _ => failed("open", path)(source),
    })?;
    // Of the open file, not of the path: what was looked at is what is read.
    let meta = file.metadata().map_err(failed("look at", path))?;
    let not_one = |problem| KeyFileError::NotAKeyFile {
        path: path.to_owned(),
        problem,
    };
    if !meta.is_file() {
        return Err(not_one("it is no regular file"));
    }
    let mode = meta.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    if meta.len() > MAX_BYTES {
        return Err(not_one("it is larger than 64 KiB"));
    }
    // One allocation, large enough from the start, so that reading leaves no copies behind.
    let mut bytes = Zeroizing::new(vec![0; usize::try_from(MAX_BYTES).unwrap_or(usize::MAX)]);
    let mut length = 0;
    loop {
        match file.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(failed("read", path)(e)),
        }
    }
    std::str::from_utf8(&bytes[..length])
        .map(SecretString::from)
        .map_err(|_| not_one("it is not UTF-8 text"))
}

/// Writes and syncs a new file in the folder of `path`, and says where.
fn write_beside(path: &Path, line: &str, entropy: &dyn Entropy) -> Result<PathBuf, KeyFileError> {
    let name = u64::from_be_bytes(entropy::bytes(entropy));
    let temp = folder(path).join(format!(".latchkey-key-{name:016x}"));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temp)?;
        file.write_all(HEADING.as_bytes())?;
        file.write_all(line.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| {
        // Nothing to do if even that fails; the first error is the one to tell.
        let _ = fs::remove_file(&temp);
        failed("create", path)(source)
    })?;
    Ok(temp)
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyFileError {
    let path = path.to_owned();
    move |source| KeyFileError::Io {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::{error::Error, os::unix::fs::PermissionsExt, sync::Barrier};

    use latchkey_domain::{DataKeyId, PartnerId, SeededEntropy, SystemEntropy};

    use super::*;
    use crate::DataKey;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_new_file_is_private_whole_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        assert!(matches!(
            KeyRing::load(&path),
            Err(KeyFileError::NotFound { .. })
        ));
        let ring = KeyRing::create(&path, &SystemEntropy).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(names(dir.path()), ["keys"]);
        let again = KeyRing::load_or_create(&path, &SystemEntropy).unwrap();
        assert_eq!(ring.current_id(), again.current_id());
        let key = DataKey::generate(DataKeyId::from_u128(1), &SystemEntropy);
        let wrapped = ring.wrap(&key, PartnerId::OPERATOR, &SystemEntropy);
        assert!(
            again
                .unwrap_key(key.id(), PartnerId::OPERATOR, &wrapped)
                .is_ok()
        );
    }

    #[test]
    fn a_file_that_is_there_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        fs::write(&path, "precious").unwrap();
        let error = KeyRing::create(&path, &SystemEntropy).unwrap_err();
        assert!(matches!(error, KeyFileError::Exists { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        assert_eq!(names(dir.path()), ["keys"]);
    }

    #[test]
    fn processes_that_start_at_once_end_with_one_key() {
        const STARTS: usize = 8;
        for _ in 0..20 {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("keys");
            let barrier = Barrier::new(STARTS);
            let ids: Vec<String> = std::thread::scope(|scope| {
                let start = || {
                    barrier.wait();
                    let ring = KeyRing::load_or_create(&path, &SystemEntropy).unwrap();
                    ring.current_id().to_owned()
                };
                let threads: Vec<_> = (0..STARTS).map(|_| scope.spawn(start)).collect();
                threads.into_iter().map(|t| t.join().unwrap()).collect()
            });
            assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
            assert_eq!(names(dir.path()), ["keys"]);
        }
    }

    #[test]
    fn a_file_that_others_can_reach_is_refused_with_the_fix() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        KeyRing::create(&path, &SystemEntropy).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o666] {
            chmod(&path, mode);
            let text = KeyRing::load(&path).unwrap_err().to_string();
            assert!(text.contains(&format!("mode {mode:04o}")), "{text}");
            assert!(
                text.contains(&format!("chmod 600 '{}'", path.display())),
                "{text}"
            );
        }
        for mode in [0o600, 0o400] {
            chmod(&path, mode);
            assert!(KeyRing::load(&path).is_ok());
        }
    }

    #[test]
    fn a_corrupt_file_is_named_with_its_line_and_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let line = key_ring::new_line(&SeededEntropy::new(1));
        let secret = line.trim_end().split_once(' ').unwrap().1;
        let cases: [(Vec<u8>, &str); 6] = [
            (
                format!("kek_a {secret}\nkek_b {}?", &secret[..43]).into(),
                "line 2: ",
            ),
            (format!("kek_a {}", &secret[..20]).into(), "line 1: "),
            (
                format!("kek_a {secret}\nkek_a {secret}\n").into(),
                "line 2: ",
            ),
            (Vec::new(), "no line holds a key"),
            ([secret.as_bytes(), b"\xff"].concat(), "UTF-8"),
            (
                vec![b'#'; usize::try_from(MAX_BYTES).unwrap() + 1],
                "64 KiB",
            ),
        ];
        for (content, words) in cases {
            fs::write(&path, content).unwrap();
            chmod(&path, 0o600);
            let error = KeyRing::load(&path).unwrap_err();
            let source = error.source().map(ToString::to_string).unwrap_or_default();
            let shown = format!("{error}: {source} {error:?}");
            assert!(shown.contains(&*path.to_string_lossy()), "{shown}");
            assert!(shown.contains(words), "{shown}");
            assert!(!shown.contains(&secret[..8]), "{shown}");
        }
        let error = KeyRing::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("no regular file"), "{error}");
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let path = Path::new("/nonexistent/latchkey/keys");
        let error = KeyRing::load_or_create(path, &SystemEntropy).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot create key file /nonexistent/latchkey/keys"
        );
    }
}
