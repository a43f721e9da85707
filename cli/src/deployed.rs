//! What `deploy/` hands to operators, held against this program: every command line in it is one that the
//! command line accepts, and every setting one that there is.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use clap::Parser;
use latchkey_runtime::Config;

use crate::commands::Cli;

/// Variables in `deploy/` that are not Latchkey's.
const OF_OTHERS: [&str; 1] = ["LATCHKEY_CONFIG"];

fn deploy(path: &str) -> PathBuf {
    // Relative to the package, where tests run: a build folder may outlive the checkout it was filled from.
    Path::new("../deploy").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(deploy(path)).unwrap()
}

/// Takes these arguments, as somebody would type them after the program's name.
fn accepts(arguments: &[&str]) {
    let line = std::iter::once("latchkey").chain(arguments.iter().copied());
    if let Err(error) = Cli::try_parse_from(line) {
        // Help is an answer, not a mistake.
        assert!(
            !error.use_stderr(),
            "latchkey {}: {error}",
            arguments.join(" ")
        );
    }
}

/// Names of settings as the environment gives them: the shipped file has every one.
fn is_setting(name: &str) -> bool {
    if ["DATABASE_URL", "REDIS_URL", "RUST_LOG"].contains(&name) {
        return true;
    }
    let Some(path) = name.strip_prefix("LATCHKEY_") else {
        return false;
    };
    let shipped: toml::Value = toml::from_str(latchkey_runtime::config::DEFAULTS).unwrap();
    let mut path = path.to_ascii_lowercase();
    let mut at = &shipped;
    while let Some((section, rest)) = path.split_once("__") {
        let Some(inner) = at.get(section) else {
            return false;
        };
        (at, path) = (inner, rest.to_owned());
    }
    at.get(&path).is_some()
}

#[test]
fn the_sample_settings_are_whole() {
    for file in [
        "config/latchkey.toml",
        "config/embedded.toml",
        "config/fleet.toml",
    ] {
        let config = Config::load(Some(&deploy(file)), &[]).unwrap();
        // Secrets are no part of a sample.
        assert!(
            config.key.is_none() && config.operator_token.is_none(),
            "{file}"
        );
    }
    let urls = [
        ("database_url", "postgres://db/latchkey"),
        ("redis_url", "redis://redis"),
    ];
    let urls = urls.map(|(name, url)| (name, url.to_owned()));
    assert!(
        Config::load(Some(&deploy("config/fleet.toml")), &urls)
            .unwrap()
            .is_fleet()
    );
}

/// A block of the compose file: the lines indented below `head`, which is a whole line.
fn block<'a>(lines: &[&'a str], head: &str) -> Vec<&'a str> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut lines = lines
        .iter()
        .copied()
        .skip_while(|line| line.trim_end() != head);
    let depth = indent(lines.next().unwrap_or_else(|| panic!("no line '{head}'")));
    let inside = lines.take_while(|line| line.trim().is_empty() || indent(line) > depth);
    inside
        .filter(|line| !line.trim().is_empty() && !line.trim().starts_with('#'))
        .collect()
}

/// The value of a key in a block.
fn value<'a>(block: &[&'a str], key: &str) -> Option<&'a str> {
    let values = block.iter().filter_map(|line| line.trim().split_once(": "));
    values
        .filter(|(name, _)| *name == key)
        .map(|(_, value)| value)
        .next()
}

