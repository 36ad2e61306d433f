//! What may be sent where, and how long an answer is waited for.

use super::*;

fn url(text: &str, allow_insecure: bool) -> Result<Url, Error> {
    Http::new(HttpOptions {
        allow_insecure,
        ..HttpOptions::default()
    })?
    .url(text)
}

#[test]
fn a_credential_never_leaves_in_the_clear_unless_allowed() {
    for fine in [
        "https://a.example/x",
        "http://127.0.0.1:8402/x",
        "http://localhost/",
        "http://[::1]:1/",
    ] {
        assert!(url(fine, false).is_ok(), "{fine}");
    }
    for bad in [
        "http://a.example/",
        "http://127.0.0.1.a.example/",
        "http://10.0.0.1/",
        "http://localhost.a.example/",
    ] {
        assert!(matches!(url(bad, false), Err(Error::Insecure(_))), "{bad}");
        assert!(url(bad, true).is_ok(), "{bad}");
    }
    for odd in ["ftp://a.example/", "file:///etc/passwd", "x", ""] {
        assert!(matches!(url(odd, true), Err(Error::Url(_))), "{odd}");
    }
}

/// In the clock's own time: whoever waits longest is told last.
#[tokio::test(start_paused = true)]
async fn a_service_that_is_silent_as_long_as_the_daemon_allows_is_waited_for() {
    let late = || async {
        tokio::time::sleep(Duration::from_secs(119)).await;
        let event = futures_util::stream::once(async {
            tokio::time::sleep(Duration::from_secs(119)).await;
            Ok::<_, core::convert::Infallible>("data: late\n\n")
        });
        axum::body::Body::from_stream(event)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = format!("http://{}/x", listener.local_addr().unwrap());
    let serving =
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(late)).await });
    let http = Http::new(HttpOptions::default()).unwrap();
    let request = Request::bare(http.url(&place).unwrap());
    let sent = http.send(&request, &HeaderMap::new(), &mut http.patience()).await;
    let mut response = sent.unwrap().response;
    let piece = chunk(&mut response).await.unwrap();
    assert_eq!(piece.as_deref(), Some("data: late\n\n".as_bytes()));
    serving.abort();
}

#[test]
fn threat_k1_a_credential_is_marked_as_secret() {
    let shown = format!("{:?}", secret_value("Payment abc").unwrap());
    assert!(!shown.contains("abc"), "{shown}");
}

#[tokio::test]
async fn a_refused_connection_is_called_that_and_its_tries_are_counted() {
    static TRIES: std::sync::Mutex<Vec<Option<u32>>> = std::sync::Mutex::new(Vec::new());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("http://{}/x", listener.local_addr().unwrap());
    drop(listener);
    let options = HttpOptions {
        retries_max: 2,
        on_wait: Some(|wait| TRIES.lock().unwrap().push(wait.tries)),
        ..HttpOptions::default()
    };
    let http = Http::new(options).unwrap();
    let request = Request::bare(http.url(&place).unwrap());
    let sent = http.send(&request, &HeaderMap::new(), &mut http.patience()).await;
    let said = format!("nobody listens at {place}: the connection was refused");
    assert_eq!(sent.unwrap_err().to_string(), said);
    assert_eq!(*TRIES.lock().unwrap(), [Some(2), Some(1)]);
}

/// Says 503 once, and is gone.
fn busy_and_gone() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("http://{}/x", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        drop(listener);
        let mut head = [0; 4096];
        let _ = stream.read(&mut head);
        let no = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let _ = stream.write_all(no);
    });
    place
}

#[tokio::test]
async fn a_server_that_answered_a_credential_has_it_though_nobody_listens_any_more() {
    let options = HttpOptions {
        retries_max: 1,
        ..HttpOptions::default()
    };
    let http = Http::new(options).unwrap();
    let paid = HeaderMap::from_iter([(AUTHORIZATION, secret_value("Payment abc").unwrap())]);
    for (extra, is_unknown) in [(paid, true), (HeaderMap::new(), false)] {
        let request = Request::bare(http.url(&busy_and_gone()).unwrap());
        let sent = http.send(&request, &extra, &mut http.patience()).await;
        let error = sent.unwrap_err();
        assert_eq!(matches!(error, Error::OutcomeUnknown), is_unknown, "{error}");
        assert_eq!(matches!(error, Error::Http(_)), !is_unknown, "{error}");
    }
}
