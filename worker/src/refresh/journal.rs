//! The journal: a local file that holds each answer of a token endpoint from the moment it came until the
//! store has passed its version (`architecture.md` §6.3). What was appended survives `kill -9` in the page
//! cache; what waits over a second for its commit is also synced to the disk. The space is allocated ahead,
//! so that a full disk does not stop it.
//!
//! One file a process, named after its holder id and locked for as long as the process lives. A file whose
//! lock is free belongs to a process that died: [`adopt`] hands it to whoever finds it first.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use latchkey_domain::HolderId;
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};

use super::record::{END, Entry};

/// Bytes allocated ahead (8 MiB): some 4,000 answers. Full, the file is rewritten with those that still wait.
const ALLOCATED: u64 = 8 << 20;
/// The first bytes of every journal. A file without them was never claimed with.
const MAGIC: &[u8] = b"latchkey journal 1\n";
/// Only the owner reads it, sealed as it is.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;
/// The ending of a journal's name.
const JOURNAL: &str = "jrn";
/// The ending of one that is being made.
const FRESH: &str = "new";
/// Tries before a journal cannot be made: another process can take one away only in the moment between its
/// making and its lock, and is done with it in microseconds.
const CREATE_TRIES: u32 = 1000;

/// A journal that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} journal {}", path.display())]
pub(super) struct JournalError {
    /// What was tried.
    action: &'static str,
    /// The file or directory.
    path: PathBuf,
    /// Why it failed.
    #[source]
    source: io::Error,
}

/// This process's journal.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    state: Mutex<State>,
    // One sync at a time; those who come meanwhile share the next.
    syncing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    // Its lock is held for as long as it is open.
    file: Arc<File>,
    tail: u64,
    next: u64,
    kept: BTreeMap<u64, Kept>,
    // Of `kept`: counted along, because it is asked for with every answer.
    kept_bytes: u64,
}

#[derive(Debug)]
struct Kept {
    record: Vec<u8>,
    synced: bool,
    // Somebody in this process is landing it.
    in_flight: bool,
}

/// An entry of the journal whose landing is under way. Dropped without [`Ticket::passed`], the entry is left
/// to the replay.
#[derive(Debug)]
pub(super) struct Ticket {
    journal: Arc<Journal>,
    id: u64,
}

impl Ticket {
    /// The store has passed its version: the entry may go.
    pub(super) fn passed(self) {
        self.journal.forget(self.id);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(kept) = self.journal.state().kept.get_mut(&self.id) {
            kept.in_flight = false;
        }
    }
}

