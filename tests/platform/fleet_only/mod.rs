//! What only a fleet has: several processes, and servers beside them that may fail. `tests/run` leaves these out
//! of its run on the embedded engine, by their module's name.

mod roles;
