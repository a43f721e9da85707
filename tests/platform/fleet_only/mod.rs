//! What only a fleet has: several processes, and servers beside them that may fail. `tests/run` leaves these out
//! of its run on the embedded engine, by their module's name.

mod changes;
mod doctor;
mod failover;
mod faults_clock;
mod faults_mixed;
mod faults_postgres;
mod faults_redis;
mod faults_worker;
mod refresh;
mod refusals;
mod replies;
mod rig;
mod roles;
mod schedulers;
mod secrets;
mod stops;
mod workers;

/// Microseconds since the epoch, by the database.
const NOW: &str = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)";
