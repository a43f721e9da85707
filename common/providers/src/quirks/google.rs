//! Gmail takes a whole RFC 5322 message, base64url in one member, where partners send fields.

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use serde_json::{Map, Value};

use crate::endpoint::BuildError;

/// Most bytes of text in one encoded word: 75 characters less its frame, in base64 (RFC 2047 §2).
const ENCODED_WORD_BYTES: usize = 45;

/// Characters of base64 per line (RFC 2045 §6.8).
const LINE_CHARS: usize = 76;

/// Gmail's body for `to`, `cc`, `bcc`, `subject`, `body`, `html`, `in_reply_to` and `thread_id`.
pub fn gmail_message(fields: &Map<String, Value>) -> Result<Map<String, Value>, BuildError> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let mut message = String::new();
    for (name, header) in [("to", "To"), ("cc", "Cc"), ("bcc", "Bcc")] {
        let addresses = match fields.get(name) {
            Some(Value::String(one)) => vec![one.as_str()],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => continue,
        };
        let written: Result<Vec<_>, _> = addresses.iter().map(|a| address(name, a)).collect();
        push_header(&mut message, header, &written?.join(",\r\n "));
    }
    push_header(
        &mut message,
        "Subject",
        &words("subject", text("subject").unwrap_or_default())?,
    );
    if let Some(id) = text("in_reply_to") {
        check_line("in_reply_to", id)?;
        if !id.is_ascii() {
            return Err(BuildError::invalid("in_reply_to", "must be a message id"));
        }
        push_header(&mut message, "In-Reply-To", id);
        push_header(&mut message, "References", id);
    }
    let html = fields
        .get("html")
        .and_then(Value::as_bool)
        .unwrap_or_default();
    let kind = if html {
        "text/html; charset=utf-8"
    } else {
        "text/plain; charset=utf-8"
    };
    push_header(&mut message, "MIME-Version", "1.0");
    push_header(&mut message, "Content-Type", kind);
    push_header(&mut message, "Content-Transfer-Encoding", "base64");
    let body = BASE64_STANDARD.encode(text("body").unwrap_or_default());
    for line in body.as_bytes().chunks(LINE_CHARS) {
        message.push_str("\r\n");
        message.push_str(&String::from_utf8_lossy(line));
    }
    message.push_str("\r\n");
    let raw = BASE64_URL_SAFE_NO_PAD.encode(message);
    let mut out = Map::from_iter([("raw".to_owned(), Value::String(raw))]);
    if let Some(thread) = text("thread_id") {
        out.insert("threadId".to_owned(), thread.into());
    }
    Ok(out)
}

fn push_header(message: &mut String, name: &str, value: &str) {
    message.push_str(name);
    message.push_str(": ");
    message.push_str(value);
    message.push_str("\r\n");
}

/// No header is smuggled in by a line break.
fn check_line(name: &str, text: &str) -> Result<(), BuildError> {
    if text.chars().any(char::is_control) {
        return Err(BuildError::invalid(name, "must be one line"));
    }
    Ok(())
}

/// `name <a@b>` with the name encoded where it is not ASCII; the address itself must be.
fn address(name: &str, text: &str) -> Result<String, BuildError> {
    check_line(name, text)?;
    let text = text.trim();
    let (label, mailbox) = match text.rsplit_once('<') {
        Some((label, rest)) => (label.trim(), rest.trim_end_matches('>').trim()),
        None => ("", text),
    };
    let valid = mailbox.is_ascii()
        && mailbox.split('@').filter(|part| !part.is_empty()).count() == 2
        && mailbox.matches('@').count() == 1
        && !mailbox.contains([' ', ',', ';', '<', '>', '"']);
    if !valid {
        return Err(BuildError::invalid(name, "must hold e-mail addresses"));
    }
    if label.is_empty() {
        return Ok(mailbox.to_owned());
    }
    let quoted = label
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let label = quoted.unwrap_or(label);
    Ok(format!("{} <{mailbox}>", phrase(label)))
}

