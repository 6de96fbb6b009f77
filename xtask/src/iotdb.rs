//! Apache IoTDB as it is published for Maven: which files make a server, and how one is started.
//! A server is two programs, a ConfigNode and then a DataNode; clients speak to the DataNode.
//!
//! No release of 1.3 has its ConfigNode there, but the DataNode of 1.3.3 registers with that of
//! 2.0.1-beta. It does so once: such a pair cannot be started again on the same folder.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::cache::Cache;

/// Which IoTDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The newest of 2.0.
    V2,
    /// The newest of 1.3.
    V1,
}

/// A file of one artifact in Maven's repository: `org.apache.iotdb:NAME:VERSION:zip`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
}

const CONFIG_2_0_10: Artifact = Artifact { name: "iotdb-confignode", version: "2.0.10" };
const CONFIG_2_0_1: Artifact = Artifact { name: "iotdb-confignode", version: "2.0.1-beta" };
const DATA_1_3_3: Artifact = Artifact { name: "iotdb-server", version: "1.3.3" };

/// Everything that `cargo xtask setup` fetches.
pub const ARTIFACTS: [Artifact; 3] = [CONFIG_2_0_10, CONFIG_2_0_1, DATA_1_3_3];

impl Artifact {
    /// As Maven takes it.
    pub fn coordinate(self) -> String {
        format!("org.apache.iotdb:{}:{}:zip", self.name, self.version)
    }

    /// Its unpacked jars in the cache, in the folder `lib`.
    pub fn folder(self, cache: &Cache) -> PathBuf {
        cache.root().join(format!("{}-{}", self.name, self.version))
    }
}

impl Release {
    /// The artifact with the ConfigNode.
    pub fn config(self) -> Artifact {
        match self {
            Self::V2 => CONFIG_2_0_10,
            Self::V1 => CONFIG_2_0_1,
        }
    }

    /// The artifact with the DataNode. That of 2.0.10 is in its ConfigNode's too.
    pub fn data(self) -> Artifact {
        match self {
            Self::V2 => CONFIG_2_0_10,
            Self::V1 => DATA_1_3_3,
        }
    }
}

/// The ports of one server.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Of the DataNode, for clients.
    pub rpc: u16,
    /// Of the ConfigNode.
    pub config: [u16; 2],
    /// Of the DataNode, for other nodes.
    pub data: [u16; 4],
}

/// One server: a folder with everything it writes.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Which IoTDB.
    pub release: Release,
    /// Its folder.
    pub dir: PathBuf,
    /// Where it listens. The DataNode of 1.3 listens everywhere all the same.
    pub address: IpAddr,
    /// Its ports.
    pub ports: Ports,
    /// Heap of the DataNode in MiB.
    pub heap: u32,
    /// More lines of `iotdb-system.properties`.
    pub extra: Vec<String>,
}

/// Heap of a DataNode that is only tested against, in MiB.
pub const SMALL_HEAP: u32 = 384;

/// What the DataNode writes when it takes requests.
pub const READY: &str = "IoTDB DataNode is set up successfully";

