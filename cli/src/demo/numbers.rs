//! Both sides' numbers: the sandbox's counters and our own metrics, so that they can be laid side by side.

use anyhow::Context as _;
use axum::http::Method;
use serde_json::{Map, Value};
use url::Url;

use crate::http::{Http, Request};

/// The metric of refreshes, and the label of those that landed.
pub(crate) const REFRESHES: &str = "latchkey_refresh_total";
/// See [`REFRESHES`].
pub(crate) const REFRESHED: &[&str] = &["outcome=\"refreshed\""];

/// The sandbox as its tests and demos see it.
#[derive(Clone, Debug)]
pub(crate) struct Sandbox {
    http: Http,
    /// Its origin.
    pub(crate) url: Url,
}

/// What the sandbox counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters(Map<String, Value>);

impl Counters {
    /// One counter.
    pub(crate) fn get(&self, name: &str) -> u64 {
        self.0.get(name).and_then(Value::as_u64).unwrap_or(0)
    }

    /// How much one counter has grown since `before`.
    pub(crate) fn since(&self, before: &Self, name: &str) -> u64 {
        self.get(name).saturating_sub(before.get(name))
    }
}

impl Sandbox {
    pub(crate) fn new(http: Http, url: Url) -> Self {
        Self { http, url }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let mut request = Request::new(method, self.url.join(path)?);
        if let Some(body) = body {
            request = request.json(&body)?;
        }
        let answer = self.http.send(request).await?;
        anyhow::ensure!(
            answer.status < 300,
            "the sandbox refused {path}: {}",
            answer.text()
        );
        Ok(answer.json())
    }

    /// All counters.
    pub(crate) async fn counters(&self) -> anyhow::Result<Counters> {
        match self.ask(Method::GET, "/sandbox/counters", None).await? {
            Value::Object(all) => Ok(Counters(all)),
            other => anyhow::bail!("the sandbox's counters are no object: {other}"),
        }
    }

    /// Changes how it behaves.
    pub(crate) async fn set(&self, settings: Value) -> anyhow::Result<()> {
        self.ask(Method::PUT, "/sandbox/settings", Some(settings))
            .await
            .map(drop)
    }

    /// Waits until a counter shows at least this.
    pub(crate) async fn wait(&self, counter: &str, at_least: u64) -> anyhow::Result<u64> {
        let path = format!("/sandbox/wait?counter={counter}&at_least={at_least}&timeout_ms=30000");
        let answer = self.ask(Method::GET, &path, None).await?;
        anyhow::ensure!(
            answer["reached"] == true,
            "the sandbox's {counter} stays below {at_least}: {answer}"
        );
        answer["value"]
            .as_u64()
            .context("the sandbox's counter is no number")
    }
}

/// Our metrics at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(String);

impl Metrics {
    /// Reads them from the admin port.
    pub(crate) async fn read(http: &Http, admin: &Url) -> anyhow::Result<Self> {
        let answer = http
            .send(Request::new(Method::GET, admin.join("/metrics")?))
            .await?;
        anyhow::ensure!(answer.status == 200, "/metrics answers {}", answer.status);
        Ok(Self(answer.text()))
    }

    /// The sum over all series of this name that carry every one of these labels (`outcome="refreshed"`).
    pub(crate) fn sum(&self, name: &str, labels: &[&str]) -> u64 {
        let fits = |line: &&str| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|l| line.contains(l))
        };
        let values = self
            .0
            .lines()
            .filter(fits)
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        // Counters are whole numbers far below 2^53.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole, positive, small"
        )]
        values.map(|value| value as u64).sum()
    }

    /// How much such a sum has grown since `before`.
    pub(crate) fn since(&self, before: &Self, name: &str, labels: &[&str]) -> u64 {
        self.sum(name, labels)
            .saturating_sub(before.sum(name, labels))
    }

    /// A histogram's lower bound since `before`: every observation was above this.
    pub(crate) fn least(&self, before: &Self, histogram: &str) -> Option<f64> {
        let now = self.buckets(histogram);
        let old = before.buckets(histogram);
        let seen = |bound: f64, now: u64| {
            let old = old
                .iter()
                .find(|(b, _)| (b - bound).abs() < f64::EPSILON)
                .map_or(0, |(_, n)| *n);
            now.saturating_sub(old)
        };
        let all = self.sum(&format!("{histogram}_count"), &[]);
        if all == before.sum(&format!("{histogram}_count"), &[]) {
            return None;
        }
        let empty = now
            .iter()
            .take_while(|(bound, count)| seen(*bound, *count) == 0);
        Some(empty.last().map_or(0.0, |(bound, _)| *bound))
    }

    /// Upper bounds of a histogram's buckets with their counts so far, over all of its series, ascending.
    pub(crate) fn buckets(&self, histogram: &str) -> Vec<(f64, u64)> {
        let name = format!("{histogram}_bucket");
        let mut bounds: Vec<f64> = Vec::new();
        for line in self.0.lines().filter(|line| line.starts_with(&name)) {
            let le = line
                .split_once("le=\"")
                .and_then(|(_, rest)| rest.split_once('"'));
            bounds.extend(
                le.and_then(|(bound, _)| bound.parse::<f64>().ok())
                    .filter(|b| b.is_finite()),
            );
        }
        bounds.sort_by(f64::total_cmp);
        bounds.dedup();
        bounds
            .into_iter()
            .map(|bound| (bound, self.sum(&name, &[&format!("le=\"{bound}\"")])))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP a_total things
a_total{provider=\"sandbox\",outcome=\"refreshed\"} 7
a_total{provider=\"google\",outcome=\"refreshed\"} 2
a_total{provider=\"sandbox\",outcome=\"in_doubt\"} 1
a_total_more 100
lead_bucket{provider=\"sandbox\",le=\"0.5\"} 1
lead_bucket{provider=\"sandbox\",le=\"1\"} 1
lead_bucket{provider=\"sandbox\",le=\"2.5\"} 4
lead_bucket{provider=\"sandbox\",le=\"+Inf\"} 9
lead_count{provider=\"sandbox\"} 9
";

    #[test]
    fn series_are_summed_by_label() {
        let metrics = Metrics(TEXT.into());
        assert_eq!(metrics.sum("a_total", &[]), 10);
        assert_eq!(
            metrics.sum(
                "a_total",
                &["outcome=\"refreshed\"", "provider=\"sandbox\""]
            ),
            7
        );
        assert_eq!(metrics.sum("b_total", &[]), 0);
    }

    #[test]
    fn the_least_of_a_histogram_is_its_first_filled_bucket() {
        let all = Metrics(TEXT.into());
        assert_eq!(all.least(&Metrics::default(), "lead"), Some(0.0));
        assert_eq!(all.least(&all, "lead"), None);
        let before = "lead_bucket{le=\"0.5\"} 1\nlead_bucket{le=\"1\"} 1\nlead_bucket{le=\"2.5\"} 1\nlead_count 1\n";
        assert_eq!(all.least(&Metrics(before.into()), "lead"), Some(1.0));
    }
}
