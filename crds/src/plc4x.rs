//! Apache PLC4X connection strings, verbatim:
//! `PROTOCOL[:TRANSPORT]://HOST[:PORT][?OPTION=VALUE&...]`.
//!
//! Every option either changes what happens here or is refused with a code; nothing is accepted
//! without effect. Messages never repeat the whole string, since people put passwords in URLs.

use std::net::Ipv6Addr;
use std::time::Duration;

use crate::api::device as defaults;
use crate::diagnostics::Code;
use crate::modbus::{ByteOrder, Settings};
use crate::suggest::{did_you_mean, shown};

/// Longest string that is looked at; the API allows 512.
const MOST_BYTES: usize = 4096;

/// What a connection string says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The connection.
    pub settings: Settings,
    /// `request-timeout`, when the string names one.
    pub request_timeout: Option<Duration>,
    /// Findings that refuse nothing, e.g. an older spelling.
    pub notes: Vec<UrlProblem>,
}

/// One thing that is wrong (or old) in a connection string.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UrlProblem {
    /// What it is.
    pub code: Code,
    /// The particulars.
    pub message: String,
}

impl UrlProblem {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Parses a connection string. Total: any text gives a connection or all of its problems.
pub fn parse(text: &str) -> Result<Connection, Vec<UrlProblem>> {
    if text.len() > MOST_BYTES {
        return Err(vec![UrlProblem::new(Code::UrlSyntax, "the connection string is too long")]);
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        let message = "a connection string has no spaces or control characters";
        return Err(vec![UrlProblem::new(Code::UrlSyntax, message)]);
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        let message = "no :// in it; wanted modbus-tcp://HOST:PORT";
        return Err(vec![UrlProblem::new(Code::UrlSyntax, message)]);
    };
    let (authority, query) = match rest.split_once('?') {
        Some((authority, query)) => (authority, Some(query)),
        None => (rest, None),
    };
    let mut problems = Vec::new();
    let mut notes = Vec::new();
    protocol(scheme, &mut problems, &mut notes);
    if !problems.is_empty() {
        // Host and options of another protocol are not ours to judge.
        return Err(problems);
    }
    let (host, port) = host_and_port(authority, defaults::MODBUS_PORT_DEFAULT as u16)
        .unwrap_or_else(|message| {
            problems.push(UrlProblem::new(Code::UrlSyntax, message));
            (String::new(), 0)
        });
    let mut connection = Connection {
        settings: Settings {
            host,
            port,
            unit_id: defaults::UNIT_ID_DEFAULT as u8,
            byte_order: ByteOrder::default(),
            max_registers: defaults::MAX_REGISTERS_DEFAULT as u16,
            max_bits: defaults::MAX_COILS_DEFAULT as u16,
            max_gap: defaults::MAX_GAP_DEFAULT as u16,
        },
        request_timeout: None,
        notes,
    };
    let mut seen: Vec<&str> = Vec::new();
    for option in query.into_iter().flat_map(|q| q.split('&')) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        // Two spellings of one option are still one option.
        let one = if name == "unit-identifier" { "default-unit-identifier" } else { name };
        if seen.contains(&one) {
            let message = format!("option {} stands there twice", shown(name));
            problems.push(UrlProblem::new(Code::UrlOptionInvalid, message));
            continue;
        }
        seen.push(one);
        if let Err(problem) = apply(&mut connection, name, value) {
            problems.push(problem);
        }
    }
    if problems.is_empty() { Ok(connection) } else { Err(problems) }
}

fn protocol(scheme: &str, problems: &mut Vec<UrlProblem>, notes: &mut Vec<UrlProblem>) {
    let (protocol, transport) = match scheme.split_once(':') {
        Some((protocol, transport)) => (protocol, Some(transport)),
        None => (scheme, None),
    };
    let unsupported = |what: String| UrlProblem::new(Code::UrlProtocolUnsupported, what);
    match (protocol, transport) {
        ("modbus-tcp", None | Some("tcp")) => {}
        ("modbus", None | Some("tcp")) => notes.push(UrlProblem::new(
            Code::UrlOldSpelling,
            format!("{scheme}:// is an older spelling of modbus-tcp://"),
        )),
        ("modbus-tcp" | "modbus", Some(other)) => problems.push(unsupported(format!(
            "transport {} of {protocol} is not supported; only tcp is",
            shown(other)
        ))),
        ("", _) => problems.push(UrlProblem::new(Code::UrlSyntax, "no protocol before ://")),
        (other, _) => {
            let hint = did_you_mean(other, ["modbus-tcp"]);
            problems.push(unsupported(format!(
                "protocol {} is not supported; this release speaks modbus-tcp{hint}",
                shown(other)
            )));
        }
    }
}

