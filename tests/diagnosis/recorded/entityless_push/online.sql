BEGIN TRANSACTION;
CREATE TABLE "rides_weather" (entity_key BLOB, feature_name TEXT, value BLOB, value_text TEXT,  vector_value BLOB, event_ts timestamp, created_ts timestamp,  PRIMARY KEY(entity_key, feature_name));
INSERT INTO "rides_weather" VALUES(X'00000000','rain',X'29000000000000E03F','0.5',NULL,1772359200,NULL);
CREATE INDEX "rides_weather_ek" ON "rides_weather" (entity_key);
COMMIT;