/// It is written in the plain part of YAML: two spaces a level, lists of programs in brackets.
#[test]
fn the_compose_file_runs_commands_and_settings_that_there_are() {
    let text = read("compose.yaml");
    let text: Vec<&str> = text.lines().collect();
    let services = block(&text, "services:");
    let names = services
        .iter()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let mut roles = BTreeMap::new();
    for head in names {
        let service = block(&services, head);
        if !service.iter().any(|line| line.trim() == "<<: *latchkey") {
            continue;
        }
        let words: Vec<String> = serde_json::from_str(value(&service, "command").unwrap()).unwrap();
        accepts(&words.iter().map(String::as_str).collect::<Vec<_>>());
        roles.insert(head.trim().trim_end_matches(':'), words.join(" "));
    }
    let expected = [
        ("api", "serve --role api"),
        ("migrate", "migrate"),
        ("scheduler", "serve --role scheduler"),
        ("worker", "serve --role worker"),
    ];
    assert_eq!(
        roles,
        BTreeMap::from(expected.map(|(name, line)| (name, line.to_owned())))
    );
    let shared = block(&text, "x-latchkey: &latchkey");
    let settings = block(&shared, "  environment: &settings");
    assert!(settings.len() >= 5);
    for line in settings {
        let (name, _) = line.trim().split_once(": ").unwrap();
        assert!(is_setting(name), "{name} is no setting");
    }
    // The stop may take as long as the settings allow.
    let grace = value(&shared, "stop_grace_period")
        .unwrap()
        .trim_end_matches('s');
    let needed = Config::load(None, &[]).unwrap().stop_grace.as_secs();
    assert!(grace.parse::<u64>().unwrap() > needed);
    // A worker's journal outlasts it, and Redis throws nothing away.
    let volumes = value(&block(&services, "  worker:"), "volumes");
    assert_eq!(volumes, Some(r#"["journals:/var/lib/latchkey"]"#));
    assert!(block(&text, "volumes:").contains(&"  journals:"));
    let redis = value(&block(&services, "  redis:"), "command").unwrap();
    assert!(redis.contains(r#""--maxmemory-policy", "noeviction""#));
}

#[test]
fn the_image_runs_commands_and_settings_that_there_are() {
    let text = read("Dockerfile").replace("\\\n", " ");
    let mut seen = 0;
    for line in text.lines() {
        // The last part of an instruction that is a list runs a program.
        let list = line.find('[').map(|at| &line[at..]);
        let words: Vec<String> = list
            .and_then(|list| serde_json::from_str(list).ok())
            .unwrap_or_default();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match (line.split_whitespace().next(), words.as_slice()) {
            (Some("ENTRYPOINT"), words) => assert_eq!(words, ["latchkey"]),
            (Some("HEALTHCHECK"), ["latchkey", words @ ..]) | (Some("CMD"), words) => {
                accepts(words);
                seen += 1;
            }
            (Some("ENV"), _) => {
                for pair in line.split_whitespace().skip(1) {
                    let (name, _) = pair.split_once('=').unwrap();
                    assert!(is_setting(name), "{name} is no setting");
                    seen += 1;
                }
            }
            (Some("USER"), _) => assert!(!line.contains("root") && line != "USER 0"),
            _ => {}
        }
    }
    assert_eq!(seen, 6, "the lines are not written as this test reads them");
}

#[test]
fn the_units_run_commands_and_settings_that_there_are() {
    let mut files: Vec<_> = fs::read_dir(deploy("systemd"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    assert_eq!(files.len(), 5);
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&file).unwrap();
        let of = |key: &str| {
            let lines = text.lines().filter_map(|line| line.split_once('='));
            lines
                .filter(|(k, _)| *k == key)
                .map(|(_, value)| value.to_owned())
                .collect::<Vec<_>>()
        };
        let [exec] = &of("ExecStart")[..] else {
            panic!("{name} starts one program");
        };
        let words: Vec<_> = exec.split(' ').collect();
        assert_eq!(words[0], "/usr/local/bin/latchkey");
        accepts(&words[1..]);
        if let Some(role) = name
            .strip_prefix("latchkey-")
            .filter(|role| *role != "migrate")
        {
            assert_eq!(words[1..4], ["serve", "--role", role]);
        }
        for setting in of("Environment") {
            let (variable, _) = setting.split_once('=').unwrap();
            assert!(
                OF_OTHERS.contains(&variable) || is_setting(variable),
                "{variable}"
            );
        }
        for (key, value) in [
            ("NoNewPrivileges", "yes"),
            ("ProtectSystem", "strict"),
            ("CapabilityBoundingSet", ""),
            ("User", "latchkey"),
            ("UMask", "0077"),
        ] {
            assert_eq!(of(key), [value], "{name}: {key}");
        }
        if let [grace] = &of("TimeoutStopSec")[..] {
            let needed = Config::load(None, &[]).unwrap().stop_grace.as_secs();
            assert!(grace.parse::<u64>().unwrap() > needed, "{name}");
        }
    }
}

#[test]
fn the_guide_names_commands_and_settings_that_there_are() {
    let text = read("README.md");
    let mut seen = 0;
    for line in text.lines() {
        // In a shell block a line that runs the program itself.
        let line = line.trim().trim_start_matches("sudo -u latchkey ");
        if let Some(line) = line.strip_prefix("latchkey ") {
            let line = line.split(" #").next().unwrap_or(line).trim();
            accepts(&line.split_whitespace().collect::<Vec<_>>());
            seen += 1;
        }
    }
    assert!(seen >= 3, "{seen}");
    let names = text
        .split(|c: char| !(c.is_ascii_uppercase() || c == '_'))
        .filter(|word| word.starts_with("LATCHKEY_"));
    for name in names {
        assert!(
            OF_OTHERS.contains(&name) || is_setting(name),
            "{name} is no setting"
        );
    }
}
