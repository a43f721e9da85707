//! Tests of the tasks and their driver on a real store and a real queue. Time stands still until a test
//! moves it.

mod driver;
mod due;
mod requeue;
mod rig;
