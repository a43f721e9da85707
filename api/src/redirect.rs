//! Where a browser may be sent back to: the rules for a partner's registered URLs, and the exact match of a
//! session's URL against them (RFC 9700 §2.1; `reliability.md` A5).

use url::{Host, Url};

/// Characters of a redirect URL. Browsers and proxies take more; nobody needs it.
pub(crate) const MAX_LENGTH: usize = 2048;

/// Says what is wrong with a redirect URL, if anything is.
///
/// Only one spelling of each URL is taken, the one that every parser reads alike, so that what is compared
/// is what a browser goes to.
pub(crate) fn problem(text: &str) -> Option<String> {
    if text.len() > MAX_LENGTH {
        return Some(format!("must be at most {MAX_LENGTH} characters"));
    }
    let Ok(url) = Url::parse(text) else {
        return Some("must be an absolute URL such as https://example.com/connected".to_owned());
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Some("must not hold a user name or password".to_owned());
    }
    if url.fragment().is_some() {
        return Some("must not hold a fragment (#…)".to_owned());
    }
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        "http" => {
            return Some(
                "must be https unless its host is localhost or a loopback address".to_owned(),
            );
        }
        _ => return Some("must begin with https://".to_owned()),
    }
    if text.contains('*') {
        return Some("must not hold a wildcard; register each URL".to_owned());
    }
    let bare_origin = url.path() == "/" && url.query().is_none();
    let spelled =
        url.as_str() == text || (bare_origin && url.as_str().strip_suffix('/') == Some(text));
    (!spelled).then(|| format!("must be spelled {url}"))
}

/// Whether `asked` is one of the registered URLs: the same text, or for loopback hosts the same but for the
/// port, which a local program cannot choose ahead (RFC 8252 §7.3).
pub(crate) fn is_registered(registered: &[String], asked: &str) -> bool {
    problem(asked).is_none()
        && registered
            .iter()
            .any(|known| known == asked || same_but_port(known, asked))
}

fn same_but_port(known: &str, asked: &str) -> bool {
    let portless = |text: &str| {
        let mut url = Url::parse(text).ok().filter(is_loopback)?;
        url.set_port(None).ok()?;
        Some(url)
    };
    portless(known).is_some_and(|known| portless(asked) == Some(known))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIST: [&str; 4] = [
        "https://app.example.com/cb",
        "https://app.example.com/cb?tenant=7",
        "http://127.0.0.1:3000/cb",
        "http://localhost/cb",
    ];

    fn registered(asked: &str) -> bool {
        is_registered(&LIST.map(str::to_owned), asked)
    }

    #[test]
    fn what_may_be_registered() {
        for good in LIST.iter().chain(&[
            "https://example.com",
            "https://example.com/",
            "http://[::1]:8/x",
        ]) {
            assert_eq!(problem(good), None, "{good}");
        }
        let bad = [
            "",
            "/cb",
            "example.com/cb",
            "http://example.com/cb",
            "http://127.0.0.1.example.com/cb",
            "http://localhost.example.com/cb",
            "javascript:alert(1)",
            "data:text/html,x",
            "myapp://cb",
            "https://user@example.com/",
            "https://user:pass@example.com/",
            "https://example.com/#x",
            "https://example.com/cb#",
            "https://*.example.com/",
            "https://example.com/*",
            "https://EXAMPLE.com/",
            "https://example.com:443/",
            "https://example.com/a/../b",
            "https://example.com\\@evil.example/",
            "https:\\\\example.com",
            "https:///example.com",
            " https://example.com",
            "https://example.com/a b",
            "https://exa\tmple.com/",
            "https://ex\u{e4}mple.com/",
        ];
        for text in bad {
            assert!(problem(text).is_some(), "{text:?}");
        }
        assert!(problem(&format!("https://example.com/{}", "a".repeat(MAX_LENGTH))).is_some());
    }

    #[test]
    fn only_the_loopback_port_is_free() {
        assert!(registered("https://app.example.com/cb"));
        assert!(registered("http://127.0.0.1:49152/cb"));
        assert!(registered("http://127.0.0.1/cb"));
        assert!(registered("http://localhost:5173/cb"));
        for off in [
            "https://app.example.com/cb/",
            "https://app.example.com/cb?",
            "https://app.example.com/cb?tenant=8",
            "https://app.example.com:8443/cb",
            "http://app.example.com/cb",
            "https://app.example.com.evil.example/cb",
            "https://evil.example/https://app.example.com/cb",
            "http://127.0.0.2:3000/cb",
            "http://127.0.0.1:3000/cb2",
            "https://127.0.0.1:3000/cb",
            "http://localhost:5173/cb?x=1",
            "http://localhost@evil.example/cb",
        ] {
            assert!(!registered(off), "{off}");
        }
    }

    proptest! {
        // `reliability.md` A5: 10,000 URLs, none off the list.
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        #[test]
        fn nothing_off_the_list_passes(
            base in prop::sample::select(LIST.to_vec()),
            at in 0_usize..30,
            cut in 0_usize..4,
            insert in r"[ -~\t\r\n\\@#?/:.*%]{0,6}",
        ) {
            let at = at.min(base.len());
            let end = (at + cut).min(base.len());
            let asked = format!("{}{insert}{}", &base[..at], &base[end..]);
            if registered(&asked) && !LIST.contains(&asked.as_str()) {
                let url = Url::parse(&asked).unwrap();
                prop_assert!(is_loopback(&url), "{asked}");
                prop_assert!(url.path() == "/cb" && url.query().is_none() && url.scheme() == "http");
            }
        }
    }
}
