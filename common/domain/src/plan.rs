//! Plans as data, and the arithmetic of a statement: what a month's billed calls cost. Pure functions of
//! their inputs, so that a statement run twice gives the same bytes.

use serde::{Deserialize, Serialize};

/// What a partner may use and what it pays beyond. Plans are settings (`[plans.<name>]`), not code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Calls included per UTC calendar month; absent means unlimited.
    pub included_calls_per_month: Option<u64>,
    /// Provider calls per minute, over all of the partner's keys.
    pub calls_per_minute: u32,
    /// Calls that may be made at once after a quiet minute; absent means one minute's allowance.
    pub burst_calls: Option<u32>,
    /// What a unit of overage costs; absent means that calls are refused once the included ones are used.
    pub overage: Option<Overage>,
}

/// The price of calls beyond the included ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overage {
    /// Calls in a unit.
    pub unit_calls: u64,
    /// Price of a unit in minor units of the currency (cents).
    pub unit_price_minor: u64,
    /// ISO 4217 code.
    pub currency: String,
}

/// What a period costs so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// Calls included; absent means unlimited.
    pub included: Option<u64>,
    /// Billed calls.
    pub used: u64,
    /// Billed calls beyond the included ones.
    pub overage_calls: u64,
    /// Started units are charged by the call: this many whole units,
    pub overage_units: u64,
    /// and this many calls of the next one.
    pub overage_rest_calls: u64,
    /// The amount in minor units, rounded half up once, at the end.
    pub amount_minor: u64,
}

impl Plan {
    /// Calls that may be made at once.
    pub fn burst(&self) -> u32 {
        self.burst_calls.unwrap_or(self.calls_per_minute).max(1)
    }

    /// Whether another call is refused after `used` billed ones this month.
    pub fn blocks_at(&self, used: u64) -> bool {
        self.overage.is_none() && self.included_calls_per_month.is_some_and(|n| used >= n)
    }

    /// What `used` billed calls cost in one month. The rate is by the call (a unit's price ÷ its calls):
    /// the published "$0.50 per 1,000" is metered, not sold in blocks.
    pub fn charge(&self, used: u64) -> Charge {
        let overage_calls = self
            .included_calls_per_month
            .map_or(0, |n| used.saturating_sub(n));
        let (units, rest, amount) = self.overage.as_ref().map_or((0, 0, 0), |o| {
            let unit = o.unit_calls.max(1);
            let exact = u128::from(overage_calls) * u128::from(o.unit_price_minor);
            let amount = (exact + u128::from(unit) / 2) / u128::from(unit);
            (
                overage_calls / unit,
                overage_calls % unit,
                u64::try_from(amount).unwrap_or(u64::MAX),
            )
        });
        Charge {
            included: self.included_calls_per_month,
            used,
            overage_calls,
            overage_units: units,
            overage_rest_calls: rest,
            amount_minor: amount,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pro() -> Plan {
        Plan {
            included_calls_per_month: Some(100_000),
            calls_per_minute: 300,
            burst_calls: None,
            overage: Some(Overage {
                unit_calls: 1000,
                unit_price_minor: 50,
                currency: "USD".into(),
            }),
        }
    }

    #[test]
    fn overage_is_metered_by_the_call() {
        let amounts: Vec<_> = [0, 100_000, 100_009, 100_010, 101_000, 102_500]
            .map(|n| pro().charge(n).amount_minor)
            .into();
        assert_eq!(amounts, [0, 0, 0, 1, 50, 125]);
        let charge = pro().charge(102_500);
        assert_eq!((charge.overage_units, charge.overage_rest_calls), (2, 500));
        assert!(!pro().blocks_at(1_000_000));
    }

    #[test]
    fn a_plan_without_overage_blocks() {
        let free = Plan {
            included_calls_per_month: Some(1000),
            overage: None,
            ..pro()
        };
        assert!(!free.blocks_at(999));
        assert!(free.blocks_at(1000));
        assert_eq!(free.charge(1500).amount_minor, 0);
        let unlimited = Plan {
            included_calls_per_month: None,
            ..free
        };
        assert!(!unlimited.blocks_at(u64::MAX));
        assert_eq!(unlimited.burst(), 300);
    }
}
