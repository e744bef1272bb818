"""What the server reports about itself: metrics, log lines, spans.

Reading order: `metrics` (counting), `exposition` (the table of all metrics, and the text of a scrape), `logs` (log
lines and the access log), `once_log` (repeated messages, logged once per period), `spans` (OpenTelemetry, an extra).

Nothing here changes the answer to a request, and counting a request takes only additions of integers.
"""
