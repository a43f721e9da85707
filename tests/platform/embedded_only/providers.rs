//! The operator's look at the catalogue: `latchkey provider list`, `show`, `check` and `try`, without a server.

use std::{fs, path::Path};

use latchkey_tests::{process::Said, run};
use serde_json::{Value, json};

/// A file as the README has it.
fn readmes_file() -> String {
    let readme = include_str!("../../../README.md");
    let (_, rest) = readme.split_once("### A provider of your own").unwrap();
    let (_, rest) = rest.split_once("```toml\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

async fn provider(arguments: &[&str]) -> Said {
    let mut all = vec!["provider"];
    all.extend(arguments);
    run(&all, &[], "").await
}

fn lines(said: &Said) -> Vec<Value> {
    let lines = said.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {said:?}")))
        .collect()
}

/// Every entry is listed with what it has, and shown with the same.
#[tokio::test]
async fn what_is_listed_is_shown() {
    let listed = lines(&provider(&["list", "--json"]).await);
    assert_eq!(listed.len(), 29);
    let endpoints = |of: &Value| of["endpoints"].as_u64().unwrap();
    assert!(listed.iter().map(endpoints).sum::<u64>() > 200);
    let table = provider(&["list"]).await;
    assert_eq!(table.code, 0, "{table:?}");
    assert_eq!(table.stdout.lines().count(), 30, "{}", table.stdout);
    for row in &listed {
        let slug = row["slug"].as_str().unwrap();
        let shown = provider(&["show", slug, "--json"]).await.json();
        assert_eq!(
            (&shown["slug"], &shown["name"]),
            (&row["slug"], &row["name"])
        );
        let services = shown["services"].as_array().unwrap();
        let named: Vec<_> = services
            .iter()
            .map(|service| service["slug"].clone())
            .collect();
        assert_eq!(row["services"], Value::from(named));
        let all = services
            .iter()
            .flat_map(|service| service["endpoints"].as_array().unwrap());
        assert_eq!(endpoints(row), all.count() as u64, "{slug}");
        assert!(
            table.stdout.lines().any(|line| line.starts_with(slug)),
            "{slug}"
        );
    }
    let github = provider(&["show", "github"]).await.stdout;
    for part in [
        "GitHub (github)",
        "compared     2026-11-21",
        "repos.delete",
        "PUT    /repos/{owner}/{repo}/pulls",
    ] {
        assert!(github.contains(part), "no '{part}' in {github}");
    }
    for wrong in [["show", "nobody"], ["try", "nobody"], ["try", "sandbox"]] {
        let said = provider(&wrong).await;
        assert_eq!((said.code, said.stdout.as_str()), (2, ""), "{said:?}");
        assert!(said.stderr.contains(wrong[1]), "{said:?}");
    }
}

/// What stands in the README's file, what is put in its place, and what is said of it.
const BROKEN: &[(&str, &str, &str)] = &[
    ("slug = \"acme\"", "slug = \"acme", "invalid basic string"),
    (
        "auth = \"basic\"",
        "auth = \"magic\"",
        "unknown variant `magic`, expected one of `post`, `basic`, `none`",
    ),
    (
        "mode = \"single_use\"",
        "mod = \"single_use\"",
        "unknown field `mod`",
    ),
    (
        "permission = \"acme.read\"",
        "permission = \"acme.all\"",
        "is not a permission of this service",
    ),
    (
        "url = \"https://api.acme.example/me\"",
        "url = \"https://{connection.x}/me\"",
        "nothing declares 'x'",
    ),
    (
        "kind = \"read\"",
        "kind = \"reed\"",
        "unknown variant `reed`",
    ),
];

/// A file that is right says so, with what would make it better; every error names the line and what is wrong.
#[tokio::test]
async fn a_file_is_checked_with_the_line_of_its_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("acme.toml");
    let (file, good) = (path.to_str().unwrap(), readmes_file());
    let checked = |text: String| {
        fs::write(&path, text).unwrap();
        async move { provider(&["check", file]).await }
    };
    let said = checked(good.clone()).await;
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (0, "ok  acme\n"),
        "{said:?}"
    );
    let silent = good.replace("example = '{\"id\"", "# example = '{\"id\"");
    let advised = checked(silent).await;
    assert_eq!(advised.code, 0, "{advised:?}");
    assert!(
        advised
            .stdout
            .contains("\n    oauth.identity has no example"),
        "{advised:?}"
    );
    for (from, to, message) in BROKEN {
        let broken = good.replacen(from, to, 1);
        let before = &broken[..broken.find(to).expect(to)];
        let line = 1 + before.matches('\n').count();
        let said = checked(broken).await;
        assert_eq!(said.code, 1, "{said:?}");
        let start = format!("FAIL  {file}:{line}: ");
        assert!(
            said.stdout.starts_with(&start) && said.stdout.contains(message),
            "{start} {said:?}"
        );
        assert_eq!(said.stderr, "");
        let told = provider(&["check", file, "--json"]).await.json();
        assert_eq!(
            (&told["ok"], &told["line"]),
            (&json!(false), &json!(line)),
            "{told}"
        );
        assert!(told["error"].as_str().unwrap().contains(message), "{told}");
    }
    for (path, why) in [
        (dir.path(), "it is no file"),
        (Path::new("/dev/zero"), "it is no file"),
        (&dir.path().join("missing.toml"), "No such file"),
    ] {
        let said = provider(&["check", path.to_str().unwrap()]).await;
        assert_eq!((said.code, said.stdout.as_str()), (1, ""), "{said:?}");
        assert!(said.stderr.contains(why), "{said:?}");
        let told = provider(&["check", path.to_str().unwrap(), "--json"])
            .await
            .json();
        assert!(told["error"].as_str().unwrap().contains(why), "{told}");
    }
}