/// Splits `HOST[:PORT]`; an IPv6 address stands in brackets.
pub(crate) fn host_and_port(authority: &str, default: u16) -> Result<(String, u16), String> {
    if authority.contains('@') {
        return Err("user name and password do not belong in a URL".into());
    }
    if authority.contains(['/', '#', '\\']) {
        return Err("nothing but HOST:PORT may stand after ://".into());
    }
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) =
            rest.split_once(']').ok_or("the bracket of the address is not closed")?;
        let host = host.parse::<Ipv6Addr>().map_err(|_| "no IPv6 address between the brackets")?;
        match rest.strip_prefix(':') {
            Some(port) => (host.to_string(), Some(port)),
            None if rest.is_empty() => (host.to_string(), None),
            None => return Err("only :PORT may stand after the bracket".into()),
        }
    } else {
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        if port.is_some_and(|p| p.contains(':')) {
            return Err("an IPv6 address stands in brackets, like [fe80::1]:502".into());
        }
        if !is_host(host) {
            return Err(match host.is_empty() {
                true => "no host after ://".into(),
                false => format!("{:?} is no host name or address", shown(host)),
            });
        }
        (host.to_owned(), port)
    };
    let port = match port {
        None => default,
        Some(text) => match text.parse::<u16>() {
            Ok(port) if port > 0 && text.bytes().all(|b| b.is_ascii_digit()) => port,
            _ => return Err(format!("{:?} is no port from 1 to 65535", shown(text))),
        },
    };
    Ok((host, port))
}

