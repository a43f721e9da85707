//! Flowra's side as its clients see it.

mod accounts;
mod configs;
mod imports;
mod pages;
mod paging;
mod tools;
mod users;
