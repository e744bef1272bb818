"""One serving process: its parts put together, watched, reloaded and stopped.

Reading order: `app` (puts the parts together and serves), `reload` (a changed registry becomes a new catalog),
`drain` (from the first signal to the last answer), `health` (probes, status and numbers of this process), `admin`
(the listener that shows them), `service_manager` (what systemd is told).

No module here knows whether other processes serve beside this one, except through the `ProcessContext` that a worker
hands to `app.serve`.
"""
