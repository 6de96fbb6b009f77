//! Issue 7, M4: the example with a database, on the lab and without Kubernetes, as it is typed.

use std::fs;
use std::path::Path;

use lineside_tests::agent::Agent;
use lineside_tests::peers::iotdb::{Iotdb, Release};
use lineside_tests::peers::iotdb_client::IotdbClient;
use lineside_tests::peers::pymodbus::Pymodbus;
use lineside_tests::tools::workspace;
use lineside_tests::wait;

use crate::line::{BROKER, Line, PIPELINE, SINK, SOON};

const EXAMPLE: &str = "examples/kubernetes/iotdb";

/// The newest values of the example's device with their qualities, when all of them are there. Each
/// request of the driver has a time, so that they are in several rows.
fn newest(client: &mut IotdbClient, port: u16, namespace: &str) -> Option<Vec<String>> {
    let points = ["temperature", "temperature_q", "setpoint", "setpoint_q", "running", "running_q"];
    let values = points.map(|point| format!("last_value({point})")).join(", ");
    let sql = format!("select {values} from root.lineside.`{namespace}`.`furnace-1`");
    client.query(port, false, &sql).ok()?.pop()?.into_iter().collect()
}

/// What the device holds (`examples/first/peer.json`): 842.5 as the bits of a float, 850, true.
fn is_right(values: &[String]) -> bool {
    let bits = format!("{:08x}", 842.5f32.to_bits());
    values == [&*bits, "0", "850", "0", "true", "0"]
}

/// Writes the example with other hosts into a folder.
fn example(line: &Line, device: &str, iotdb: &str, folder: &Path) {
    for name in ["device.yaml", "sink.yaml", "pipeline.yaml"] {
        let yaml = fs::read_to_string(workspace().join(EXAMPLE).join(name)).unwrap();
        let yaml = yaml
            .replace("pymodbus.lab:502", device)
            .replace("mosquitto.lab:1883", &line.broker.endpoint())
            .replace("iotdb.lab:6667", iotdb);
        fs::write(folder.join(name), yaml).unwrap();
    }
}

#[test]
fn the_example_with_a_database_has_the_devices_values_in_it_on_the_cluster_and_without() {
    let line = Line::beside("tsdb");
    let iotdb = Iotdb::start_at(&line.dir, "iotdb", Release::V2, BROKER).unwrap();
    let mut client = IotdbClient::start_for(&line.dir, "client", BROKER).unwrap();
    let at = line.device_address();
    let fixture = fs::read_to_string(workspace().join("examples/first/peer.json")).unwrap();
    let fixture = serde_json::from_str(&fixture).unwrap();
    let _device = Pymodbus::start_at(&line.dir, "furnace-1", &fixture, at).unwrap();
    let folder = line.dir.folder("example").unwrap();
    example(&line, &at.to_string(), &format!("{BROKER}:{}", iotdb.port), &folder);

    // On the cluster.
    line.kubectl(&["apply", "--server-side", "-f", &folder.display().to_string()]).unwrap();
    line.wait_ready("furnace-1", "to-broker");
    line.wait_for(SINK, "iotdb", "Ready", SOON, |c| c.reason == "Delivering");
    let row = wait::until_some("a value of each point", SOON, || {
        newest(&mut client, iotdb.port, &line.namespace)
    })
    .unwrap_or_else(|e| panic!("{e}\n{}", line.describe()));
    assert!(is_right(&row), "{row:?}");
    let ready = line.condition(PIPELINE, "to-broker", "Ready").unwrap();
    assert_eq!(ready.reason, "Delivering");

    // Without.
    let _agent = Agent::start(&line.dir, "standalone", &folder, &["--page", "off"]).unwrap();
    let row = wait::until_some("a value of each point", SOON, || {
        newest(&mut client, iotdb.port, "default")
    });
    let row = row.unwrap();
    assert!(is_right(&row), "{row:?}");
}
