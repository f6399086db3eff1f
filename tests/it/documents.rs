//! Files that are made from the code are what the code makes. `UPDATE=1` rewrites them.

use std::path::Path;

use crate::harness::root;

fn same(file: &str, made: &str) {
    let path = root().join(file);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).unwrap();
        std::fs::write(&path, made).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == made, "{file} is out of date: UPDATE=1 cargo test --test it documents");
}

#[test]
fn the_configuration_reference_is_current() {
    same("docs/configuration.md", &hilum::config::markdown());
}

#[test]
fn the_bundle_schema_is_current() {
    let schema = serde_json::to_string_pretty(&hilum::bundle::schema()).unwrap();
    same("docs/bundle.schema.json", &(schema + "\n"));
}

#[test]
fn the_sample_configuration_is_read() {
    let file = root().join("deploy/hilum.toml");
    hilum::config::load(Some(&file), &hilum::config::Overrides::default()).unwrap();
}

#[test]
fn every_metric_is_documented() {
    let mut table = String::from("| metric | labels | meaning |\n|---|---|---|\n");
    for spec in hilum::telemetry::DECLARED {
        let labels = spec.labels.join(", ");
        table.push_str(&format!("| `{}` | {labels} | {} |\n", spec.name, spec.help));
    }
    let text = format!(
        "# Metrics\n\nPort 8002, `/metrics`, Prometheus text format. Durations are in seconds, in \
         fixed buckets with an edge at 1.0 s. A label's value is never chosen by a caller: requests \
         for unknown models count under `_none`. Process metrics (`process_*`) come beside these. \
         This page is made from `src/telemetry/declared.rs`.\n\n{table}"
    );
    same("docs/metrics.md", &text);
}
