//! W3C Trace Context: `traceparent` and `tracestate`, in and out.
//!
//! Headers become the parent of a span; a span's place becomes headers.
//! This file must never refuse a request: what cannot be read counts as absent.

use std::collections::HashMap;

use http::{HeaderMap, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::SpanContext;
use opentelemetry_sdk::propagation::TraceContextPropagator;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// Bytes of a `traceparent` of version 00.
const TRACEPARENT_BYTES: usize = 55;
/// Bytes of a `tracestate` that are carried; a longer one is dropped whole, as the
/// recommendation permits (section 3.3.1.5).
const TRACESTATE_BYTES: usize = 512;

/// The caller's span, as a parent; a context without a span if there is none.
pub fn parent(headers: &HeaderMap) -> Context {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    let (Some(parent), None) = (parents.next(), parents.next()) else { return Context::new() };
    let Some(parent) = parent.to_str().ok().filter(|text| has_form(text)) else {
        return Context::new();
    };
    let mut carrier = HashMap::from([(TRACEPARENT.to_owned(), parent.to_owned())]);
    let states: Vec<&str> =
        headers.get_all(TRACESTATE).iter().filter_map(|value| value.to_str().ok()).collect();
    let state = states.join(",");
    if !state.is_empty() && state.len() <= TRACESTATE_BYTES {
        carrier.insert(TRACESTATE.to_owned(), state);
    }
    TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier)
}

/// Lengths, dashes and digits of the recommendation's section 3.2, which the propagator does not
/// insist on.
fn has_form(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= TRACEPARENT_BYTES
        && bytes.iter().take(TRACEPARENT_BYTES).enumerate().all(|(at, byte)| match at {
            2 | 35 | 52 => *byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
        && bytes.get(TRACEPARENT_BYTES).is_none_or(|byte| *byte == b'-')
}

/// Writes a span's place into headers.
pub fn inject(span: &SpanContext, headers: &mut HeaderMap) {
    let (trace, id, flags) = (span.trace_id(), span.span_id(), span.trace_flags().to_u8());
    if let Ok(value) = HeaderValue::try_from(format!("00-{trace}-{id}-{flags:02x}")) {
        headers.insert(TRACEPARENT, value);
    }
    let state = span.trace_state().header();
    if let (false, Ok(value)) = (state.is_empty(), HeaderValue::try_from(state)) {
        headers.insert(TRACESTATE, value);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TraceContextExt as _;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn what_came_in_goes_out_and_states_are_joined() {
        let context =
            parent(&headers(&[(TRACEPARENT, PARENT), (TRACESTATE, "a=1"), (TRACESTATE, "b=2")]));
        let mut out = HeaderMap::new();
        inject(context.span().span_context(), &mut out);
        assert_eq!(out.get(TRACEPARENT).unwrap(), PARENT);
        assert_eq!(out.get(TRACESTATE).unwrap(), "a=1,b=2");
        let long = format!("a={}", "x".repeat(TRACESTATE_BYTES));
        let context = parent(&headers(&[(TRACEPARENT, PARENT), (TRACESTATE, &long)]));
        let mut out = HeaderMap::new();
        inject(context.span().span_context(), &mut out);
        assert_eq!((out.len(), out.get(TRACEPARENT).unwrap().to_str().unwrap()), (1, PARENT));
    }

    #[test]
    fn a_malformed_parent_counts_as_absent() {
        let long = format!("{PARENT}-x");
        let bad = [
            "",
            "00",
            "00-1-1-1",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-011",
            &long,
        ];
        for text in bad {
            assert!(!parent(&headers(&[(TRACEPARENT, text)])).has_active_span(), "{text:?}");
        }
        let twice = headers(&[(TRACEPARENT, PARENT), (TRACEPARENT, PARENT)]);
        assert!(!parent(&twice).has_active_span());
        // A later version may go on after a dash.
        let later = format!("01{}-x", &PARENT[2..]);
        assert!(parent(&headers(&[(TRACEPARENT, &later)])).has_active_span());
    }
}
