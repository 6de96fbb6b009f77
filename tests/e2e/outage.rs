//! What is tested for a minute everywhere, for long.

use std::time::Duration;

use crate::plant::Plant;

#[test]
fn without_an_api_server_for_ten_minutes_the_device_misses_no_period() {
    Plant::new("soak").goes_on_without_an_api_server(Duration::from_secs(600));
}
