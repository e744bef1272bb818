"""What the server says about itself: numbers, log lines, spans.

Reading order: `metrics` (counting, where things happen), `exposition` (the table of all metrics, and the text of a
scrape), `logs` (log lines and the access log), `spans` (OpenTelemetry, an extra).

It must not change what a request is answered, and it must not be slow: counting a request costs additions only.
"""
