//! Sinks that pipelines share.

use lineside_tests::broker;
use lineside_tests::subscriber::Subscriber;
use lineside_tests::wait;

use crate::line::{
    Line, PIPELINE, SINK, SOON, device_yaml, pipeline_by_name_yaml, pipeline_yaml, sink_yaml,
};

/// Messages of a pipeline so far.
fn of(consumer: &mut Subscriber, pipeline: &str) -> usize {
    let topic = format!("by/{pipeline}/furnace");
    consumer.messages().unwrap().iter().filter(|m| m.topic == topic).count()
}

/// `status.pipelines` of the Sink: named by, delivering.
fn counts(line: &Line) -> Option<(i64, i64)> {
    let object = line.get(SINK, "shared")?;
    let pipelines = &object["status"]["pipelines"];
    Some((pipelines["total"].as_i64()?, pipelines["delivering"].as_i64()?))
}

#[test]
fn two_pipelines_wait_for_a_sink_deliver_through_it_and_keep_it_when_it_goes() {
    let line = Line::beside("sinks");
    let second = line.second_broker("second");
    let start = |name: &str, broker: &broker::Broker| {
        Subscriber::start(&line.dir, name, broker, "by/#").unwrap()
    };
    let mut before = start("before", &line.broker);
    let mut after = start("after", &second);
    let at = line.device_address();
    let _device = line.device("furnace", at);
    line.apply(&device_yaml("furnace", at, Some("node1")));
    line.apply(&pipeline_yaml("own", &line.broker));
    for name in ["a", "b"] {
        line.apply(&pipeline_by_name_yaml(name, "shared"));
    }
    line.wait_ready("furnace", "own");

    // It is not there: only the two that name it wait.
    for name in ["a", "b"] {
        for kind in ["Accepted", "Ready"] {
            let missing = line.wait_for(PIPELINE, name, kind, SOON, |c| {
                c.status == "False" && c.reason == "ReferenceNotFound"
            });
            let next = format!("kubectl get sinks.lineside.dev -n {}", line.namespace);
            for part in ["LNS-5010", "no Sink shared in namespace", &next] {
                assert!(missing.message.contains(part), "{part}: {}", missing.message);
            }
        }
        let reconciling = line.condition(PIPELINE, name, "Reconciling");
        assert_eq!(reconciling.unwrap().status, "True", "in progress, not failed");
    }
    assert_eq!(line.condition(PIPELINE, "own", "Ready").unwrap().status, "True");

    // It comes, and they deliver without anybody's help.
    line.apply(&sink_yaml("shared", &line.broker));
    for name in ["a", "b"] {
        line.wait_for(PIPELINE, name, "Ready", SOON, |c| c.status == "True");
        wait::until("messages", SOON, || of(&mut before, name) > 2).unwrap();
    }
    line.wait_for(SINK, "shared", "Ready", SOON, |c| c.reason == "Delivering");
    wait::until("both are counted", SOON, || counts(&line) == Some((2, 2)))
        .unwrap_or_else(|e| panic!("{e}\n{}", line.describe()));

    // An edit moves both.
    line.apply(&sink_yaml("shared", &second));
    for name in ["a", "b"] {
        wait::until("messages elsewhere", SOON, || of(&mut after, name) > 2)
            .unwrap_or_else(|e| panic!("{e}\n{}", line.describe()));
    }
    wait::until("both are counted again", SOON, || counts(&line) == Some((2, 2)))
        .unwrap_or_else(|e| panic!("{e}\n{}", line.describe()));

    // It goes: they say so, and go on.
    line.kubectl(&["delete", SINK, "shared"]).unwrap();
    for name in ["a", "b"] {
        line.wait_for(PIPELINE, name, "Ready", SOON, |c| c.reason == "ReferenceNotFound");
        let object = line.get(PIPELINE, name).unwrap();
        assert_eq!(object["status"]["health"], "Degraded", "it still delivers");
        let seen = of(&mut after, name);
        wait::until("messages without it", SOON, || of(&mut after, name) > seen + 2)
            .unwrap_or_else(|e| panic!("{e}\n{}", line.describe()));
    }
}
