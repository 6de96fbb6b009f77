//! Parsers are total: any text gives a value or an error, never a panic.

use lineside_crds::modbus::address;
use lineside_crds::{plc4x, validate, yaml};
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_text_is_an_address_inside_its_table_or_an_error(text in any::<String>()) {
        check_address(&text)?;
    }

    #[test]
    fn nearly_addresses_are_addresses_inside_their_table_or_errors(
        text in "(coil|discrete-input|input-register|holding-register|extended-register|[0-9]x?)\
                 :?[0-9]{0,6}(:[A-Z]{0,5})?(\\[[0-9]{0,5}\\]?)?(\\{[a-z0-9:, '-]{0,20}\\}?)?"
    ) {
        check_address(&text)?;
    }

    #[test]
    fn any_text_is_a_connection_or_an_error(text in any::<String>()) {
        let _ = plc4x::parse(&text);
        let _ = plc4x::parse(&format!("modbus-tcp://{text}"));
        let _ = plc4x::parse(&format!("modbus-tcp://h?{text}"));
    }

    #[test]
    fn any_text_is_a_topic_or_an_error(text in "[a-z{}/$+#\u{0}é]{0,40}") {
        if let Ok(topic) = validate::parse_topic(&text) {
            prop_assert!(!topic.0.is_empty());
        }
    }

    #[test]
    fn any_text_is_documents_with_problems_at_places(text in "[a-z0-9 :,\\[\\]{}&*!|>%@'\"\n\t#?-]{0,200}") {
        let lines = text.lines().count() + 1;
        for document in yaml::load_text("f", &text) {
            for problem in document.problems {
                prop_assert!((1..=lines).contains(&problem.line), "{}", problem);
                prop_assert!(problem.column >= 1);
            }
        }
    }
}

fn check_address(text: &str) -> Result<(), TestCaseError> {
    if let Ok(address) = address::parse(text) {
        prop_assert!(address.length() >= 1);
        prop_assert!(u32::from(address.offset) + u32::from(address.length()) <= 65_536);
        prop_assert_eq!(address::parse(&address.to_string()), Ok(address));
    }
    Ok(())
}
