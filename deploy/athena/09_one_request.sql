-- Everything about one request, by the x-audit-id of its answer; its day makes the query cheap.
SELECT ts, model, version, route, decision, label, status, "row", chain, seq, lower(to_hex(input_hmac)) AS input_hmac
FROM hilum_audit
WHERE dt = '2026-11-28' AND audit_id = '0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b'
ORDER BY "row"
