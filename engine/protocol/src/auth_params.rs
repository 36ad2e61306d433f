//! Authentication challenges as RFC 9110 Section 11 spells them: `Scheme name=value, name="value", Other …`.
//!
//! One field line may hold several challenges of several schemes, and a comma separates both challenges and
//! parameters. A broken challenge is marked, and reading goes on behind it.

use crate::limits::{AUTH_PARAMS_MAX, WWW_AUTHENTICATE_BYTES_MAX};

/// A challenge breaks the grammar, repeats a parameter, or has too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a malformed list of authentication parameters")]
pub struct AuthParamsError;

/// One challenge of a field line: its scheme and its parameters in order, names lowercase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawChallenge {
    /// The scheme, as spelled.
    pub scheme: String,
    /// The parameters, unescaped; an error when this challenge is malformed.
    pub params: Result<Vec<(String, Vec<u8>)>, AuthParamsError>,
}

/// Splits a `WWW-Authenticate` field line into its challenges; never fails as a whole.
///
/// A line longer than [`WWW_AUTHENTICATE_BYTES_MAX`] is not looked at.
pub fn split(line: &[u8]) -> Vec<RawChallenge> {
    let mut found: Vec<RawChallenge> = Vec::new();
    if line.len() > WWW_AUTHENTICATE_BYTES_MAX {
        return found;
    }
    let mut reader = Reader { bytes: line, at: 0 };
    loop {
        reader.skip(|byte| is_space(byte) || byte == b',');
        if reader.peek().is_none() {
            return found;
        }
        if let Err(AuthParamsError) = element(&mut reader, &mut found) {
            if let Some(challenge) = found.last_mut() {
                challenge.params = Err(AuthParamsError);
            }
            reader.skip_to_comma();
        }
    }
}

/// Reads what stands between two commas: a parameter of the last challenge, or a new scheme and what follows.
fn element(reader: &mut Reader<'_>, found: &mut Vec<RawChallenge>) -> Result<(), AuthParamsError> {
    let word = reader.token().ok_or(AuthParamsError)?;
    let spaces = reader.skip(is_space);
    if reader.peek() == Some(b'=') {
        let challenge = found.last_mut().ok_or(AuthParamsError)?;
        return param(reader, word, challenge);
    }
    found.push(RawChallenge {
        scheme: word,
        params: Ok(Vec::new()),
    });
    if matches!(reader.peek(), None | Some(b',')) {
        return Ok(());
    }
    if spaces == 0 {
        return Err(AuthParamsError);
    }
    if reader.token68() {
        return Ok(());
    }
    let name = reader.token().ok_or(AuthParamsError)?;
    reader.skip(is_space);
    let challenge = found.last_mut().ok_or(AuthParamsError)?;
    param(reader, name, challenge)
}

/// Reads `= value` and what may follow it.
fn param(reader: &mut Reader<'_>, name: String, challenge: &mut RawChallenge) -> Result<(), AuthParamsError> {
    if reader.next() != Some(b'=') {
        return Err(AuthParamsError);
    }
    reader.skip(is_space);
    let value = match reader.peek() {
        Some(b'"') => reader.quoted()?,
        _ => reader.token().ok_or(AuthParamsError)?.into_bytes(),
    };
    reader.skip(is_space);
    if !matches!(reader.peek(), None | Some(b',')) {
        return Err(AuthParamsError);
    }
    let name = name.to_ascii_lowercase();
    if let Ok(params) = &mut challenge.params {
        if params.len() >= AUTH_PARAMS_MAX || params.iter().any(|(known, _)| *known == name) {
            return Err(AuthParamsError);
        }
        params.push((name, value));
    }
    Ok(())
}

