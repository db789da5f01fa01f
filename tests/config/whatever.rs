//! Values and files of any kind.

use proptest::prelude::*;

use crate::layers::EVERY_SETTING;
use crate::{load, refused, told};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// No text makes it panic, every complaint is a line, and no password in an address is shown.
    #[test]
    fn any_value_is_taken_or_told_on_one_line(setting in prop::sample::select(&EVERY_SETTING[..]), value in any::<String>()) {
        let variable = format!("ONCEGATE__{}", setting.replace('.', "__").to_uppercase());
        if let Err(errors) = load("", &[(&variable, &value)]) {
            prop_assert_eq!(errors.to_string().lines().count(), errors.problems().len() + 1);
        }
    }

    #[test]
    fn any_file_is_taken_or_told_on_lines(text in r#"[a-z\[\]='". \n#{},0-9]{0,60}"#) {
        if let Err(errors) = load(&text, &[]) {
            prop_assert_eq!(errors.to_string().lines().count(), errors.problems().len() + 1);
        }
    }

    #[test]
    fn no_password_in_an_address_is_shown(around in "[a-z:/@?#.]{0,8}", after in "[a-z:/@?#.]{0,8}") {
        for url in [format!("nats://u:{around}SECRET{after}@h"), format!("u:{around}SECRET{after}@h:1")] {
            let told = told("", &[("NATS_URL", &url)]);
            prop_assert!(!told.contains("SECRET"), "{}", told);
        }
    }

    /// Two subject patterns that match the same subject are refused beside each other.
    #[test]
    fn patterns_that_share_a_subject_overlap(
        subject in prop::collection::vec("[ab]", 1..5),
        masks in prop::collection::vec((any::<bool>(), any::<bool>()), 5),
        cuts in (1_usize..6, 1_usize..6),
    ) {
        let pattern = |stars: Vec<bool>, cut: usize| {
            let mut tokens = vec!["x".to_owned()];
            for (i, (token, star)) in subject.iter().zip(stars).enumerate() {
                if i + 1 == cut {
                    tokens.push(">".to_owned());
                    break;
                }
                tokens.push(if star { "*".to_owned() } else { token.clone() });
            }
            tokens.join(".")
        };
        let a = pattern(masks.iter().map(|m| m.0).collect(), cuts.0);
        let b = pattern(masks.iter().map(|m| m.1).collect(), cuts.1);
        let text = format!("[input]\nsubjects = ['{a}', '{b}']");
        prop_assert_eq!(refused(&text, &[]), ["input.subjects"], "{}", text);
    }
}
