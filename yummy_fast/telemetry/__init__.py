"""What the server says about itself: numbers, log lines, spans.

Reading order: `metrics` (counting, where things happen), `exposition` (the table of all metrics, and the text of a
scrape), `logs` (log lines and the access log), `once_log` (a repeated message, logged once per period), `spans`
(OpenTelemetry, an extra).

Nothing here changes the answer to a request, and nothing here is slow: counting a request takes additions of integers.
"""
