//! Which network addresses provider requests may reach: public ones, and what the operator allows beyond
//! (`LATCHKEY_EGRESS_ALLOW`). IPv6 addresses that carry an IPv4 one inside count as private, whatever they
//! carry: where a translator leads is not ours to know. An operator behind NAT64 lists `64:ff9b::/96`.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

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

impl FromStr for Cidr {
    type Err = CidrError;

    /// A block, or a single address. Bits beyond the prefix must be zero, so that a slip is seen.
    fn from_str(text: &str) -> Result<Self, CidrError> {
        let wrong = || CidrError(text.to_owned());
        let (base, bits) = text
            .trim()
            .split_once('/')
            .map_or((text.trim(), None), |(base, bits)| (base, Some(bits)));
        let base: IpAddr = base.parse().map_err(|_| wrong())?;
        let width = if base.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => width,
            Some(bits) => bits
                .parse()
                .ok()
                .filter(|bits| *bits <= width)
                .ok_or_else(wrong)?,
        };
        let block = Self { base, bits };
        if block.masked(base) == Self::number(base) {
            Ok(block)
        } else {
            Err(wrong())
        }
    }
}

impl Cidr {
    const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> Self {
        Self {
            base: IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            bits,
        }
    }

    const fn v6(segments: [u16; 6], bits: u8) -> Self {
        let s = segments;
        Self {
            base: IpAddr::V6(Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], 0, 0)),
            bits,
        }
    }

    /// Whether the block holds this address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.base.is_ipv4() == address.is_ipv4() && self.masked(address) == Self::number(self.base)
    }

    /// The address as the upper bits of 128.
    fn number(address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
            IpAddr::V6(v6) => v6.to_bits(),
        }
    }

    fn masked(self, address: IpAddr) -> u128 {
        let mask = u128::MAX
            .checked_shl(128 - u32::from(self.bits))
            .unwrap_or(0);
        Self::number(address) & mask
    }
}

