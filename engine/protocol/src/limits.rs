//! Every bound on what is read, in one place.
//!
//! The core draft asks servers to take credentials of at least 4 KB and to keep challenges under 8 KB
//! (draft-httpauth-payment-00, Size Considerations).

/// Longest `Authorization: Payment` value that is looked at.
pub const CREDENTIAL_BYTES_MAX: usize = 16 * 1024;
/// Longest single challenge, as an auth-param list, that is emitted or taken.
pub const CHALLENGE_BYTES_MAX: usize = 8 * 1024;
/// Longest `WWW-Authenticate` field line that a client looks at.
pub const WWW_AUTHENTICATE_BYTES_MAX: usize = 64 * 1024;
/// Most challenges that a client takes from one answer.
pub const CHALLENGES_MAX: usize = 16;
/// Most parameters that one challenge may carry.
pub const AUTH_PARAMS_MAX: usize = 32;
/// Longest `Payment-Receipt` value that a client looks at.
pub const RECEIPT_BYTES_MAX: usize = 8 * 1024;
/// Deepest nesting of objects and arrays in any JSON that is read.
pub const JSON_DEPTH_MAX: usize = 8;
/// Longest `source` of a credential.
pub const SOURCE_BYTES_MAX: usize = 256;
/// Longest signed transaction inside a credential.
pub const TRANSACTION_BYTES_MAX: usize = 6 * 1024;
/// Most entries in the `opaque` map.
pub const OPAQUE_ENTRIES_MAX: usize = 16;
/// Shortest challenge secret.
pub const SECRET_BYTES_MIN: usize = 32;
/// Longest `Accept-Payment` value that is looked at.
pub const ACCEPT_PAYMENT_BYTES_MAX: usize = 4 * 1024;
/// Most ranges in an `Accept-Payment` value.
pub const ACCEPT_PAYMENT_RANGES_MAX: usize = 64;
/// Largest server-sent event, as a default for the splitter.
pub const SSE_EVENT_BYTES_MAX: usize = 1024 * 1024;
/// Largest integer that a JSON number carries exactly in every client: 2^53 − 1.
pub const JSON_INTEGER_MAX: u64 = (1 << 53) - 1;

// A credential echoes its challenge: both, in base64url, must fit.
const _: () = assert!(CHALLENGE_BYTES_MAX * 4 / 3 < CREDENTIAL_BYTES_MAX);
// The hexadecimal of a transaction is written in base64url: 6 KiB become 16 KiB, the most that a credential holds.
const _: () = assert!(TRANSACTION_BYTES_MAX * 2 * 4 / 3 <= CREDENTIAL_BYTES_MAX);
