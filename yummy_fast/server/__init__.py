"""One serving process: its parts put together, watched, reloaded and stopped.

Reading order: `app` (puts the parts together and serves), `reload` (a changed registry becomes a new catalog),
`drain` (from the first signal to the last answer), `health` (probes, status and numbers of this process), `admin`
(the listener that shows them) with `explaining` (POST /-/explain) and `page` (`--ui`), `service_manager` (messages to
systemd), `shadow` (`--shadow`). `once` answers requests without a server, for `yummy-fast get` and `compare`.

The modules here know of other serving processes only what is in the `ProcessContext` that a worker hands to
`app.serve`.
"""