/// Addresses that are not public: IANA's special-purpose registries (RFC 6890 and updates), `reliability.md`
/// A15, multicast and the reserved space.
const SPECIAL: &[Cidr] = &[
    Cidr::v4(0, 0, 0, 0, 8),                    // this network
    Cidr::v4(10, 0, 0, 0, 8),                   // private
    Cidr::v4(100, 64, 0, 0, 10),                // shared by carriers; some clouds' metadata
    Cidr::v4(127, 0, 0, 0, 8),                  // loopback
    Cidr::v4(169, 254, 0, 0, 16),               // link-local; cloud metadata
    Cidr::v4(172, 16, 0, 0, 12),                // private
    Cidr::v4(192, 0, 0, 0, 24),                 // protocol assignments
    Cidr::v4(192, 0, 2, 0, 24),                 // documentation
    Cidr::v4(192, 88, 99, 0, 24),               // 6to4 relays
    Cidr::v4(192, 168, 0, 0, 16),               // private
    Cidr::v4(198, 18, 0, 0, 15),                // benchmarks
    Cidr::v4(198, 51, 100, 0, 24),              // documentation
    Cidr::v4(203, 0, 113, 0, 24),               // documentation
    Cidr::v4(224, 0, 0, 0, 3),                  // multicast, reserved, broadcast
    Cidr::v6([0, 0, 0, 0, 0, 0], 96),           // unspecified, loopback, IPv4-compatible
    Cidr::v6([0, 0, 0, 0, 0, 0xffff], 96),      // IPv4-mapped
    Cidr::v6([0, 0, 0, 0, 0xffff, 0], 96),      // IPv4-translated
    Cidr::v6([0x0064, 0xff9b, 0, 0, 0, 0], 96), // NAT64
    Cidr::v6([0x0064, 0xff9b, 1, 0, 0, 0], 48), // NAT64 for local use
    Cidr::v6([0x2001, 0, 0, 0, 0, 0], 32),      // Teredo
    Cidr::v6([0x2002, 0, 0, 0, 0, 0], 16),      // 6to4
    Cidr::v6([0x0100, 0, 0, 0, 0, 0], 64),      // discard
    Cidr::v6([0x2001, 0x0002, 0, 0, 0, 0], 48), // benchmarks
    Cidr::v6([0x2001, 0x0db8, 0, 0, 0, 0], 32), // documentation
    Cidr::v6([0x2001, 0x0010, 0, 0, 0, 0], 28), // ORCHID
    Cidr::v6([0x2001, 0x0020, 0, 0, 0, 0], 28), // ORCHIDv2
    Cidr::v6([0x3fff, 0, 0, 0, 0, 0], 20),      // documentation
    Cidr::v6([0x5f00, 0, 0, 0, 0, 0], 16),      // segment routing
    Cidr::v6([0xfc00, 0, 0, 0, 0, 0], 7),       // unique local
    Cidr::v6([0xfe80, 0, 0, 0, 0, 0], 10),      // link-local
    Cidr::v6([0xfec0, 0, 0, 0, 0, 0], 10),      // site-local, retired
    Cidr::v6([0xff00, 0, 0, 0, 0, 0], 8),       // multicast
];

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
        self.lists(address) || !SPECIAL.iter().any(|block| block.contains(address))
    }

    /// Whether a block of the list names this address: plain `http` is spoken to those only.
    pub fn lists(&self, address: IpAddr) -> bool {
        // An IPv4-mapped address is the same host, whichever way it is written.
        let plain = address.to_canonical();
        self.allow
            .iter()
            .any(|block| block.contains(address) || block.contains(plain))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn private_and_special_addresses_are_refused() {
        let guard = Egress::default();
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::ffff:0:7f00:1",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b::808:808",
            "64:ff9b:1::1",
            "2001::1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "100::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!guard.allows(ip(address)), "{address}");
        }
    }

    #[test]
    fn public_addresses_pass() {
        let guard = Egress::default();
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450:4001::200e",
            "2620:fe::9",
        ] {
            assert!(guard.allows(ip(address)), "{address}");
            assert!(!guard.lists(ip(address)), "{address}");
        }
    }

    #[test]
    fn the_list_opens_its_blocks_alone() {
        let guard = Egress::new(vec![
            "127.0.0.0/8".parse().unwrap(),
            "fd00::/8".parse().unwrap(),
        ]);
        assert!(guard.allows(ip("127.0.0.1")) && guard.lists(ip("127.9.9.9")));
        assert!(guard.lists(ip("::ffff:127.0.0.1")) && guard.lists(ip("fd00::1")));
        assert!(!guard.allows(ip("10.0.0.1")) && !guard.allows(ip("::1")));
        assert!(!guard.lists(ip("8.8.8.8")) && guard.allows(ip("8.8.8.8")));
    }

    #[test]
    fn blocks_are_read_strictly() {
        for good in [
            "127.0.0.0/8",
            "10.1.2.3",
            "0.0.0.0/0",
            "::/0",
            "fd00::/8",
            " 10.0.0.0/8 ",
        ] {
            assert!(good.parse::<Cidr>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1/8",
            "10.0.0.0/33",
            "::/129",
            "localhost",
            "10.0.0.0/",
            "10/8",
            "1.2.3.4/-1",
        ] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
        let all: Cidr = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains(ip("8.8.8.8")) && !all.contains(ip("::1")));
    }

    proptest! {
        #[test]
        fn what_std_calls_private_is_refused(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from_bits(bits);
            if v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast()
                || v4.is_broadcast() || v4.is_documentation() || v4.is_unspecified() {
                prop_assert!(!Egress::default().allows(v4.into()));
            }
            prop_assert!(!Egress::default().allows(v4.to_ipv6_mapped().into()));
        }

        #[test]
        fn reading_never_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<Cidr>();
        }
    }
}