impl Journal {
    /// Makes the journal of a new holder and takes its lock.
    pub(super) fn create(dir: &Path, holder: HolderId) -> Result<Self, JournalError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(DIR_MODE);
        builder.create(dir).map_err(failed("make", dir))?;
        let path = dir.join(format!("{holder}.{JOURNAL}"));
        let file = begin(&path).map_err(failed("create", &path))?;
        fs::rename(path.with_extension(FRESH), &path).map_err(failed("create", &path))?;
        sync_dir(dir).map_err(failed("sync", dir))?;
        let state = State {
            file: Arc::new(file),
            tail: MAGIC.len() as u64,
            next: 0,
            kept: BTreeMap::new(),
            kept_bytes: 0,
        };
        Ok(Self {
            path,
            state: Mutex::new(state),
            syncing: tokio::sync::Mutex::default(),
        })
    }

    /// Appends an answer, before it is written to the store. The write goes to the page cache and takes
    /// microseconds, so it is done in place.
    pub(super) fn keep(self: &Arc<Self>, entry: &Entry) -> Result<Ticket, JournalError> {
        let mut record = entry
            .record()
            .map_err(|e| failed("write", &self.path)(io::Error::other(e)))?;
        let length = record.len();
        let mut state = self.state();
        if state.tail + (length + END.len()) as u64 > ALLOCATED {
            // If that fails the file grows instead; the next append tries again.
            if let Err(error) = self.rewrite(&mut state) {
                tracing::warn!(error = %error, path = %self.path.display(), "journal not rewritten");
            }
        }
        record.extend_from_slice(&END);
        let (file, tail) = (Arc::clone(&state.file), state.tail);
        file.write_all_at(&record, tail)
            .map_err(failed("write", &self.path))?;
        record.truncate(length);
        state.tail += length as u64;
        let id = state.next;
        state.next += 1;
        let kept = Kept {
            record,
            synced: false,
            in_flight: true,
        };
        state.kept_bytes += kept.record.len() as u64;
        state.kept.insert(id, kept);
        drop(state);
        Ok(Ticket {
            journal: Arc::clone(self),
            id,
        })
    }

    /// The store has passed an entry's version.
    pub(super) fn forget(&self, id: u64) {
        let mut state = self.state();
        if let Some(gone) = state.kept.remove(&id) {
            state.kept_bytes -= gone.record.len() as u64;
        }
    }

    /// Entries that nobody is landing: their process gave up for now.
    pub(super) fn left(&self) -> Vec<(u64, Entry)> {
        let state = self.state();
        let left = state.kept.iter().filter(|(_, kept)| !kept.in_flight);
        left.filter_map(|(id, kept)| Some((*id, Entry::read(&kept.record)?.0)))
            .collect()
    }

    /// Tells how many entries' versions the store has not passed yet, and their bytes. None comes or goes meanwhile, so
    /// that of two who tell at once the later one tells the later truth.
    pub(super) fn tell_waiting(&self, tell: impl FnOnce(u64, u64)) {
        let state = self.state();
        tell(state.kept.len() as u64, state.kept_bytes);
    }

    /// What [`Journal::tell_waiting`] tells.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> (u64, u64) {
        let mut told = (0, 0);
        self.tell_waiting(|entries, bytes| told = (entries, bytes));
        told
    }

    /// Brings everything appended so far to the disk.
    pub(super) async fn sync(&self) -> Result<(), JournalError> {
        let _one_at_a_time = self.syncing.lock().await;
        let (file, upto) = {
            let state = self.state();
            if state.kept.values().all(|kept| kept.synced) {
                return Ok(());
            }
            (Arc::clone(&state.file), state.next)
        };
        let synced = tokio::task::spawn_blocking(move || file.sync_data()).await;
        synced
            .unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
            .map_err(failed("sync", &self.path))?;
        for (_, kept) in self.state().kept.range_mut(..upto) {
            kept.synced = true;
        }
        Ok(())
    }

    /// Replaces the file by one with only those entries that still wait. A crash leaves the old or the new.
    fn rewrite(&self, state: &mut State) -> io::Result<()> {
        let file = begin(&self.path)?;
        let mut tail = MAGIC.len() as u64;
        for kept in state.kept.values() {
            file.write_all_at(&kept.record, tail)?;
            tail += kept.record.len() as u64;
        }
        file.write_all_at(&END, tail)?;
        let must_last = state.kept.values().any(|kept| kept.synced);
        if must_last {
            file.sync_all()?;
        }
        fs::rename(self.path.with_extension(FRESH), &self.path)?;
        state.file = Arc::new(file);
        state.tail = tail;
        if must_last && let Some(dir) = self.path.parent() {
            sync_dir(dir)?;
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is a single step, so a panic elsewhere leaves a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The journal of a process that died, locked by us.
#[derive(Debug)]
pub(super) struct Orphan {
    /// Whose it was.
    pub(super) holder: HolderId,
    /// What it holds, as far as it reads.
    pub(super) entries: Vec<Entry>,
    path: PathBuf,
    _lock: File,
}

impl Orphan {
    /// Takes the file away, after its entries landed and its attempts were closed.
    pub(super) fn remove(self) -> Result<(), JournalError> {
        fs::remove_file(&self.path).map_err(failed("remove", &self.path))
    }
}

/// Takes the journals in `dir` whose processes died. Those that another process holds are left alone.
pub(super) fn adopt(dir: &Path) -> Result<Vec<Orphan>, JournalError> {
    let listed = match fs::read_dir(dir) {
        Ok(listed) => listed,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed("list", dir)(e)),
    };
    let mut orphans = Vec::new();
    for file in listed {
        let path = file.map_err(failed("list", dir))?.path();
        let holder = path
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse().ok());
        let (Some(holder), Some(extension)) = (holder, path.extension()) else {
            continue;
        };
        let adopted = adopt_one(&path, holder).map_err(failed("read", &path))?;
        // One that was never finished is taken away; nothing was ever claimed with it.
        match adopted {
            Some(orphan) if extension == JOURNAL => orphans.push(orphan),
            Some(unfinished) if extension == FRESH => unfinished.remove()?,
            _ => {}
        }
    }
    Ok(orphans)
}

fn adopt_one(path: &Path, holder: HolderId) -> io::Result<Option<Orphan>> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        Err(e) => return Err(e.into()),
    }
    // Its process may have rewritten it, or another may have adopted it, between opening and locking.
    if !is_still_at(&file, path)? {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let entries = bytes.strip_prefix(MAGIC).map(Entry::read_all);
    Ok(Some(Orphan {
        holder,
        entries: entries.unwrap_or_default(),
        path: path.to_owned(),
        _lock: file,
    }))
}

