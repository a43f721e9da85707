//! The first screen: where the server listens, how to make a partner, where the docs are.

use std::{fmt::Write, path::Path};

use latchkey_runtime::{Config, Role, RunFile, context::key_file};

use crate::output::{self, Paint};

/// What it shows.
pub(crate) struct Screen<'a> {
    /// Where the server listens.
    pub(crate) run: &'a RunFile,
    /// Its settings.
    pub(crate) config: &'a Config,
    /// What this process does.
    pub(crate) roles: &'a [Role],
    /// Whether this start made the key file.
    pub(crate) new_key: bool,
    /// The simulated provider's URL and its auth config.
    pub(crate) sandbox: Option<(&'a str, &'a str)>,
}

/// Shows the screen; programs read the same from one log event, or from `run.json`, which is there by now.
pub(crate) fn show(screen: &Screen<'_>) -> anyhow::Result<()> {
    let Screen { run, config, .. } = screen;
    tracing::info!(
        listen = %config.listen, admin = %config.admin_listen, public_url = run.public_url,
        data_dir = %config.data_dir.display(), engine = engine(config), roles = names(screen.roles), sandbox = screen.sandbox.map(|(url, _)| url),
        "serving"
    );
    let program = std::env::args()
        .next()
        .unwrap_or_else(|| "latchkey".to_owned());
    output::line(&text(screen, &program, Paint::stdout()))
}

fn text(screen: &Screen<'_>, program: &str, paint: Paint) -> String {
    let Screen { run, config, .. } = screen;
    let mut out = format!("\n  {} {}\n\n", paint.bold("Latchkey"), run.version);
    let mut row = |name: &str, value: &str, words: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {name:<9} {value:<30} {}", paint.dim(words));
    };
    let serves_api = screen.roles.contains(&Role::Api);
    if serves_api {
        row("API", &run.public_url, "what partners call");
        row(
            "Docs",
            &format!("{}/docs", run.public_url),
            "every endpoint; the same as JSON at /api/v1/openapi.json",
        );
    }
    let admin = if serves_api {
        "metrics, health, the operator's routes; never expose it"
    } else {
        "metrics and health; never expose it"
    };
    row("Admin", &run.admin_url, admin);
    let (kept, engine_words) = if config.is_fleet() {
        (
            "journals: keep them on a volume that outlasts the process",
            "PostgreSQL and Redis, with any number of other processes",
        )
    } else {
        ("SQLite store, journals", "nothing to install")
    };
    row("Data", &config.data_dir.display().to_string(), kept);
    let key = if config.key.is_some() {
        "from LATCHKEY_KEY".into()
    } else {
        key_file(config).display().to_string()
    };
    let keep = "keep a copy apart from the data: without it nothing sealed opens again";
    row(
        "Key",
        &key,
        if screen.new_key {
            "made just now; keep a copy apart from the data"
        } else {
            keep
        },
    );
    row("Engine", engine(config), engine_words);
    row("Roles", &names(screen.roles), "what this process does");
    if let Some((url, auth_config)) = screen.sandbox {
        row(
            "Sandbox",
            url,
            &format!("plays the provider 'sandbox'; auth config {auth_config}"),
        );
    }
    if !serves_api {
        out.push_str(&ending(paint));
        return out;
    }
    let place = if config.data_dir == Path::new("./latchkey-data") {
        String::new()
    } else {
        format!(" --data-dir {}", config.data_dir.display())
    };
    let _ = write!(
        out,
        "\n  Make a partner and its key:\n    {program} partner create --company Acme --website \
         https://acme.example \\\n        --redirect-url http://localhost:3000/connected{place}\n",
    );
    out + &ending(paint)
}

fn ending(paint: Paint) -> String {
    format!(
        "\n  {}\n",
        paint.dim("Ctrl-C finishes what is in flight, then stops.")
    )
}

fn engine(config: &Config) -> &'static str {
    if config.is_fleet() {
        "fleet"
    } else {
        "embedded"
    }
}

fn names(roles: &[Role]) -> String {
    let names: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use latchkey_domain::Timestamp;
    use secrecy::SecretString;

    use super::*;

    #[test]
    fn it_says_where_how_and_what_and_never_the_token() {
        let flags = [("data_dir", "/srv/keys".to_owned())];
        let config = Config::load(None, &flags).unwrap();
        let run = RunFile {
            pid: 1,
            public_url: "http://127.0.0.1:8080".into(),
            admin_url: "http://127.0.0.1:9464".into(),
            sandbox_url: None,
            operator_token: SecretString::from("hush"),
            started_at: Timestamp::from_secs(0),
            version: "1.2.3".into(),
        };
        let sandbox = Some(("http://127.0.0.1:8081", "ac_1"));
        let screen = Screen {
            run: &run,
            config: &config,
            roles: &[Role::Api, Role::Worker, Role::Scheduler],
            new_key: true,
            sandbox,
        };
        let text = text(&screen, "latchkey", Paint::plain());
        for part in [
            "http://127.0.0.1:8080",
            "/docs",
            "9464",
            "/srv/keys/key",
            "made just now",
            "embedded",
            "api, worker, scheduler",
            "8081",
            "ac_1",
            "latchkey partner create",
            "--data-dir /srv/keys",
            "Ctrl-C",
        ] {
            assert!(text.contains(part), "no '{part}' in {text}");
        }
        assert!(!text.contains("hush"));
    }
}
