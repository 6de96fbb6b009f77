//! Container images as OCI archives, without a container engine.
//!
//! An archive is a tar of an image layout with one image of one layer. The same input makes the
//! same bytes on every machine: paths are sorted, times are zero, owners are root.
//! `ctr images import`, `docker load` and `podman load` take it.

mod tar;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use tar::{Kind, Writer};

/// Media types of the image specification.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// What is in an image, by absolute path. Folders above an entry come by themselves, mode 0755.
#[derive(Clone, Debug, Default)]
pub struct Rootfs {
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug)]
enum Entry {
    File { mode: u32, bytes: Vec<u8> },
    Link { target: String },
    Dir { mode: u32 },
}

impl Rootfs {
    /// A file with these bytes.
    pub fn file(&mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) {
        self.put(path, Entry::File { mode, bytes: bytes.into() });
    }

    /// A copy of a file of this machine; links are followed.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn copy(&mut self, from: &Path, path: &str, mode: u32) -> Result<()> {
        let bytes = fs::read(from).with_context(|| from.display().to_string())?;
        self.file(path, mode, bytes);
        Ok(())
    }

    /// A symbolic link.
    pub fn link(&mut self, target: &str, path: &str) {
        self.put(path, Entry::Link { target: target.to_owned() });
    }

    /// A folder.
    pub fn dir(&mut self, path: &str, mode: u32) {
        self.put(path, Entry::Dir { mode });
    }

    /// Paths of all entries, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Writes it into a folder that is new or empty.
    ///
    /// # Errors
    /// The folder has something in it or cannot be written.
    pub fn write_into(&self, dir: &Path) -> Result<()> {
        use std::os::unix::fs::{PermissionsExt as _, symlink};

        fs::create_dir_all(dir)?;
        if fs::read_dir(dir)?.next().is_some() {
            bail!("{} is not empty", dir.display());
        }
        for (path, entry) in &self.entries {
            let at = dir.join(path.trim_start_matches('/'));
            let mode = |mode: &u32| fs::set_permissions(&at, fs::Permissions::from_mode(*mode));
            match entry {
                Entry::Dir { mode: bits } => {
                    fs::create_dir_all(&at)?;
                    mode(bits)?;
                }
                Entry::Link { target } => symlink(target, &at)?,
                Entry::File { mode: bits, bytes } => {
                    fs::write(&at, bytes).with_context(|| at.display().to_string())?;
                    mode(bits)?;
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, path: &str, entry: Entry) {
        let mut above = path;
        while let Some((parent, _)) = above.rsplit_once('/')
            && !parent.is_empty()
        {
            self.entries.entry(parent.to_owned()).or_insert(Entry::Dir { mode: 0o755 });
            above = parent;
        }
        self.entries.insert(path.to_owned(), entry);
    }

    fn tar(&self) -> Result<Vec<u8>> {
        let mut tar = Writer::new(Vec::new());
        for (path, entry) in &self.entries {
            let name = path.trim_start_matches('/');
            match entry {
                Entry::Dir { mode } => tar.entry(&format!("{name}/"), *mode, &Kind::Dir)?,
                Entry::Link { target } => tar.entry(name, 0o777, &Kind::Link(target))?,
                Entry::File { mode, bytes } => tar.entry(name, *mode, &Kind::File(bytes))?,
            }
        }
        tar.finish()
    }
}

/// An image.
#[derive(Clone, Debug)]
pub struct Image {
    /// The whole reference, e.g. `docker.io/lineside/agent:0.1.0`.
    pub reference: String,
    /// What is in it.
    pub rootfs: Rootfs,
    /// What always runs.
    pub entrypoint: Vec<String>,
    /// What runs, or the arguments, unless others are given.
    pub command: Vec<String>,
    /// `uid:gid`; empty: root.
    pub user: String,
    /// `NAME=value`.
    pub environment: Vec<String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Ports it says it listens on, e.g. `9464/tcp`.
    pub ports: Vec<String>,
}

impl Image {
    /// An image that runs nothing yet.
    pub fn new(reference: &str, rootfs: Rootfs) -> Self {
        Self {
            reference: reference.to_owned(),
            rootfs,
            entrypoint: Vec::new(),
            command: Vec::new(),
            user: String::new(),
            environment: Vec::new(),
            labels: BTreeMap::new(),
            ports: Vec::new(),
        }
    }

    /// Writes the archive and gives the digest of the image's manifest, `sha256:...`.
    ///
    /// # Errors
    /// A path is too long for the archive, or it cannot be written.
    pub fn write(&self, archive: &Path) -> Result<String> {
        let architecture = architecture()?;
        let mut blobs = BTreeMap::new();
        let layer = put(&mut blobs, LAYER, self.rootfs.tar()?);
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": self.runtime(),
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "cargo xtask image"}],
        });
        let config = put(&mut blobs, CONFIG, serde_json::to_vec(&config)?);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer],
        });
        let mut manifest = put(&mut blobs, MANIFEST, serde_json::to_vec(&manifest)?);
        let digest = manifest["digest"].as_str().unwrap_or_default().to_owned();
        let tag = self.reference.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        manifest["platform"] = json!({"architecture": architecture, "os": "linux"});
        // The first is what containerd and podman read, the second what the specification has.
        manifest["annotations"] = json!({
            "io.containerd.image.name": self.reference,
            "org.opencontainers.image.ref.name": tag,
        });
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest]});

        // The form that docker had before image layouts, for its older releases.
        let path = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap_or_default();
            format!("blobs/{}", digest.replace(':', "/"))
        };
        let familiar = self.reference.trim_start_matches("docker.io/");
        let docker = json!([{
            "Config": path(&config), "RepoTags": [familiar], "Layers": [path(&layer)],
        }]);

        let file = File::create(archive).with_context(|| archive.display().to_string())?;
        let mut tar = Writer::new(BufWriter::new(file));
        tar.entry("oci-layout", 0o644, &Kind::File(br#"{"imageLayoutVersion":"1.0.0"}"#))?;
        tar.entry("index.json", 0o644, &Kind::File(&serde_json::to_vec(&index)?))?;
        tar.entry("manifest.json", 0o644, &Kind::File(&serde_json::to_vec(&docker)?))?;
        for (digest, bytes) in &blobs {
            tar.entry(&format!("blobs/sha256/{digest}"), 0o644, &Kind::File(bytes))?;
        }
        tar.finish()?.flush()?;
        Ok(digest)
    }

    fn runtime(&self) -> Value {
        let ports: BTreeMap<_, _> = self.ports.iter().map(|port| (port, json!({}))).collect();
        let mut config = json!({
            "User": self.user,
            "WorkingDir": "/",
            "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
            "Labels": self.labels,
            "ExposedPorts": ports,
            "Entrypoint": self.entrypoint,
            "Cmd": self.command,
        });
        if let Some(environment) = config["Env"].as_array_mut() {
            environment.extend(self.environment.iter().map(|e| json!(e)));
        }
        // An empty list would replace what a base image says; there is none, and leaving it
        // out is the usual form.
        if let Some(fields) = config.as_object_mut() {
            fields.retain(|_, value| {
                *value != json!([]) && *value != json!({}) && *value != json!("")
            });
        }
        config
    }
}