/// Writes a quoted-string, or refuses what has no safe place in a field value: anything but printable ASCII.
pub(crate) fn quote(value: &str, into: &mut String) -> Result<(), AuthParamsError> {
    into.push('"');
    for letter in value.chars() {
        match letter {
            '"' | '\\' => into.extend(['\\', letter]),
            ' '..='~' => into.push(letter),
            _ => return Err(AuthParamsError),
        }
    }
    into.push('"');
    Ok(())
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// RFC 9110 Section 5.6.2: tchar.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Skips while it holds; says how many bytes that were.
    fn skip(&mut self, holds: impl Fn(u8) -> bool) -> usize {
        let from = self.at;
        while self.peek().is_some_and(&holds) {
            self.at += 1;
        }
        self.at - from
    }

    fn token(&mut self) -> Option<String> {
        let from = self.at;
        self.skip(is_token_byte);
        let token = self.bytes.get(from..self.at).filter(|token| !token.is_empty())?;
        core::str::from_utf8(token).ok().map(str::to_owned)
    }

    /// Steps over a token68 (`Bearer abc==`) when one stands here and ends the element.
    fn token68(&mut self) -> bool {
        let from = self.at;
        let body = self.skip(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte));
        self.skip(|byte| byte == b'=');
        self.skip(is_space);
        let whole = body > 0 && matches!(self.peek(), None | Some(b','));
        if !whole {
            self.at = from;
        }
        whole
    }

    fn quoted(&mut self) -> Result<Vec<u8>, AuthParamsError> {
        self.next();
        let mut value = Vec::new();
        loop {
            let byte = match self.next().ok_or(AuthParamsError)? {
                b'"' => return Ok(value),
                b'\\' => self.next().ok_or(AuthParamsError)?,
                byte => byte,
            };
            if byte != b'\t' && byte.is_ascii_control() {
                return Err(AuthParamsError);
            }
            value.push(byte);
        }
    }

    /// Goes to the next comma that no quoted-string holds.
    fn skip_to_comma(&mut self) {
        let mut quoted = false;
        while let Some(byte) = self.peek() {
            match byte {
                b',' if !quoted => return,
                b'"' => quoted = !quoted,
                b'\\' if quoted => self.at += 1,
                _ => {}
            }
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(line: &str) -> Vec<String> {
        let show = |raw: RawChallenge| match raw.params {
            Err(_) => format!("{}!", raw.scheme),
            Ok(params) => params.iter().fold(raw.scheme, |text, (name, value)| {
                format!("{text} {name}={}", String::from_utf8_lossy(value))
            }),
        };
        split(line.as_bytes()).into_iter().map(show).collect()
    }

    #[test]
    fn schemes_and_parameters_are_told_apart() {
        let cases: [(&str, &[&str]); 16] = [
            ("", &[]),
            (" ,, ,", &[]),
            ("Negotiate", &["Negotiate"]),
            (r#"Payment id="a", realm=b"#, &["Payment id=a realm=b"]),
            (r#"Payment id = "a" , REALM = "b""#, &["Payment id=a realm=b"]),
            (
                r#"Payment id="a", Payment id="b""#,
                &["Payment id=a", "Payment id=b"],
            ),
            (
                r#"Basic realm="x", Payment id="a", Bearer"#,
                &["Basic realm=x", "Payment id=a", "Bearer"],
            ),
            (r#"Bearer abc==, Payment id="a""#, &["Bearer", "Payment id=a"]),
            (r#"X a/b+c, Payment id="a""#, &["X", "Payment id=a"]),
            (
                r#"Payment d="Payment id=\"x\", y""#,
                &[r#"Payment d=Payment id="x", y"#],
            ),
            (r#"Payment d="\\\"", e="""#, &[r#"Payment d=\" e="#]),
            (
                r#"Payment id="a" realm="b", Payment id="c""#,
                &["Payment!", "Payment id=c"],
            ),
            (
                r#"Payment id="a", id="b", Payment id="c""#,
                &["Payment!", "Payment id=c"],
            ),
            (r#"Payment id="open, realm=x"#, &["Payment!"]),
            (r#"realm="x", Payment id="a""#, &["Payment id=a"]),
            (r#"Payment@id="a", Payment id="b""#, &["Payment!", "Payment id=b"]),
        ];
        for (line, expected) in cases {
            assert_eq!(shown(line), expected, "{line}");
        }
    }

    #[test]
    fn threat_h4_parameters_are_counted() {
        let many: Vec<String> = (0..=AUTH_PARAMS_MAX).map(|n| format!("p{n}=x")).collect();
        assert_eq!(shown(&format!("Payment {}", many.join(","))), ["Payment!"]);
        assert!(split(&vec![b'a'; WWW_AUTHENTICATE_BYTES_MAX + 1]).is_empty());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = split(&bytes);
        }

        #[test]
        fn nearly_valid_lines_never_panic(line in r#"[a-c =",\\\t]{0,40}"#) {
            let _ = split(line.as_bytes());
        }

        #[test]
        fn a_quoted_value_is_read_back(value in "[ -~]{0,40}") {
            let mut line = String::from("S v=");
            quote(&value, &mut line).unwrap();
            let read = split(line.as_bytes());
            prop_assert_eq!(&read[0].params, &Ok(vec![("v".to_owned(), value.into_bytes())]));
        }
    }
}
