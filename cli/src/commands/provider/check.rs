//! `latchkey provider check`.

use std::path::PathBuf;

use clap::Args;
use latchkey_providers::{Catalog, CatalogError, Provider};
use serde_json::json;

use crate::{
    failure::AlreadyTold,
    output::{self, Paint},
};

const EXAMPLES: &str = "\
Examples:
  latchkey provider check ./providers/acme.toml
  latchkey provider check acme.toml --json

An error names the line, and what is wrong with it. Exit 1 if there is one.";

/// Check a catalogue file as the server would read it
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The file
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let paint = Paint::stdout();
    match Catalog::check_file(&arguments.file) {
        Ok(provider) => {
            let advice = advice(&provider);
            if arguments.json {
                return output::json(&json!({"ok": true, "slug": provider.slug, "advice": advice}));
            }
            output::line(&format!("{}  {}", paint.good("ok"), provider.slug))?;
            advice
                .iter()
                .try_for_each(|line| output::line(&format!("    {line}")))
        }
        Err(CatalogError::Entry {
            file,
            line,
            message,
        }) => {
            if arguments.json {
                output::json(&json!({"ok": false, "file": file, "line": line, "error": message}))?;
            } else {
                output::line(&format!("{}  {file}:{line}: {message}", paint.bad("FAIL")))?;
            }
            Err(AlreadyTold.into())
        }
        Err(error) => {
            if arguments.json {
                let file = arguments.file.display().to_string();
                let error = anyhow::Error::from(error);
                output::json(&json!({"ok": false, "file": file, "error": format!("{error:#}")}))?;
                return Err(AlreadyTold.into());
            }
            Err(error.into())
        }
    }
}

/// What is not wrong, and would be better otherwise.
fn advice(provider: &Provider) -> Vec<String> {
    let mut advice = Vec::new();
    if provider.oauth.identity.is_none() {
        advice.push("no oauth.identity: two accounts of one user cannot be told apart".to_owned());
    }
    if provider.oauth.revoke.is_none() && provider.oauth.disconnect_help_url.is_none() {
        advice.push(
            "no oauth.revoke and no oauth.disconnect_help_url: a user cannot end the access"
                .to_owned(),
        );
    }
    let asked = provider.oauth.identity.as_ref();
    let asked = asked.filter(|identity| identity.url.is_some());
    if asked.is_some_and(|identity| identity.example.is_none()) {
        advice
            .push("oauth.identity has no example: the sandbox cannot say who connected".to_owned());
    }
    for service in &provider.services {
        let silent = service
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.example.is_none());
        for endpoint in silent {
            advice.push(format!(
                "{}.{} has no example: the sandbox cannot answer it",
                service.slug, endpoint.name
            ));
        }
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_sandbox_could_not_answer_is_said() {
        let text = "slug = \"acme\"\ndisplay_name = \"Acme\"\n\
            [oauth.authorize]\nurl = \"https://acme.example/authorize\"\n\
            [oauth.token]\nurl = \"https://acme.example/token\"\n\
            [oauth.identity]\nurl = \"https://acme.example/me\"\nstable_key = [\"/id\"]\n\
            [[services]]\nslug = \"api\"\nbase_url = \"https://acme.example\"\n\
            [[services.permissions]]\nid = \"acme.read\"\nkind = \"read\"\n\
            [[services.endpoints]]\nname = \"get_me\"\nmethod = \"GET\"\npath = \"/me\"\n\
            permission = \"acme.read\"\nrequest.path = \"/me\"\n";
        let advice = advice(&Catalog::parse("acme.toml", text).unwrap());
        assert_eq!(
            advice,
            [
                "no oauth.revoke and no oauth.disconnect_help_url: a user cannot end the access",
                "oauth.identity has no example: the sandbox cannot say who connected",
                "api.get_me has no example: the sandbox cannot answer it",
            ]
        );
    }

    #[test]
    fn our_own_entries_need_no_advice() {
        let catalog = Catalog::load(None).unwrap();
        for provider in catalog
            .providers()
            .filter(|provider| provider.slug != "sandbox")
        {
            let advice = advice(provider);
            assert!(advice.is_empty(), "{}: {advice:?}", provider.slug);
        }
    }
}