/// The steps of a trial, by their names, all of them well.
async fn tried(what: &str) -> Vec<(String, String)> {
    let said = provider(&["try", what, "--json"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let shown = provider(&["try", what]).await.stdout;
    let steps = lines(&said).into_iter().map(|step| {
        assert_eq!(step["ok"], true, "{step}");
        let [name, told] = ["step", "told"].map(|name| step[name].as_str().unwrap().to_owned());
        assert!(
            shown
                .lines()
                .any(|line| line.starts_with("ok ") && line.contains(&name)),
            "{shown}"
        );
        (name, told)
    });
    steps.collect()
}

fn names(steps: &[(String, String)]) -> Vec<&str> {
    steps.iter().map(|(name, _)| name.as_str()).collect()
}

fn told<'a>(steps: &'a [(String, String)], name: &str) -> &'a str {
    let step = steps.iter().find(|(known, _)| known == name);
    &step.unwrap_or_else(|| panic!("no step '{name}'")).1
}

/// A provider that rotates, one whose codes age, and one that has neither refresh token nor revocation.
#[tokio::test]
async fn a_trial_tells_what_happened_at_each_step() {
    let x = tried("twitter").await;
    let usual = [
        "connect",
        "errors",
        "refresh",
        "sharing",
        "refresh token's end",
        "expiry",
        "late code",
        "rate limit",
        "connect for calls",
    ];
    assert_eq!(names(&x)[..9], usual);
    assert_eq!(names(&x).last(), Some(&"disconnect"));
    assert_eq!(
        told(&x, "refresh"),
        "rotates; grace 0 s; a spent token is refused"
    );
    assert_eq!(told(&x, "late code"), "a code lives 30 s");
    assert_eq!(
        told(&x, "expiry"),
        "refused at its end, and mended by a refresh"
    );
    assert_eq!(told(&x, "api.list_tweets"), "3 pages, 25 items");
    assert!(told(&x, "connect").contains("an access token and a refresh token"));
    assert!(told(&x, "disconnect").starts_with("confirmed by 1 request(s)"));

    let slack = tried("slack").await;
    assert_eq!(
        told(&slack, "rate limit"),
        "200 waits 5 s, 429 waits 5 s; then it goes on"
    );

    let clickup = tried("clickup").await;
    assert!(!names(&clickup).contains(&"refresh"), "{clickup:?}");
    assert!(told(&clickup, "connect").contains("an access token no refresh token"));
    assert_eq!(told(&clickup, "expiry"), "the access token has no end");
    assert!(told(&clickup, "disconnect").starts_with("not supported; by hand at https://"));

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("acme.toml");
    fs::write(&path, readmes_file()).unwrap();
    let acme = tried(path.to_str().unwrap()).await;
    assert_eq!(told(&acme, "api.list_things"), "3 pages, 25 items");
}

/// What does not go as the entry says ends the trial with that step, its reason, and 1.
#[tokio::test]
async fn a_trial_that_fails_says_where_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("acme.toml");
    let file = path.to_str().unwrap();
    for (from, to, step, why) in [
        (
            "stable_key = [\"/id\"]",
            "stable_key = [\"/uid\"]",
            "connect",
            "names nobody",
        ),
        (
            "label = [\"/email\"]",
            "label = [\"/mail\"]",
            "connect",
            "has no label",
        ),
        (
            "example = '{\"data\"",
            "# example = '{\"data\"",
            "api.list_things",
            "shows no answer",
        ),
    ] {
        let good = readmes_file();
        assert!(good.contains(from), "{from}");
        fs::write(&path, good.replacen(from, to, 1)).unwrap();
        let said = provider(&["try", file, "--json"]).await;
        assert_eq!(said.code, 1, "{said:?}");
        let last = lines(&said).pop().unwrap();
        assert_eq!(
            (&last["ok"], &last["step"]),
            (&json!(false), &json!(step)),
            "{last}"
        );
        assert!(last["told"].as_str().unwrap().contains(why), "{last}");
        let shown = provider(&["try", file]).await;
        let last = shown.stdout.lines().last().unwrap().to_owned();
        assert!(
            last.starts_with("FAIL  ") && last.contains(step) && last.contains(why),
            "{shown:?}"
        );
    }
}