/// A display name: quoted, or encoded where it is not ASCII.
fn phrase(label: &str) -> String {
    if label.is_ascii() {
        format!("\"{}\"", label.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        encoded_words(label)
    }
}

/// Unstructured text of a header.
fn words(name: &str, text: &str) -> Result<String, BuildError> {
    check_line(name, text)?;
    // A text that looks encoded is encoded too, so that it arrives as it was written; so is a long one,
    // which is folded by that.
    let plain = text.is_ascii() && !text.contains("=?") && text.len() <= LINE_CHARS;
    Ok(if plain {
        text.to_owned()
    } else {
        encoded_words(text)
    })
}

/// RFC 2047 encoded words, folded, no character split.
fn encoded_words(text: &str) -> String {
    let mut chunks = vec![String::new()];
    for c in text.chars() {
        let full = chunks
            .last()
            .is_some_and(|last| last.len() + c.len_utf8() > ENCODED_WORD_BYTES);
        if full {
            chunks.push(String::new());
        }
        if let Some(last) = chunks.last_mut() {
            last.push(c);
        }
    }
    let encode = |chunk: &String| format!("=?UTF-8?B?{}?=", BASE64_STANDARD.encode(chunk));
    chunks.iter().map(encode).collect::<Vec<_>>().join("\r\n ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn sent(fields: Value) -> Result<String, BuildError> {
        let Value::Object(fields) = fields else {
            panic!("not an object")
        };
        let body = gmail_message(&fields)?;
        let raw = body["raw"].as_str().unwrap();
        Ok(String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(raw).unwrap()).unwrap())
    }

    #[test]
    fn a_message_is_written_by_the_rfcs() {
        let fields = json!({
            "to": ["a@b.example", "Zoë Ä <zoe@b.example>"],
            "cc": "Bob \"B\" <bob@b.example>",
            "subject": "Grüße",
            "body": "Hällo\nWelt",
            "in_reply_to": "<1@b.example>",
        });
        insta::assert_snapshot!(sent(fields).unwrap().replace("\r\n", "\n"), @r#"
        To: a@b.example,
         =?UTF-8?B?Wm/DqyDDhA==?= <zoe@b.example>
        Cc: "Bob \"B\"" <bob@b.example>
        Subject: =?UTF-8?B?R3LDvMOfZQ==?=
        In-Reply-To: <1@b.example>
        References: <1@b.example>
        MIME-Version: 1.0
        Content-Type: text/plain; charset=utf-8
        Content-Transfer-Encoding: base64

        SMOkbGxvCldlbHQ=
        "#);
    }

    #[test]
    fn nothing_smuggles_a_header_in() {
        for fields in [
            json!({"to": "a@b.example\r\nBcc: evil@x.example", "subject": "s"}),
            json!({"to": "a@b.example", "subject": "s\r\nBcc: evil@x.example"}),
            json!({"to": "a@b.example", "subject": "s", "in_reply_to": "x\ny"}),
            json!({"to": "a@b.example, evil@x.example"}),
            json!({"to": "no address"}),
            json!({"to": "@"}),
            json!({"to": ""}),
        ] {
            assert!(sent(fields.clone()).is_err(), "{fields}");
        }
    }

    proptest! {
        #[test]
        fn every_subject_stays_in_its_header(subject in "\\PC{0,300}") {
            let message = sent(json!({"to": "a@b.example", "subject": subject, "body": "x"})).unwrap();
            let (head, _) = message.split_once("\r\n\r\n").unwrap();
            prop_assert!(head.lines().all(|line| line.len() <= 90));
            let names: Vec<_> = head
                .lines()
                .filter(|line| !line.starts_with(' '))
                .filter_map(|line| line.split_once(':'))
                .map(|(name, _)| name)
                .collect();
            prop_assert_eq!(
                names,
                ["To", "Subject", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"]
            );
        }
    }
}
