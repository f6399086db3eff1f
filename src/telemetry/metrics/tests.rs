//! What a scrape shows. This file must never depend on the order of the lines.

use super::*;

#[test]
fn a_scrape_shows_what_was_counted_and_only_declared_names() {
    let metrics = Metrics::new().unwrap();
    let model = metrics.model("mnist", "2");
    model.answered(Edge::Grpc, Ok(()), Duration::from_millis(2));
    model.answered(Edge::Grpc, Err(ErrorKind::Overloaded), Duration::from_millis(2));
    model.answered(Edge::Http, Ok(()), Duration::from_millis(2));
    model.ran(7, ComputeTimes::default());
    let text = metrics.render();
    let labels = r#"protocol="grpc",model="mnist",version="2""#;
    assert!(text.contains(&format!("hilum_requests_total{{{labels},code=\"OK\"}} 1")), "{text}");
    assert!(text.contains("code=\"OVERLOADED\"} 1"));
    let rest = r#"protocol="http",model="mnist",version="2",code="OK""#;
    assert!(text.contains(&format!("hilum_requests_total{{{rest}}} 1")), "{text}");
    assert!(
        text.contains(&format!("hilum_request_duration_seconds_bucket{{{labels},le=\"1\"}} 2"))
    );
    assert!(text.contains("hilum_batch_size_sum{model=\"mnist\",version=\"2\"} 7"));
    assert!(text.contains("process_resident_memory_bytes"));
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE hilum_")) {
        let name = format!("hilum_{}", line.split(' ').next().unwrap());
        assert!(DECLARED.iter().any(|spec| spec.name == name), "{name}");
    }
}
