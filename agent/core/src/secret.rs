//! Secrets by name: `DIR/<secret>/<key>`, the layout of a mounted Kubernetes Secret. Read when a
//! session starts, so a rotated value arrives with the next connection. Never printed.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;

use lineside_crds::diagnostics::Code;
use lineside_crds::model::SecretKeyRef;

use crate::fault::{Fault, FaultClass};

/// Kubernetes bounds a Secret to 1 MiB; a larger file is not one.
const MAX_SECRET_BYTES: u64 = 1024 * 1024;

/// Where secrets are.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    dir: Option<PathBuf>,
}

impl Secrets {
    /// Secrets below `dir`; `None` = there are none, every lookup says how to give them.
    pub fn new(dir: Option<PathBuf>) -> Self {
        Self { dir }
    }

    /// Reads one key of one Secret.
    ///
    /// # Errors
    /// Class Config: `SecretNotFound` when the file is not there, `SecretTooLarge` beyond 1 MiB,
    /// `SecretInvalid` when a name would leave the directory or the file cannot be read.
    pub fn read(&self, at: &SecretKeyRef) -> Result<SecretBytes, Fault> {
        let fault = |code, text: String| Fault::new(FaultClass::Config, code, text);
        let Some(dir) = &self.dir else {
            let text = format!("secret {at} is needed but the agent runs without --secrets DIR");
            return Err(fault(Code::SecretNotFound, text));
        };
        if !is_file_name(&at.secret) || !is_file_name(&at.key) {
            return Err(fault(Code::SecretInvalid, format!("secret {at} is not a plain name")));
        }
        let path = dir.join(&at.secret).join(&at.key);
        let file = std::fs::File::open(&path).map_err(|e| {
            let code = match e.kind() {
                std::io::ErrorKind::NotFound => Code::SecretNotFound,
                _ => Code::SecretInvalid,
            };
            fault(code, format!("read secret {at}")).because(e)
        })?;
        let mut bytes = Vec::new();
        file.take(MAX_SECRET_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| fault(Code::SecretInvalid, format!("read secret {at}")).because(e))?;
        if bytes.len() as u64 > MAX_SECRET_BYTES {
            return Err(fault(Code::SecretTooLarge, format!("secret {at} is over 1 MiB")));
        }
        Ok(SecretBytes(bytes))
    }

    /// Reads one key as text, without one trailing line break (editors add it).
    ///
    /// # Errors
    /// As [`Secrets::read`]; `SecretInvalid` when it is not UTF-8.
    pub fn read_text(&self, at: &SecretKeyRef) -> Result<SecretText, Fault> {
        let bytes = self.read(at)?;
        let mut text = String::from_utf8(bytes.0).map_err(|_| {
            let text = format!("secret {at} is not UTF-8 text");
            Fault::new(FaultClass::Config, Code::SecretInvalid, text)
        })?;
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Ok(SecretText(text))
    }
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0'])
}

/// The bytes of a secret.
pub struct SecretBytes(Vec<u8>);

/// The text of a secret.
pub struct SecretText(String);

impl SecretBytes {
    /// Gives the secret out; the caller keeps it out of logs and messages.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl SecretText {
    /// Gives the secret out; the caller keeps it out of logs and messages.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(redacted)")
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(redacted)")
    }
}
