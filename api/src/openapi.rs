//! The OpenAPI 3.1 documents, made from the handlers: what is the same for every operation (errors,
//! idempotency, who may ask) is added here once.

use bytes::Bytes;
use utoipa::{
    OpenApi, PartialSchema, ToSchema,
    openapi::{
        Components, Content, Ref, RefOr, Response, ResponseBuilder,
        path::{Operation, ParameterBuilder, ParameterIn},
        schema::{ObjectBuilder, OneOfBuilder, Schema, Type},
        security::{
            ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
        },
    },
};

use crate::{
    error::{Code, ErrorBody, FieldError},
    flowra,
};

/// The tag of operations that need no key.
pub(crate) const PUBLIC: &str = "public";

/// What the partners' document begins with.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Latchkey",
        description = "Holds OAuth grants for your users: connect accounts, keep their tokens fresh, and call \
                       providers on their behalf. Answers are `{\"ok\":true,\"data\":…}`; refusals \
                       `{\"ok\":false,\"error\",\"error_code\",\"request_id\",\"details\"?}`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(ErrorBody, FieldError, Code, flowra::Refusal))
)]
struct Partners;

/// What the operator's document begins with.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Latchkey, for its operator",
        description = "Partners, their keys, and OAuth clients. Served on the admin listener, with the \
                       operator's token as `Authorization: Bearer …`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(ErrorBody, FieldError, Code))
)]
struct Operator;

/// The beginning of the partners' document.
pub(crate) fn partners() -> utoipa::openapi::OpenApi {
    let mut doc = Partners::openapi();
    let key = "An API key, `sk_live_…` or `sk_test_…`.";
    let mut plain = ApiKeyValue::new("x-api-key");
    plain.description = Some(key.to_owned());
    let components = doc.components.get_or_insert_with(Components::new);
    components.add_security_scheme("bearer", bearer(key));
    components.add_security_scheme("api_key", SecurityScheme::ApiKey(ApiKey::Header(plain)));
    doc.security = Some(["bearer", "api_key"].map(required).to_vec());
    doc
}

/// The beginning of the operator's document.
pub(crate) fn operator() -> utoipa::openapi::OpenApi {
    let mut doc = Operator::openapi();
    let components = doc.components.get_or_insert_with(Components::new);
    components.add_security_scheme("bearer", bearer("The operator's token."));
    doc.security = Some(vec![required("bearer")]);
    doc
}

fn bearer(description: &str) -> SecurityScheme {
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(description));
    SecurityScheme::Http(scheme.build())
}

fn required(scheme: &str) -> SecurityRequirement {
    SecurityRequirement::new(scheme, [""; 0])
}

/// Adds to every operation what all have in common, and writes the document down.
pub(crate) fn finish(mut doc: utoipa::openapi::OpenApi) -> Bytes {
    for item in doc.paths.paths.values_mut() {
        let operations = [
            &mut item.get,
            &mut item.put,
            &mut item.delete,
            &mut item.patch,
        ];
        for operation in operations.into_iter().flatten() {
            common(operation);
        }
        if let Some(post) = &mut item.post {
            common(post);
            let key = ParameterBuilder::new()
                .name("Idempotency-Key")
                .parameter_in(ParameterIn::Header)
                .description(Some(
                    "Any unique text of up to 255 characters. The same request with the same key gives \
                     the first answer again, for 24 hours.",
                ))
                .schema(Some(ObjectBuilder::new().schema_type(Type::String)));
            post.parameters
                .get_or_insert_default()
                .push(RefOr::T(key.build()));
        }
    }
    // A document of maps and texts always has a JSON form.
    Bytes::from(serde_json::to_vec(&doc).unwrap_or_default())
}

fn common(operation: &mut Operation) {
    for response in operation.responses.responses.values_mut() {
        // The standard asks for a text; most of ours have nothing to say beyond their schema.
        if let RefOr::T(response) = response
            && response.description.is_empty()
        {
            "Done.".clone_into(&mut response.description);
        }
    }
    let response: Response = ResponseBuilder::new()
        .description("Refused; its code says why.")
        .content("application/json", Content::new(Some(refusal(operation))))
        .build();
    operation
        .responses
        .responses
        .insert("default".to_owned(), RefOr::T(response));
    if operation.tags.iter().flatten().any(|tag| tag == PUBLIC) {
        // An empty requirement: nothing is needed.
        operation.security = Some(vec![SecurityRequirement::default()]);
    }
}

/// How an operation refuses: as its face does, or as either if both have it.
fn refusal(operation: &Operation) -> RefOr<Schema> {
    const FLOWRA: &str = "FlowraError";
    const OURS: &str = "ErrorBody";
    let tags = operation.tags.as_deref().unwrap_or_default();
    let of_flowra = tags.iter().filter(|tag| tag.starts_with("flowra")).count();
    if of_flowra == 0 {
        Ref::from_schema_name(OURS).into()
    } else if of_flowra == tags.len() {
        Ref::from_schema_name(FLOWRA).into()
    } else {
        let either = OneOfBuilder::new()
            .item(Ref::from_schema_name(OURS))
            .item(Ref::from_schema_name(FLOWRA));
        either.into()
    }
}

/// A time in answers: RFC 3339 with milliseconds, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time(pub latchkey_domain::Timestamp);

impl serde::Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
    }
}

impl PartialSchema for Time {
    fn schema() -> RefOr<utoipa::openapi::Schema> {
        let date_time =
            utoipa::openapi::SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::DateTime);
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(date_time))
            .examples(["2026-11-21T20:33:00.500Z"])
            .into()
    }
}

impl ToSchema for Time {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use crate::testing::TestApi;

    fn check(doc: &Value) {
        assert_eq!(doc["openapi"], "3.1.0");
        let text = doc.to_string();
        let mut ids = BTreeSet::new();
        for (path, item) in doc["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let name = format!("{method} {path}");
                let id = operation["operationId"].as_str().unwrap();
                assert!(ids.insert(id.to_owned()), "{name}: {id} is used twice");
                assert!(operation["summary"].is_string(), "{name} has no summary");
                assert!(operation["tags"].is_array(), "{name} has no tag");
                assert!(
                    operation["responses"]["default"].is_object(),
                    "{name} has no errors"
                );
                for response in operation["responses"].as_object().unwrap().values() {
                    assert!(
                        response["description"].is_string(),
                        "{name}: a response without text"
                    );
                }
                let parameters = operation["parameters"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default();
                for parameter in path
                    .split('/')
                    .filter_map(|s| s.strip_prefix('{')?.strip_suffix('}'))
                {
                    let named = |p: &Value| p["name"] == *parameter.trim_start_matches('*');
                    assert!(
                        parameters.iter().any(named),
                        "{name} does not explain {parameter}"
                    );
                }
                let keyed = parameters.iter().any(|p| p["name"] == "Idempotency-Key");
                assert_eq!(keyed, method == "post", "{name}");
            }
        }
        let codes = doc["components"]["schemas"]["Code"]["enum"]
            .as_array()
            .unwrap();
        assert!(codes.contains(&"INVALID_REQUEST".into()), "{codes:?}");
        for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(
                doc["components"]["schemas"][name].is_object(),
                "{name} is not there"
            );
        }
    }

    #[tokio::test]
    async fn the_documents_hold_together() {
        let api = TestApi::new().await;
        check(&api.anyone().get("/api/v1/openapi.json").await.json());
        check(&api.operator().get("/operator/openapi.json").await.json());
    }
}
