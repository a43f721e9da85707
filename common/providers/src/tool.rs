//! Named endpoints as function descriptions, for programs that choose among them (OpenAI's function form, JSON
//! Schema for the parameters).

use serde_json::{Map, Value, json};

use crate::entry::{BodyRule, Endpoint, EndpointParam, ParamPlace, ParamType, Provider, Service};

impl Provider {
    /// The name under which an endpoint is known as a tool: `gmail_list_messages`, `github_list_issues`,
    /// `microsoft_mail_list_messages`.
    pub fn tool_name(&self, service: &Service, endpoint: &Endpoint) -> String {
        format!("{}_{}", self.tool_prefix(service, "_"), endpoint.name)
    }

    /// The path by which partners call an endpoint, from the API's origin.
    pub fn tool_path(&self, service: &Service, endpoint: &Endpoint) -> String {
        format!(
            "/api/v1/{}{}",
            self.tool_prefix(service, "/"),
            endpoint.path
        )
    }

    fn tool_prefix(&self, service: &Service, between: &str) -> String {
        if service.top_level {
            return service.slug.clone();
        }
        if self.services.len() == 1 {
            return self.slug.clone();
        }
        format!("{}{between}{}", self.slug, service.slug)
    }
}

impl Endpoint {
    /// What it does, in a sentence: the entry's words, else those of its name.
    pub fn sentence(&self, provider: &Provider, service: &Service) -> String {
        if let Some(about) = &self.about {
            return about.clone();
        }
        let words = self.name.replace('_', " ");
        let mut letters = words.chars();
        let first = letters.next().into_iter().flat_map(char::to_uppercase);
        let first: String = first.chain(letters).collect();
        let of = if provider.services.len() == 1 || service.slug == "api" {
            provider.display_name.clone()
        } else {
            format!("{} {}", provider.display_name, service.slug)
        };
        format!("{first} in {of}")
    }

    /// Its parameters as a JSON Schema object.
    pub fn schema(&self) -> Value {
        let properties: Map<String, Value> = self
            .params
            .iter()
            .map(|(name, param)| (name.clone(), param.schema()))
            .collect();
        let required = self
            .params
            .iter()
            .filter(|(_, param)| param.required || param.place == ParamPlace::Path);
        let required: Vec<&String> = required.map(|(name, _)| name).collect();
        json!({
            "type": "object",
            "properties": properties,
            "required": required,
            // A body that is handed on takes whatever the provider does.
            "additionalProperties": self.body == BodyRule::Json,
        })
    }
}

impl EndpointParam {
    /// Its values as JSON Schema.
    pub fn schema(&self) -> Value {
        let mut schema = match self.kind {
            ParamType::String => json!({"type": "string"}),
            ParamType::Integer => json!({"type": "integer"}),
            ParamType::Boolean => json!({"type": "boolean"}),
            ParamType::Strings => json!({"type": "array", "items": {"type": "string"}}),
            ParamType::Json => json!({}),
        };
        let limits = match self.kind {
            ParamType::Integer => [("minimum", self.min), ("maximum", self.max)],
            _ => [("minLength", self.min), ("maxLength", self.max)],
        };
        for (name, limit) in limits {
            if let Some(limit) = limit {
                schema[name] = limit.into();
            }
        }
        if !self.one_of.is_empty() {
            schema["enum"] = self.one_of.clone().into();
        }
        if let Some(default) = &self.default {
            schema["default"] = self.kind.json(default);
        }
        if let Some(about) = &self.about {
            schema["description"] = about.clone().into();
        }
        schema
    }
}

#[cfg(test)]
mod tests {
    use crate::Catalog;

    #[test]
    fn tools_are_named_as_existing_clients_know_them() {
        let catalog = Catalog::load(None).unwrap();
        let tool = |provider: &str, service: &str, endpoint: &str| {
            let provider = catalog.get(provider).unwrap();
            let service = provider.service(service).unwrap();
            let endpoint = service
                .endpoints
                .iter()
                .find(|e| e.name == endpoint)
                .unwrap();
            let name = provider.tool_name(service, endpoint);
            (
                name,
                provider.tool_path(service, endpoint),
                endpoint.schema(),
            )
        };
        let (name, path, _) = tool("google", "drive", "list_files");
        assert_eq!(
            (name.as_str(), path.as_str()),
            ("drive_list_files", "/api/v1/drive/files")
        );
        let (name, path, schema) = tool("github", "api", "list_issues");
        assert_eq!(name, "github_list_issues");
        assert_eq!(path, "/api/v1/github/repos/{owner}/{repo}/issues");
        assert_eq!(schema["required"], serde_json::json!(["owner", "repo"]));
        assert_eq!(schema["properties"]["limit"]["maximum"], 100);
        let (name, path, _) = tool("microsoft", "mail", "list_messages");
        assert_eq!(name, "microsoft_mail_list_messages");
        assert_eq!(path, "/api/v1/microsoft/mail/messages");
        // Every name is one.
        let mut names = std::collections::BTreeSet::new();
        for provider in catalog.providers() {
            for service in &provider.services {
                for endpoint in &service.endpoints {
                    let name = provider.tool_name(service, endpoint);
                    assert!(names.insert(name.clone()), "{name}");
                }
            }
        }
        let documented = "drive_list_files github_list_issues github_create_issue hubspot_list_contacts \
            jira_list_issues linear_list_issues linkedin_get_profile linkedin_list_posts twitter_list_tweets \
            calendly_list_event_types calendly_list_events salesforce_list_contacts \
            salesforce_list_opportunities pipedrive_list_deals notion_list_pages slack_list_channels \
            microsoft_mail_list_messages gmail_list_messages";
        let missing: Vec<_> = documented
            .split_whitespace()
            .filter(|name| !names.contains(*name))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
