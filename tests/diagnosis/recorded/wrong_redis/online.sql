BEGIN TRANSACTION;
CREATE TABLE "rides_stats" (entity_key BLOB, feature_name TEXT, value BLOB, value_text TEXT,  vector_value BLOB, event_ts timestamp, created_ts timestamp,  PRIMARY KEY(entity_key, feature_name));
CREATE INDEX "rides_stats_ek" ON "rides_stats" (entity_key);
COMMIT;