impl Instance {
    /// Writes the configuration.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self) -> io::Result<()> {
        let conf = self.conf();
        for folder in [&conf, &self.dir.join("cn"), &self.dir.join("dn"), &self.dir.join("logs")] {
            fs::create_dir_all(folder)?;
        }
        fs::write(conf.join("iotdb-system.properties"), self.properties())?;
        for name in ["confignode", "datanode"] {
            fs::write(conf.join(format!("logback-{name}.xml")), LOGBACK)?;
        }
        Ok(())
    }

    fn conf(&self) -> PathBuf {
        self.dir.join("conf")
    }

    fn properties(&self) -> String {
        let Self { address, ports: Ports { rpc, config, data }, .. } = self;
        let [config, config_consensus] = config;
        let [internal, exchange, schema, region] = data;
        let mut text = format!(
            "cluster_name=lineside{rpc}\n\
             cn_internal_address={address}\ncn_internal_port={config}\n\
             cn_consensus_port={config_consensus}\n\
             cn_seed_config_node={address}:{config}\ndn_seed_config_node={address}:{config}\n\
             dn_rpc_address={address}\ndn_rpc_port={rpc}\n\
             dn_internal_address={address}\ndn_internal_port={internal}\n\
             dn_mpp_data_exchange_port={exchange}\n\
             dn_schema_region_consensus_port={schema}\ndn_data_region_consensus_port={region}\n\
             schema_replication_factor=1\ndata_replication_factor=1\n\
             enable_rest_service=false\nenable_mqtt_service=false\n"
        );
        // By default it is read-only when 5 % of the disk are left, which on a large one that is well
        // used is no reason to fail.
        text.push_str("disk_space_warning_threshold=0.01\n");
        // One node has nobody to agree with.
        for group in ["config_node", "schema_region", "data_region"] {
            text.push_str(group);
            text.push_str("_consensus_protocol_class=");
            text.push_str("org.apache.iotdb.consensus.simple.SimpleConsensus\n");
        }
        for line in &self.extra {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// Arguments of `java` for the ConfigNode.
    pub fn config_node(&self, cache: &Cache) -> Vec<OsString> {
        let home = self.dir.join("cn");
        let main = "org.apache.iotdb.confignode.service.ConfigNode";
        let mut args = jvm(128, 128);
        args.push(property(
            "logback.configurationFile",
            &self.conf().join("logback-confignode.xml"),
        ));
        for name in ["CONFIGNODE_HOME", "CONFIGNODE_DATA_HOME", "TSFILE_HOME"] {
            args.push(property(name, &home));
        }
        args.push(property("CONFIGNODE_LOGS", &self.dir.join("logs")));
        args.push(property("CONFIGNODE_CONF", &self.conf()));
        self.end(args, self.release.config(), cache, main)
    }

    /// Arguments of `java` for the DataNode.
    pub fn data_node(&self, cache: &Cache) -> Vec<OsString> {
        let home = self.dir.join("dn");
        let main = "org.apache.iotdb.db.service.DataNode";
        let mut args = jvm(self.heap, DIRECT);
        args.push(format!("-DOFF_HEAP_MEMORY={DIRECT}M").into());
        args.push(property("logback.configurationFile", &self.conf().join("logback-datanode.xml")));
        for name in ["IOTDB_HOME", "IOTDB_DATA_HOME", "TSFILE_HOME"] {
            args.push(property(name, &home));
        }
        args.push(property("IOTDB_LOG_DIR", &self.dir.join("logs")));
        args.push(property("IOTDB_CONF", &self.conf()));
        self.end(args, self.release.data(), cache, main)
    }

    fn end(
        &self,
        mut args: Vec<OsString>,
        artifact: Artifact,
        cache: &Cache,
        main: &str,
    ) -> Vec<OsString> {
        args.push(property("TSFILE_CONF", &self.conf()));
        args.push("-Diotdb-foreground=yes".into());
        args.push("-cp".into());
        // Java itself puts every jar of the folder in place of the star.
        args.push(artifact.folder(cache).join("lib/*").into());
        args.extend([main, "-s"].map(OsString::from));
        args
    }
}

/// Memory outside of the heap of a DataNode, in MiB.
const DIRECT: u32 = 256;

/// Both write to standard output.
const LOGBACK: &str = "<configuration><appender name=\"out\" \
     class=\"ch.qos.logback.core.ConsoleAppender\"><encoder>\
     <pattern>%d %-5p [%t] %c{1}:%L - %m%n</pattern></encoder></appender>\
     <root level=\"INFO\"><appender-ref ref=\"out\"/></root></configuration>\n";

/// Packages that IoTDB opens to itself.
const OPENED: [&str; 6] = ["util.concurrent", "lang", "util", "nio", "io", "net"];

fn jvm(heap: u32, direct: u32) -> Vec<OsString> {
    let opened = OPENED.map(|p| format!("--add-opens=java.base/java.{p}=ALL-UNNAMED").into());
    let mut args = opened.to_vec();
    args.push("-Xms32m".into());
    args.push(format!("-Xmx{heap}m").into());
    args.push(format!("-XX:MaxDirectMemorySize={direct}m").into());
    args.extend(["-XX:+UseSerialGC", "-Xss512k", "-Dfile.encoding=UTF-8"].map(OsString::from));
    args
}

fn property(name: &str, path: &Path) -> OsString {
    let mut text = OsString::from(format!("-D{name}="));
    text.push(path);
    text
}

/// Where Debian puts Java 17, which all releases run on.
///
/// # Errors
/// It is not installed.
pub fn java() -> io::Result<PathBuf> {
    let roots = fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten();
    let java = roots
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("java-17-openjdk"))
        .map(|entry| entry.path().join("bin/java"))
        .find(|java| java.is_file());
    java.ok_or_else(|| io::Error::other("Java 17 is not installed"))
}
