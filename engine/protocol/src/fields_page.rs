//! The part of `docs/problems.md` that is written from the table of fields.

use super::{DEEDS, Reply};

/// The chapter, as Markdown.
pub(crate) fn chapter() -> String {
    let reply = |reply: Reply| match reply {
        Reply::Taken => "taken".to_owned(),
        Reply::No(status, kind) => {
            let uri = kind.row().uri;
            format!("{status} {}", uri.rsplit("problems/").next().unwrap_or(uri))
        }
    };
    let mut text = "
## Field by field

What is answered when one thing is wrong with a credential: the field is not there (or `null`), it has another type,
length, range or spelling, or it is whole and belongs to another channel, payer or payment. Hexadecimal digits may have
either case; the words of `action` and `type` may not. Where nothing is said of another's field, its signature or the chain
tells, and the answer is `verification-failed` or `session/signer-mismatch`. A signature of 65 bytes that can be none is
`session/invalid-signature`, in a charge `verification-failed`. The type stands without
`https://paymentauth.org/problems/`. This part is written from `engine/protocol/src/fields.rs`.
"
    .to_owned();
    for deed in DEEDS {
        text += &format!(
            "\n### {}: {}\n\nThe same credential for content again: {}. Its challenge expired or is another's: {}.\n\n",
            deed.way,
            deed.name,
            reply(deed.again),
            reply(deed.expired)
        );
        text += "| field | missing | malformed | another's |\n|---|---|---|---|\n";
        for row in deed.fields() {
            let other = row.foreign.map_or_else(|| "—".to_owned(), reply);
            let (missing, malformed) = (reply(row.missing), reply(row.malformed));
            text += &format!("| `{}` | {missing} | {malformed} | {other} |\n", row.field);
        }
    }
    text
}
