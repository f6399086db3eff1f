//! Recipes that are read, and those that are refused by step, op and field.
//!
//! This file must never look at a pixel.

use super::*;

fn parse(text: &str) -> Result<Recipe, String> {
    let recipe: Recipe = toml::from_str(text).map_err(|error| error.to_string())?;
    recipe.check().map_err(|error| error.to_string())?;
    Ok(recipe)
}

#[test]
fn reads_a_recipe_and_keeps_its_order() {
    let text = r#"
        step = [
            { op = "decode", color = "gray" },
            { op = "voi", window = { center = 128.0, width = 256.0 }, ct_lung = true },
            { op = "crop", region = { kind = "lung_field", bundle = "lung_field/1", fallback = "mirror" } },
            { op = "resize", width = 224, height = 224, filter = "bilinear_antialias" },
            { op = "clip_percentile", low = 1, high = 99 },
            { op = "quantise8" },
            { op = "scale", factor = 0.00392156862745098 },
            { op = "replicate", channels = 3 },
            { op = "normalise", mean = [0.4, 0.4, 0.4], std = [0.2, 0.2, 0.2] },
        ]"#;
    let recipe = parse(text).unwrap();
    assert_eq!(recipe.steps.len(), 9);
    let again: Recipe = toml::from_str(&toml::to_string(&recipe).unwrap()).unwrap();
    assert_eq!(again, recipe);
}

#[test]
fn an_error_names_the_step_its_op_and_the_field() {
    let decode = r#"{ op = "decode", color = "gray" }"#;
    for (step, text) in [
        (
            r#"{ op = "crop", region = "lung_field" }"#,
            "step 2 (op = \"crop\"): region: a table with kind = \"…\" is expected",
        ),
        (
            r#"{ op = "crop", region = { kind = "lung_field", bundle = "a/1" } }"#,
            "step 2 (op = \"crop\"): region: missing field `fallback`",
        ),
        (
            r#"{ op = "crop", region = { kind = "lung_field", bundle = 3, fallback = "whole" } }"#,
            "step 2 (op = \"crop\"): region: bundle: invalid type: integer `3`, expected a string",
        ),
        (
            r#"{ op = "crop", region = { kind = "heart" } }"#,
            "step 2 (op = \"crop\"): region: kind: unknown variant `heart`, expected `center_square` or `lung_field`",
        ),
        (
            r#"{ op = "resize", width = 224, filter = "bilinear_antialias" }"#,
            "step 2 (op = \"resize\"): missing field `height`",
        ),
        (
            r#"{ op = "resize", width = "224", height = 1, filter = "bilinear_antialias" }"#,
            "step 2 (op = \"resize\"): width: invalid type: string \"224\", expected u32",
        ),
        (
            r#"{ op = "resize", width = 2, height = 1, filter = "cubic" }"#,
            "step 2 (op = \"resize\"): filter: unknown variant `cubic`",
        ),
        (
            r#"{ op = "normalise", mean = [0.5, "x"], std = [1.0] }"#,
            "step 2 (op = \"normalise\"): mean[1]: invalid type: string",
        ),
        (
            r#"{ op = "voi", window = { center = 40 } }"#,
            "step 2 (op = \"voi\"): window: missing field `width`",
        ),
        (r#"{ op = "scale", factor = inf }"#, "step 2 (op = \"scale\"): factor is a finite number"),
        (r#"{ factor = 1.0 }"#, "step 2: op is missing"),
        (r#"{ op = 3 }"#, "step 2: op: a text is expected"),
        (
            r#"{ op = "sharpen" }"#,
            "step 2 (op = \"sharpen\"): op: unknown variant `sharpen`, expected one of `decode`",
        ),
        (r#""quantise8""#, "step 2: a table with op = \"…\" is expected"),
    ] {
        let error = parse(&format!("step = [{decode}, {step}]")).unwrap_err();
        assert!(error.contains(text), "{step}: {error}");
    }
    assert_eq!(parse("step = []").unwrap_err(), "step 1: a recipe begins with op = \"decode\"");
}

#[test]
fn refuses_what_makes_no_sense() {
    let decode = r#"{ op = "decode", color = "gray" }"#;
    for (step, word) in [
        (r#"{ op = "sharpen" }"#, "sharpen"),
        (r#"{ op = "quantise8", bits = 7 }"#, "bits"),
        (r#"{ op = "scale", factor = 0.0 }"#, "factor"),
        (r#"{ op = "resize", width = 0, height = 9, filter = "bilinear_antialias" }"#, "width"),
        (r#"{ op = "clip_percentile", low = 9, high = 9 }"#, "low"),
        (r#"{ op = "normalise", mean = [1.0, 2.0], std = [1.0] }"#, "mean"),
        (r#"{ op = "replicate", channels = 9 }"#, "channels"),
        (decode, "beginning"),
        (r#"{ op = "voi", window = { center = 40, width = 0.5 } }"#, "width"),
        (r#"{ op = "voi", percentiles = { low = 60, high = 40 } }"#, "percentiles"),
        (r#"{ op = "voi", prefer = "guess" }"#, "guess"),
        (r#"{ op = "quantise8" }, { op = "voi" }"#, "right after"),
    ] {
        let error = parse(&format!("step = [{decode}, {step}]")).unwrap_err();
        assert!(error.contains(word), "{step}: {error}");
    }
    assert!(parse("step = [{ op = \"quantise8\" }]").unwrap_err().contains("decode"));
}
