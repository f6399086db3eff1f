-- The record as a table of Athena. Set the bucket, and the names of the models in projection.model.values
-- (_none holds refusals). Partition projection: nothing has to be loaded or repaired when files come.
-- With a store.prefix, say site-a, keys begin with it: s3://BUCKET/site-a/audit/ in LOCATION, and likewise in
-- storage.location.template. Refusals before admission are one row a reason and second, with their number in "count":
-- sum it up where rows are counted that may be such.
CREATE EXTERNAL TABLE IF NOT EXISTS hilum_audit (
  audit_id string,
  ts timestamp,
  chain string,
  seq bigint,
  prev_hash binary,
  request_id string,
  trace_id string,
  principal binary,
  version string,
  bundle_sha256 binary,
  image_digest binary,
  route string,
  input_hmac binary,
  study_hmac binary,
  hmac_key_id string,
  input_kind string,
  scores array<float>,
  calibrated array<float>,
  label string,
  decision string,
  warnings array<string>,
  mean double,
  std double,
  p1 double,
  p99 double,
  entropy double,
  sharpness double,
  aspect double,
  bits int,
  ood_score double,
  embedding array<float>,
  queue_us bigint,
  decode_us bigint,
  infer_us bigint,
  total_us bigint,
  batch_size bigint,
  status string,
  `row` bigint,
  count bigint
)
PARTITIONED BY (model string, dt string)
STORED AS PARQUET
LOCATION 's3://BUCKET/audit/'
TBLPROPERTIES (
  'parquet.compression' = 'ZSTD',
  'projection.enabled' = 'true',
  'projection.model.type' = 'enum',
  'projection.model.values' = '_none,mnist,pneumonia',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2026-01-01,NOW',
  'storage.location.template' = 's3://BUCKET/audit/model=${model}/dt=${dt}/'
)
