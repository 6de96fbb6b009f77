//! TLS with a real server, `enable_thrift_ssl=true`.

use std::path::PathBuf;
use std::process::Command;

use lineside_core::Value;
use lineside_core::fault::FaultClass;
use lineside_core::secret::Secrets;
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{IotdbSettings, SecretKeyRef, Tls};
use lineside_tests::agent::lineside;
use lineside_tests::dir::TestDir;
use lineside_tests::peers::iotdb::{Iotdb, Release};
use lineside_tests::tls::Certificates;
use lineside_tests::tools;

use super::sink::{Run, batch, origin, settings};

/// Password of the key store; Java has none without.
const PASSWORD: &str = "not-a-secret";

/// Certificate and key as Java reads them.
fn key_store(dir: &TestDir, certificates: &Certificates) -> PathBuf {
    let store = dir.join("server.p12");
    let made = Command::new(tools::program("openssl").unwrap())
        .args(["pkcs12", "-export", "-name", "server", "-passout"])
        .arg(format!("pass:{PASSWORD}"))
        .arg("-in")
        .arg(&certificates.server_cert)
        .arg("-inkey")
        .arg(&certificates.server_key)
        .arg("-out")
        .arg(&store)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    store
}

/// Settings that trust the authority whose certificate is in the Secret `tls`.
fn trusting(port: u16) -> IotdbSettings {
    let ca = Some(SecretKeyRef { secret: "tls".to_owned(), key: "ca.crt".to_owned() });
    let tls = Some(Tls { ca, client: None, server_name: None });
    IotdbSettings { tls, ..settings(port) }
}

#[test]
fn a_server_with_tls_is_written_to_if_its_authority_is_trusted() {
    let dir = TestDir::new("iotdb-tls").unwrap();
    let certificates = Certificates::new(&dir, "right").unwrap();
    let other = Certificates::new(&dir, "other").unwrap();
    let store = format!("key_store_path={}", key_store(&dir, &certificates).display());
    let password = format!("key_store_pwd={PASSWORD}");
    let extra = ["enable_thrift_ssl=true", &store, &password];
    let server = Iotdb::start(&dir, "iotdb", Release::V2, &extra).unwrap();
    let secrets = Secrets::new(Some(dir.join("secrets")));
    let row = || batch(&origin("d", &["a"]), &[(0, Some(Value::F32(21.5)), 1000)]);

    let authority = |from: &PathBuf| {
        dir.write("secrets/tls/ca.crt", &std::fs::read_to_string(from).unwrap()).unwrap()
    };
    authority(&other.ca);
    let mut refused = Run::with(trusting(server.port), secrets.clone());
    let fault = refused.fault();
    assert_eq!(fault.code, Code::SinkTls, "{fault:?}");
    assert!(refused.endpoints().is_empty());

    authority(&certificates.ca);
    let run = Run::with(trusting(server.port), secrets);
    run.delivered([row()]);
    run.end();

    // Without TLS it is no server that could be spoken to.
    let mut plain = Run::start(settings(server.port));
    let fault = plain.fault();
    let classes = [FaultClass::Peer, FaultClass::Unreachable, FaultClass::Timeout];
    assert!(classes.contains(&fault.class), "{fault:?}");

    let pipeline = format!(
        "apiVersion: lineside.dev/v1alpha1\nkind: Pipeline\nmetadata: {{name: to-tsdb}}\nspec:\n  \
         sources:\n  - name: all\n    devices: {{}}\n  sinks:\n  - name: tsdb\n    iotdb:\n      \
         url: iotdbs://127.0.0.1:{}\n      tls: {{caRef: {{secret: tls, key: ca.crt}}}}\n",
        server.port
    );
    let file = dir.write("pipeline.yaml", &pipeline).unwrap().display().to_string();
    let folder = dir.join("secrets").display().to_string();
    let words = ["query", "last", "plant/d", "-f", &file, "--secrets", &folder];
    let found = lineside(words).unwrap();
    let shown = String::from_utf8(found.stdout).unwrap();
    assert!(shown.contains("21.5"), "{shown} {}", String::from_utf8_lossy(&found.stderr));
}
