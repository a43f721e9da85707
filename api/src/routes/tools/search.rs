//! `GET /tools/search/{query}`.

use std::sync::Arc;

use axum::extract::State;
use http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::Tool;
use crate::{
    auth::Partner,
    error::ApiError,
    extract::Path,
    reply::{Envelope, Reply, Result},
    state::Api,
};

/// Longest query, in characters, and most of its words that count.
const QUERY_CHARS: usize = 200;
const QUERY_WORDS: usize = 10;

/// A tool and how well it fits.
#[derive(Serialize, ToSchema)]
struct Scored {
    #[serde(flatten)]
    tool: Tool,
    /// From 0 to 1: the share of the query's words that it has; words of its name count most.
    #[schema(example = 0.9)]
    score: f64,
}

/// Tools that fit, best first.
#[derive(Serialize, ToSchema)]
pub(crate) struct Found {
    /// The tools.
    tools: Vec<Scored>,
    /// How many.
    total: usize,
}

/// Search tools
#[utoipa::path(get, path = "/api/v1/tools/search/{query}", tag = "tools",
    params(("query" = String, Path, description = "Words", example = "send email"),
        ("X-Account-Id" = Option<String>, Header, description = "An account's `external_id`")),
    responses((status = 200, body = Envelope<Found>)))]
pub(crate) async fn search_tools(
    State(api): State<Arc<Api>>,
    partner: Partner,
    headers: HeaderMap,
    Path(query): Path<String>,
) -> Result<Reply<Found>> {
    if query.chars().count() > QUERY_CHARS {
        let text = format!("must be at most {QUERY_CHARS} characters");
        return Err(ApiError::field("query", text));
    }
    let words: Vec<String> = words(&query).take(QUERY_WORDS).collect();
    let tools = super::tools(&api, &partner, &headers, |_, _| true).await?;
    let scored = tools.into_iter().map(|tool| Scored {
        score: score(&tool, &words),
        tool,
    });
    let mut tools: Vec<_> = scored.filter(|found| found.score > 0.0).collect();
    // A stable sort: what fits equally well stays in the catalogue's order.
    tools.sort_by(|a, b| b.score.total_cmp(&a.score));
    Ok(Reply(Found {
        total: tools.len(),
        tools,
    }))
}

fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    let split = text.split(|c: char| !c.is_alphanumeric());
    split.filter(|word| !word.is_empty()).map(str::to_lowercase)
}

/// The share of the query's words that the tool has: whole in its name, or anywhere in its words for less.
fn score(tool: &Tool, query: &[String]) -> f64 {
    /// What a word counts that stands in the description or begins another word.
    const PARTLY: f64 = 0.5;
    let name: Vec<String> = words(&tool.function.name).collect();
    let rest = format!(
        "{} {} {}",
        tool.function.description, tool.metadata.provider, tool.metadata.service
    );
    let rest: Vec<String> = words(&rest).chain(name.iter().cloned()).collect();
    let points = query.iter().map(|word| {
        if name.contains(word) {
            1.0
        } else if rest.iter().any(|known| known.starts_with(word.as_str())) {
            PARTLY
        } else {
            0.0
        }
    });
    let most = u32::try_from(query.len().max(1)).unwrap_or(u32::MAX);
    points.sum::<f64>() / f64::from(most)
}
