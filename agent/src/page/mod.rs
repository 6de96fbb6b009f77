//! The local page: one HTML file with its style and scripts, built into the binary. It shows
//! what the local API tells and nothing else; it is served beside that API, on the loopback
//! address only.
//!
//! Nothing comes from elsewhere: no framework, no font, no image, and the policy sent with every
//! answer forbids the browser to ask for any.

use axum::Router;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::api;

/// What the page may load and do: its own files and its own agent.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// Sent with every file. `no-cache` makes the browser ask each time, so that a page never runs
/// with the scripts of another version; the tag makes the answer short.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-cache"),
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file of the page.
struct Asset {
    path: &'static str,
    media_type: &'static str,
    body: &'static str,
}

const fn script(path: &'static str, body: &'static str) -> Asset {
    Asset { path, media_type: SCRIPT, body }
}

static ASSETS: [Asset; 9] = [
    Asset { path: "/", media_type: HTML, body: include_str!("index.html") },
    Asset { path: "/app.css", media_type: CSS, body: include_str!("app.css") },
    script("/app.js", include_str!("app.js")),
    script("/devices.js", include_str!("devices.js")),
    script("/dom.js", include_str!("dom.js")),
    script("/panels.js", include_str!("panels.js")),
    script("/stream.js", include_str!("stream.js")),
    script("/trend.js", include_str!("trend.js")),
    script("/words.js", include_str!("words.js")),
];

/// The routes `/` and `/*.js`, `/app.css`; to be merged with those of the local API, which the
/// page reads.
pub fn router() -> Router {
    let routes = ASSETS.iter().fold(Router::new(), |router, asset| {
        router.route(asset.path, get(async move |headers: HeaderMap| answer(asset, &headers)))
    });
    routes.method_not_allowed_fallback(api::wrong_method)
}

fn answer(asset: &Asset, request: &HeaderMap) -> Response {
    let tag = tag(asset.body);
    let known = request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|candidate| candidate.trim().trim_start_matches("W/") == tag);
    let tagged = (HEADERS, [(header::ETAG, tag)]);
    if known {
        return (StatusCode::NOT_MODIFIED, tagged).into_response();
    }
    (tagged, [(header::CONTENT_TYPE, asset.media_type)], asset.body).into_response()
}

/// A tag that changes with the text: 64-bit FNV-1a.
fn tag(body: &str) -> String {
    let hash = body.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("\"{hash:016x}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asset(path: &str) -> &'static Asset {
        ASSETS.iter().find(|asset| asset.path == path).unwrap()
    }

    #[test]
    fn every_file_comes_with_the_policy_and_a_tag() {
        for asset in &ASSETS {
            let response = answer(asset, &HeaderMap::new());
            assert_eq!(response.status(), StatusCode::OK);
            let headers = response.headers();
            assert_eq!(headers[header::CONTENT_SECURITY_POLICY], POLICY);
            assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
            assert_eq!(headers[header::CONTENT_TYPE], asset.media_type);
            assert!(headers.contains_key(header::ETAG));
        }
    }

    #[test]
    fn a_browser_that_has_the_file_is_not_sent_it_again() {
        let page = asset("/");
        let mut request = HeaderMap::new();
        request.insert(header::IF_NONE_MATCH, tag(page.body).parse().unwrap());
        assert_eq!(answer(page, &request).status(), StatusCode::NOT_MODIFIED);
        request.insert(header::IF_NONE_MATCH, "\"other\"".parse().unwrap());
        assert_eq!(answer(page, &request).status(), StatusCode::OK);
    }

    #[test]
    fn every_file_that_the_page_names_is_served_and_none_is_elsewhere() {
        for asset in &ASSETS {
            for line in asset.body.lines().filter(|line| line.contains("from \"")) {
                let name = line.split('"').nth(1).unwrap().trim_start_matches('.');
                assert!(ASSETS.iter().any(|a| a.path == name), "{name} of {}", asset.path);
            }
            let addresses = asset
                .body
                .match_indices("http")
                .map(|(at, _)| asset.body[at..].split(['\'', '"', ' ', '<']).next().unwrap());
            for address in addresses.filter(|a| a.contains("://")) {
                assert_eq!(address, "http://www.w3.org/2000/svg", "a name, not a request");
            }
        }
    }

    /// A colour of the style in one theme, as its relative luminance (WCAG 2.2).
    fn luminance(name: &str, theme: usize) -> f64 {
        let start = format!("  --{name}: light-dark(");
        let (_, rest) =
            asset("/app.css").body.split_once(&start).unwrap_or_else(|| panic!("{name}"));
        let colour = rest.split([',', ')']).nth(theme).unwrap().trim().trim_start_matches('#');
        let linear = |at: usize| {
            let c = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(0) + 0.7152 * linear(2) + 0.0722 * linear(4)
    }

    #[test]
    fn text_and_the_edges_of_controls_stand_out_in_both_themes() {
        // WCAG 2.2: 1.4.3 text 4.5:1, 1.4.11 the edges of controls and the focus 3:1.
        let text = ["ink", "quiet", "well", "warn", "fail"];
        let grounds = ["ground", "sheet", "raised"];
        let mut pairs: Vec<(&str, &str, f64)> = Vec::new();
        for ground in grounds {
            pairs.extend(text.map(|t| (t, ground, 4.5)));
            pairs.extend(["edge", "focus"].map(|edge| (edge, ground, 3.0)));
        }
        for wash in ["warn-wash", "fail-wash"] {
            pairs.extend(["ink", "quiet"].map(|t| (t, wash, 4.5)));
        }
        for theme in [0, 1] {
            for (over, under, least) in &pairs {
                let (a, b) = (luminance(over, theme), luminance(under, theme));
                let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                assert!(contrast >= *least, "{over} on {under}, theme {theme}: {contrast:.2}");
            }
        }
        // Fading would undo all of it.
        assert!(!asset("/app.css").body.contains("opacity:"));
    }

    #[test]
    fn data_never_becomes_markup() {
        for asset in &ASSETS {
            for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
                assert!(!asset.body.contains(way), "{way} in {}", asset.path);
            }
        }
    }
}
