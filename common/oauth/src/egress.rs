//! Which network addresses provider requests may reach: public ones, and what the operator allows beyond.

use std::net::IpAddr;

/// A block of addresses, such as `127.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    base: IpAddr,
    bits: u8,
}

/// A text that is no block of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a block of addresses such as 10.0.0.0/8 or fd00::/8")]
pub struct CidrError(String);

impl std::str::FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let _ = (
            text,
            Self {
                base: IpAddr::from([0; 4]),
                bits: 0,
            },
        );
        unimplemented!()
    }
}

/// The guard: public addresses always; private and special ones only if a block names them.
#[derive(Clone, Debug, Default)]
pub struct Egress {
    allow: Vec<Cidr>,
}

impl Egress {
    /// A guard that also lets through these blocks (`LATCHKEY_EGRESS_ALLOW`).
    pub fn new(allow: Vec<Cidr>) -> Self {
        Self { allow }
    }

    /// Whether a connection to this address may be made.
    pub fn allows(&self, address: IpAddr) -> bool {
        let _ = (address, &self.allow);
        unimplemented!()
    }

    /// Whether an allow-list block names this address: plain `http` is spoken to those only.
    pub fn allows_plain(&self, address: IpAddr) -> bool {
        let _ = address;
        unimplemented!()
    }
}