/// Adds a blob and gives its descriptor.
fn put(blobs: &mut BTreeMap<String, Vec<u8>>, kind: &str, bytes: Vec<u8>) -> Value {
    let digest: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    let descriptor =
        json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len()});
    blobs.insert(digest, bytes);
    descriptor
}

/// This machine, as images call it.
fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("images for {other} are not made"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Image, Rootfs};
    use std::path::PathBuf;
    use std::process::Command;

    fn temporary(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("lineside-oci-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn image() -> Image {
        let mut rootfs = Rootfs::default();
        rootfs.file("/usr/bin/hello", 0o755, *b"#!/bin/sh\n");
        rootfs.link("hello", "/usr/bin/hi");
        rootfs.dir("/tmp", 0o1777);
        let user = "65532:65532".to_owned();
        Image { user, ..Image::new("docker.io/lineside/test:1.2.3", rootfs) }
    }

    #[test]
    fn the_same_image_is_the_same_bytes_and_another_is_not() {
        let dir = temporary("same");
        let digest = image().write(&dir.join("a.tar")).unwrap();
        assert_eq!(image().write(&dir.join("b.tar")).unwrap(), digest);
        let bytes = std::fs::read(dir.join("a.tar")).unwrap();
        assert_eq!(bytes, std::fs::read(dir.join("b.tar")).unwrap());
        let other = Image { user: String::new(), ..image() };
        assert_ne!(other.write(&dir.join("c.tar")).unwrap(), digest);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn tar_and_sha256sum_agree_with_the_archive() {
        let dir = temporary("foreign");
        let digest = image().write(&dir.join("a.tar")).unwrap();
        let script = "set -e; tar xf a.tar; cd blobs/sha256; sha256sum * | awk '$1 != $2 {exit 1}'
            ls; layer=$(grep -l usr/bin/hello *); tar tvf $layer --full-time";
        let out = Command::new("sh").current_dir(&dir).args(["-c", script]).output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
        assert!(text.contains(digest.strip_prefix("sha256:").unwrap()), "{text}");
        for line in ["drwxrwxrwt root/root", "-rwxr-xr-x root/root", "usr/bin/hi -> hello"] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(text.contains("1970-01-01"), "{text}");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