fn is_host(host: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    host.len() <= 253
        && edge(host.chars().next())
        && edge(host.chars().next_back())
        && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

/// Options of Apache PLC4X that have an effect here.
const OPTIONS: &[&str] = &[
    "default-unit-identifier",
    "unit-identifier",
    "request-timeout",
    "default-payload-byte-order",
    "max-registers-per-request",
    "max-coils-per-request",
];

fn apply(to: &mut Connection, name: &str, value: &str) -> Result<(), UrlProblem> {
    match name {
        "default-unit-identifier" => to.settings.unit_id = number(name, value, 0, 255)?,
        "unit-identifier" => {
            to.settings.unit_id = number(name, value, 0, 255)?;
            let message = "unit-identifier is an older spelling of default-unit-identifier";
            to.notes.push(UrlProblem::new(Code::UrlOldSpelling, message));
        }
        "request-timeout" => {
            let millis: u32 = number(name, value, 10, 600_000)?;
            to.request_timeout = Some(Duration::from_millis(u64::from(millis)));
        }
        "default-payload-byte-order" => {
            to.settings.byte_order = ByteOrder::from_plc4x(value).ok_or_else(|| {
                let hint = did_you_mean(value, ByteOrder::PLC4X.iter().map(|(n, _)| *n));
                let message = format!("{name}: {} is no byte order{hint}", shown(value));
                UrlProblem::new(Code::UrlOptionInvalid, message)
            })?;
        }
        "max-registers-per-request" => to.settings.max_registers = number(name, value, 1, 125)?,
        "max-coils-per-request" => to.settings.max_bits = number(name, value, 1, 2000)?,
        "ping-address" => {
            let message = "ping-address has no effect here: health is judged by the points";
            return Err(UrlProblem::new(Code::UrlOptionUnsupported, message));
        }
        "tcp.default-timeout" => {
            let message = "tcp.default-timeout has no effect here: use timeouts.connectMillis";
            return Err(UrlProblem::new(Code::UrlOptionUnsupported, message));
        }
        _ if name.starts_with("tcp.") => {
            let message = format!("{} has no effect here: remove it", shown(name));
            return Err(UrlProblem::new(Code::UrlOptionUnsupported, message));
        }
        "" => {
            let message = "an option is empty; wanted NAME=VALUE between ? and &";
            return Err(UrlProblem::new(Code::UrlOptionInvalid, message));
        }
        _ => {
            let hint = match did_you_mean(name, OPTIONS.iter().copied()) {
                hint if hint.is_empty() => format!("; known are {}", OPTIONS.join(", ")),
                hint => hint,
            };
            let message = format!("no option {}{hint}", shown(name));
            return Err(UrlProblem::new(Code::UrlOptionUnknown, message));
        }
    }
    Ok(())
}

fn number<T: TryFrom<u32>>(
    name: &str,
    value: &str,
    least: u32,
    most: u32,
) -> Result<T, UrlProblem> {
    let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    value
        .parse::<u32>()
        .ok()
        .filter(|n| digits && (least..=most).contains(n))
        .and_then(|n| T::try_from(n).ok())
        .ok_or_else(|| {
            let message = format!("{name}: {:?} is not within {least} to {most}", shown(value));
            UrlProblem::new(Code::UrlOptionInvalid, message)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str) -> Vec<Code> {
        parse(text).map_or_else(|e| e, |c| c.notes).into_iter().map(|p| p.code).collect()
    }

    #[test]
    fn every_spelling_of_a_host_is_understood() {
        for (text, endpoint) in [
            ("modbus-tcp://h", "h:502"),
            ("modbus-tcp:tcp://10.0.0.1:1502", "10.0.0.1:1502"),
            ("modbus://plc-1.example", "plc-1.example:502"),
            ("modbus:tcp://h:5020", "h:5020"),
            ("modbus-tcp://[fe80::1]:502", "[fe80::1]:502"),
            ("modbus-tcp://[::1]", "[::1]:502"),
        ] {
            assert_eq!(parse(text).unwrap().settings.endpoint(), endpoint, "{text}");
        }
        assert_eq!(codes("modbus:tcp://h"), [Code::UrlOldSpelling]);
        assert_eq!(codes("modbus-tcp:tcp://h"), []);
    }

    #[test]
    fn every_option_changes_its_setting() {
        let c = parse(
            "modbus-tcp://h?default-unit-identifier=0&request-timeout=750\
             &default-payload-byte-order=LITTLE_ENDIAN_BYTE_SWAP\
             &max-registers-per-request=60&max-coils-per-request=80",
        )
        .unwrap();
        assert_eq!(c.settings.unit_id, 0);
        assert_eq!(c.request_timeout, Some(Duration::from_millis(750)));
        assert_eq!(c.settings.byte_order, ByteOrder::LittleEndianByteSwap);
        assert_eq!((c.settings.max_registers, c.settings.max_bits), (60, 80));
        let old = parse("modbus-tcp://h?unit-identifier=9").unwrap();
        assert_eq!(old.settings.unit_id, 9);
        assert_eq!(old.notes.len(), 1);
    }

    #[test]
    fn nothing_is_accepted_silently_and_all_is_reported() {
        for (text, expected) in [
            ("", &[Code::UrlSyntax][..]),
            ("h:502", &[Code::UrlSyntax]),
            ("://h", &[Code::UrlSyntax]),
            ("modbus-tcp://", &[Code::UrlSyntax]),
            ("modbus-tcp://h:0", &[Code::UrlSyntax]),
            ("modbus-tcp://h:+1", &[Code::UrlSyntax]),
            ("modbus-tcp://h:70000", &[Code::UrlSyntax]),
            ("modbus-tcp://fe80::1", &[Code::UrlSyntax]),
            ("modbus-tcp://[fe80::1", &[Code::UrlSyntax]),
            ("modbus-tcp://u:p@h", &[Code::UrlSyntax]),
            ("modbus-tcp://h/x", &[Code::UrlSyntax]),
            ("modbus-tcp:udp://h", &[Code::UrlProtocolUnsupported]),
            ("modbus-rtu://h", &[Code::UrlProtocolUnsupported]),
            ("s7://h", &[Code::UrlProtocolUnsupported]),
            ("modbus-tcp://h?", &[Code::UrlOptionInvalid]),
            ("modbus-tcp://h?unit-identifier=256", &[Code::UrlOptionInvalid]),
            (
                "modbus-tcp://h?unit-identifier=1&default-unit-identifier=1",
                &[Code::UrlOptionInvalid],
            ),
            (
                "modbus-tcp://h:x?ping-address=4x00001:BOOL&tcp.no-delay=true&unit-identifer=1",
                &[
                    Code::UrlSyntax,
                    Code::UrlOptionUnsupported,
                    Code::UrlOptionUnsupported,
                    Code::UrlOptionUnknown,
                ],
            ),
        ] {
            assert_eq!(codes(text), expected, "{text}");
        }
        let unknown = parse("modbus-tcp://h?unit-identifer=1").unwrap_err();
        assert!(unknown[0].message.ends_with("did you mean unit-identifier?"), "{unknown:?}");
    }
}
