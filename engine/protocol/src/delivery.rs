//! Which requests buy content, and which only manage a channel (threat V3).

/// What a credential asks to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActionKind {
    /// Open a channel, with a first voucher.
    Open,
    /// Add to a channel's deposit.
    TopUp,
    /// Authorise a higher total.
    Voucher,
    /// Settle and end a channel.
    Close,
}

/// What the answer to a request holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// The content, charged for.
    Content,
    /// A receipt and nothing else, never charged for.
    Management,
}

/// Says what a request with this credential gets. `method` is case-sensitive, as in HTTP.
///
/// Open and voucher buy content, unless the request has no place for any (`HEAD`, `OPTIONS`, `TRACE`,
/// `CONNECT`) or is a `POST` with neither body nor query, which is how clients send in-stream vouchers to the
/// same URL. TopUp and close never buy. A management answer is neither delivered nor charged, so that no
/// method and no empty body gets content past the till.
pub fn delivery(method: &str, has_body_or_query: bool, action: ActionKind) -> Delivery {
    let has_place_for_content = match method {
        "HEAD" | "OPTIONS" | "TRACE" | "CONNECT" => false,
        "POST" => has_body_or_query,
        _ => true,
    };
    match action {
        ActionKind::Open | ActionKind::Voucher if has_place_for_content => Delivery::Content,
        _ => Delivery::Management,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threat_v3_method_body_action_matrix() {
        use ActionKind::{Close, Open, TopUp, Voucher};
        use Delivery::{Content, Management};
        let rows = [
            ("GET", false, Content),
            ("GET", true, Content),
            ("POST", false, Management),
            ("POST", true, Content),
            ("PUT", false, Content),
            ("PUT", true, Content),
            ("PATCH", true, Content),
            ("DELETE", false, Content),
            ("HEAD", false, Management),
            ("HEAD", true, Management),
            ("OPTIONS", false, Management),
            ("OPTIONS", true, Management),
            ("TRACE", false, Management),
            ("CONNECT", false, Management),
        ];
        for (method, has_body, buys) in rows {
            for action in [Open, Voucher] {
                assert_eq!(
                    delivery(method, has_body, action),
                    buys,
                    "{method} {has_body} {action:?}"
                );
            }
            for action in [TopUp, Close] {
                assert_eq!(
                    delivery(method, has_body, action),
                    Management,
                    "{method} {has_body} {action:?}"
                );
            }
        }
    }
}
