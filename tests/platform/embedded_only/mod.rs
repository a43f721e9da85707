//! What only the embedded engine has: a store that is a file on a disk, a key file, a directory for one process.
//! `tests/run` leaves these out of its run on the fleet, by their module's name; the fleet's own stand in
//! `fleet_only`.

mod callbacks;
mod catalogue;
mod key_file;
mod one_process;
mod providers;
mod schema;
mod store;