fn is_still_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Makes an empty journal beside `path`, locked before it gets its name, so that whoever finds a journal
/// finds its lock taken for as long as its process lives.
fn begin(path: &Path) -> io::Result<File> {
    let fresh = path.with_extension(FRESH);
    for _ in 0..CREATE_TRIES {
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .mode(FILE_MODE)
            .open(&fresh)?;
        // In the moment before the lock it can be taken for one that was never finished.
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if is_still_at(&file, &fresh)? => {}
            Ok(()) | Err(rustix::io::Errno::WOULDBLOCK) => {
                std::thread::yield_now();
                continue;
            }
            Err(e) => return Err(e.into()),
        }
        match fallocate(&file, FallocateFlags::empty(), 0, ALLOCATED) {
            Ok(()) => {}
            // This file system cannot: it grows as it is written, and a full disk can stop it.
            Err(
                rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL,
            ) => file.set_len(ALLOCATED)?,
            Err(e) => return Err(e.into()),
        }
        file.write_all_at(MAGIC, 0)?;
        return Ok(file);
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> JournalError + 'a {
    move |source| JournalError {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::record::sample, *};

    fn holder(n: u128) -> HolderId {
        HolderId::from_u128(n)
    }

    fn journal(dir: &Path, n: u128) -> Arc<Journal> {
        Arc::new(Journal::create(dir, holder(n)).unwrap())
    }

    fn remove_all(orphans: Vec<Orphan>) {
        for orphan in orphans {
            orphan.remove().unwrap();
        }
    }

    fn adopted(dir: &Path) -> Vec<Entry> {
        let orphans = adopt(dir).unwrap();
        orphans.into_iter().flat_map(|o| o.entries).collect()
    }

    #[test]
    fn a_living_process_keeps_its_journal_and_a_dead_ones_is_adopted_once() {
        let temp = tempfile::tempdir().unwrap();
        let (first, second) = (journal(temp.path(), 1), journal(temp.path(), 2));
        first.keep(&sample(1)).unwrap().passed();
        let waiting = first.keep(&sample(2)).unwrap();
        assert!(adopt(temp.path()).unwrap().is_empty(), "both are held");
        drop(waiting);
        drop(first);
        let orphans = adopt(temp.path()).unwrap();
        assert_eq!(orphans.len(), 1);
        assert_eq!(orphans[0].holder, holder(1));
        // Passed entries are still in the file: they land nowhere, because versions only grow.
        assert_eq!(orphans[0].entries, [sample(1), sample(2)]);
        assert!(adopt(temp.path()).unwrap().is_empty(), "we hold it now");
        remove_all(orphans);
        drop(second);
        assert_eq!(adopt(temp.path()).unwrap().len(), 1);
    }

    #[test]
    fn a_torn_tail_is_ignored_and_the_rest_survives() {
        let temp = tempfile::tempdir().unwrap();
        let journal = journal(temp.path(), 1);
        let kept: Vec<_> = (1..=3).map(|n| journal.keep(&sample(n)).unwrap()).collect();
        let (path, tail) = (journal.path.clone(), journal.state().tail);
        drop((kept, journal));
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&[0xFF; 700], tail - 700).unwrap();
        assert_eq!(adopted(temp.path()), [sample(1), sample(2)]);
    }

    #[test]
    fn a_full_file_is_rewritten_with_what_still_waits() {
        let temp = tempfile::tempdir().unwrap();
        let journal = journal(temp.path(), 1);
        let waiting = journal.keep(&sample(1)).unwrap();
        let size = u64::try_from(sample(1).record().unwrap().len()).unwrap();
        let before = journal.state().file.metadata().unwrap().ino();
        for n in 0..ALLOCATED / size + 10 {
            journal.keep(&sample(u128::from(n) + 2)).unwrap().passed();
        }
        assert_ne!(journal.state().file.metadata().unwrap().ino(), before);
        assert!(journal.state().tail < 20 * size && journal.waiting().0 == 1);
        assert!(
            adopt(temp.path()).unwrap().is_empty(),
            "the new file is locked too"
        );
        drop(waiting);
        drop(journal);
        assert_eq!(adopted(temp.path())[0], sample(1));
    }

    #[tokio::test]
    async fn what_nobody_lands_is_left_to_the_replay() {
        let temp = tempfile::tempdir().unwrap();
        let journal = journal(temp.path(), 1);
        let flying = journal.keep(&sample(1)).unwrap();
        drop(journal.keep(&sample(2)).unwrap());
        journal.sync().await.unwrap();
        let left = journal.left();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].1, sample(2));
        journal.forget(left[0].0);
        assert_eq!(journal.waiting().0, 1);
        flying.passed();
        assert_eq!(journal.waiting(), (0, 0));
    }

    #[test]
    fn a_file_that_was_never_finished_is_taken_away_and_others_are_left() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join(format!("{}.new", holder(5))), b"").unwrap();
        fs::write(temp.path().join("notes.txt"), b"x").unwrap();
        let _alive = journal(temp.path(), 6);
        assert!(adopt(temp.path()).unwrap().is_empty());
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2);
    }

    #[test]
    fn journals_are_made_while_others_adopt() {
        let temp = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for n in 0..4 {
                let dir = temp.path();
                scope.spawn(move || {
                    for round in 0..20 {
                        let journal = journal(dir, n * 100 + round);
                        assert!(is_still_at(&journal.state().file, &journal.path).unwrap());
                        let orphans = adopt(dir).unwrap();
                        remove_all(orphans);
                        assert!(is_still_at(&journal.state().file, &journal.path).unwrap());
                    }
                });
            }
        });
    }
}
