"""What the server reports about itself: metrics, log lines, spans.

Reading order: `metrics` (counting), `exposition` (the table of all metrics, and the text of a scrape), `logs` (log
lines and the access log), `stderr_log` (writes them), `once_log` (repeated messages, once per period), `spans`
(OpenTelemetry, an extra).

Nothing here changes the answer to a request, and counting a request takes only additions of integers, except in samples
of its values.
"""
